//! What clients do all the time: connections that stay, datagrams, and new connections one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Answer, Conversation, Failure, Load};
use weir_harness::lab::Vip;

use crate::node::Node;
use crate::report::Report;

/// Between two questions of a client: the processor is emulated, and others want it too.
const PAUSE: Duration = Duration::from_millis(20);

/// Clients and how they reach a service. Each has its own way: IPVS finds the connection that an answer belongs to by the
/// client's port and the real server, and mistakes it where one client comes to one real server through two VIPs.
const WAYS: [(&str, Vip); 3] =
    [("app", Vip::Cluster), ("outside", Vip::NodePort), ("far-app", Vip::LoadBalancer)];

/// Clients that go on until they are stopped.
pub(crate) struct Traffic {
    streams: Vec<(String, Stream)>,
    loads: Vec<(String, Load)>,
}

impl Traffic {
    /// Starts clients of all kinds, and has seen each answered.
    pub(crate) fn start(node: &Node) -> Result<Traffic> {
        let (mut streams, mut loads) = (Vec::new(), Vec::new());
        for (client, vip) in WAYS {
            let host = node.host(client);
            for family in Family::BOTH {
                let target = node.target(vip, family);
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let name = format!("{client} {protocol} {target}");
                    let conversation = host.converse(protocol, target).with_context(|| name.clone())?;
                    let stream = Stream::start(conversation).with_context(|| name.clone())?;
                    streams.push((format!("{name}, stream"), stream));
                    let load = host.load_with_pauses(PAUSE, protocol, target);
                    loads.push((format!("{name}, anew"), load));
                }
            }
        }
        Ok(Traffic { streams, loads })
    }

    /// Stops all, and claims that nothing was lost.
    pub(crate) fn stop(self, report: &mut Report, during: &str) {
        let streams: Vec<_> = self.streams.into_iter().map(|(name, stream)| (name, stream.stop())).collect();
        let loads: Vec<_> = self.loads.into_iter().map(|(name, load)| (name, load.stop())).collect();
        let asked: usize = streams.iter().map(|(_, outcome)| outcome.answers).sum();
        let connections: usize = loads.iter().map(|(_, tally)| tally.answered()).sum();
        println!(
            "{during}: {} streams with {asked} answers, {connections} answers on new connections",
            streams.len()
        );
        let lost: Vec<String> = streams
            .iter()
            .filter(|(_, outcome)| !outcome.failures.is_empty() || outcome.answers < 2)
            .map(|(name, outcome)| format!("{name}: {outcome:?}"))
            .collect();
        report.claim(&format!("{during}_streams_lose_nothing"), ensure(lost.is_empty(), &lost.join("\n")));
        let lost: Vec<String> = loads
            .iter()
            .filter(|(_, tally)| !tally.failures.is_empty() || tally.answered() == 0)
            .map(|(name, tally)| format!("{name}: {tally:?}"))
            .collect();
        report.claim(&format!("{during}_new_connections_work"), ensure(lost.is_empty(), &lost.join("\n")));
    }
}

fn ensure(holds: bool, otherwise: &str) -> Result<()> {
    ensure!(holds, "{otherwise}");
    Ok(())
}

/// One connection, or one UDP socket, that asks again and again and must be answered by the same server.
struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome>,
}

/// What became of a stream.
#[derive(Debug, Default)]
struct Outcome {
    answers: usize,
    failures: BTreeMap<Failure, usize>,
}

impl Stream {
    fn start(mut conversation: Conversation) -> Result<Stream> {
        let first: Answer = conversation.ask()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut outcome = Outcome { answers: 1, ..Outcome::default() };
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(PAUSE);
                match conversation.ask() {
                    Ok(answer) if answer == first => outcome.answers += 1,
                    // Another server, or another source address: it was another connection to somebody.
                    Ok(_) => *outcome.failures.entry(Failure::Ended).or_default() += 1,
                    Err(failure) => *outcome.failures.entry(failure).or_default() += 1,
                }
                if outcome.failures.values().sum::<usize>() > 3 {
                    break;
                }
            }
            outcome
        });
        Ok(Stream { stop, thread })
    }

    fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
