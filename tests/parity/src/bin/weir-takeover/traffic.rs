//! Continuous client traffic: long-lived connections, datagrams, and new connections one after the other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Load, Tally};
use weir_harness::lab::Vip;

use crate::node::Node;
use crate::report::Report;

/// Pause between two requests of a client, because the emulated processor is shared.
const PAUSE: Duration = Duration::from_millis(20);

/// Clients and how they reach a service. Each uses a different path: IPVS finds the connection of an answer by the
/// client's port and the real server, and picks the wrong one if a client reaches one real server through two
/// VIPs.
const WAYS: [(&str, Vip); 3] =
    [("app", Vip::Cluster), ("outside", Vip::NodePort), ("far-app", Vip::LoadBalancer)];

/// Clients that send requests from the first swap to the last.
pub(crate) struct Traffic {
    streams: Vec<Client>,
    anew: Vec<Client>,
}

struct Client {
    name: String,
    load: Load,
    /// The results at the previous check.
    before: Tally,
}

impl Traffic {
    /// Starts clients of all kinds, and waits until each stream was answered.
    pub(crate) fn start(node: &Node) -> Result<Traffic> {
        let (mut streams, mut anew) = (Vec::new(), Vec::new());
        for (client, vip) in WAYS {
            let host = node.host(client);
            for family in Family::BOTH {
                let target = node.target(vip, family);
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let name = format!("{client} {protocol} {target}");
                    let load = host.stream(PAUSE, protocol, target).with_context(|| name.clone())?;
                    streams.push(Client { name: format!("{name}, stream"), load, before: Tally::default() });
                    let load = host.load_with_pauses(PAUSE, protocol, target);
                    anew.push(Client {
                        name: format!("{name}, new connections"),
                        load,
                        before: Tally::default(),
                    });
                }
            }
        }
        Ok(Traffic { streams, anew })
    }

    /// Reports whether nothing was lost since the last report, or since the start, and each client was answered.
    pub(crate) fn claim(&mut self, report: &mut Report, during: &str) {
        let streams = look(&mut self.streams);
        let anew = look(&mut self.anew);
        println!(
            "{during}: {} streams with {} answers, {} answers on new connections",
            self.streams.len(),
            streams.answers,
            anew.answers
        );
        report.claim(&format!("{during}_streams_lose_nothing"), streams.expect_nothing_lost());
        report.claim(&format!("{during}_new_connections_work"), anew.expect_nothing_lost());
    }

    /// Waits for the last answers.
    pub(crate) fn stop(self) {
        for Client { load, .. } in self.streams.into_iter().chain(self.anew) {
            load.stop();
        }
    }
}

/// The results of several clients during a period.
struct Look {
    answers: usize,
    lost: Vec<String>,
}

impl Look {
    fn expect_nothing_lost(&self) -> Result<()> {
        ensure!(self.lost.is_empty(), "{}", self.lost.join("\n"));
        Ok(())
    }
}

fn look(clients: &mut [Client]) -> Look {
    let mut look = Look { answers: 0, lost: Vec::new() };
    for Client { name, load, before } in clients {
        let now = load.so_far();
        let answers = now.answered() - before.answered();
        if answers == 0 || now.failures != before.failures {
            look.lost.push(format!("{name}: {answers} answers, failures so far {:?}", now.failures));
        }
        look.answers += answers;
        *before = now;
    }
    look
}
