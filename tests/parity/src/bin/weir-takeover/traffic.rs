//! What clients do all the time: connections that stay, datagrams, and new connections one after the other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Load, Tally};
use weir_harness::lab::Vip;

use crate::node::Node;
use crate::report::Report;

/// Between two questions of a client: the processor is emulated, and others want it too.
const PAUSE: Duration = Duration::from_millis(20);

/// Clients and how they reach a service. Each has its own way: IPVS finds the connection that an answer belongs to by the
/// client's port and the real server, and mistakes it where one client comes to one real server through two VIPs.
const WAYS: [(&str, Vip); 3] =
    [("app", Vip::Cluster), ("outside", Vip::NodePort), ("far-app", Vip::LoadBalancer)];

/// Clients that ask from the first swap to the last.
pub(crate) struct Traffic {
    streams: Vec<Client>,
    anew: Vec<Client>,
}

struct Client {
    name: String,
    load: Load,
    /// When it was looked at last.
    before: Tally,
}

impl Traffic {
    /// Starts clients of all kinds, and has seen each stream answered.
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
                    anew.push(Client { name: format!("{name}, anew"), load, before: Tally::default() });
                }
            }
        }
        Ok(Traffic { streams, anew })
    }

    /// Claims that nothing was lost since the last claim, or since the beginning, and that each client was answered.
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

/// What became of several clients in a while.
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
