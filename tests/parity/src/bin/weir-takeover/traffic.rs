//! Connections that go on during everything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Cluster, Failure, Host, Load, Tally};
use weir_harness::patience;

use crate::objects::{self, EXPOSED, PORT, node_port};

/// Leaves the processor to the programs under test.
const PAUSE: Duration = Duration::from_millis(250);

/// Of connections that are open and mostly silent.
const IDLE: Duration = Duration::from_secs(4);

/// Longer than the longest pause, and than any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Path {
    name: String,
    load: Load,
    /// Where it was when the last window ended.
    seen: Tally,
    /// One connection, which has one server for its whole life.
    is_stream: bool,
}

/// Clients in a pod and outside, on VIPs of three kinds in both families.
pub(crate) struct Traffic {
    paths: Vec<Path>,
}

/// What happened between two looks.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) answered: usize,
    /// By path and reason.
    pub(crate) failed: BTreeMap<(String, Failure), usize>,
}

impl Traffic {
    pub(crate) fn start(cluster: &Cluster) -> Traffic {
        let (app, outside) = (&cluster.pod("app").host, cluster.outside());
        let (internal, exposed) = (objects::internal_service(), objects::exposed_service());
        let mut paths = Vec::new();
        for family in Family::BOTH {
            let targets: [(&str, &Host, SocketAddr); 3] = [
                ("cluster IP", app, SocketAddr::new(internal.cluster_ip(family), PORT)),
                ("load balancer", outside, SocketAddr::new(exposed.load_balancer_ip(family), PORT)),
                ("node port", outside, SocketAddr::new(cluster.node().address(family), node_port(EXPOSED))),
            ];
            for (kind, client, target) in targets {
                let mut add = |what: &str, load: Load, is_stream: bool| {
                    let name = format!("{what}, {kind}, {family}");
                    paths.push(Path { name, load, seen: Tally::default(), is_stream });
                };
                add("TCP stream", client.stream(PAUSE, Protocol::Tcp, target), true);
                add("idle TCP stream", client.stream(IDLE, Protocol::Tcp, target), true);
                add("new TCP connections", client.load_with_pauses(PAUSE, Protocol::Tcp, target), false);
                add("UDP stream", client.stream(PAUSE, Protocol::Udp, target), true);
                add("new UDP clients", client.load_with_pauses(PAUSE, Protocol::Udp, target), false);
            }
        }
        Traffic { paths }
    }

    /// Waits until each client has asked and heard once more, and tells what happened since the last time.
    pub(crate) fn window(&mut self) -> Result<Window> {
        let mut window = Window::default();
        let total = |tally: &Tally| tally.answered() + tally.failed();
        // Of two more, one was begun after this moment.
        let until: Vec<usize> = self.paths.iter().map(|path| total(&path.load.so_far()) + 2).collect();
        for (path, until) in self.paths.iter_mut().zip(until) {
            let now = patience::until(PATIENCE, || {
                let now = path.load.so_far();
                ensure!(total(&now) >= until, "{} has stopped at {now:?}", path.name);
                Ok(now)
            })?;
            window.answered += now.answered() - path.seen.answered();
            for (reason, count) in &now.failures {
                let new = count - path.seen.failures.get(reason).unwrap_or(&0);
                if new > 0 {
                    window.failed.insert((path.name.clone(), *reason), new);
                }
            }
            path.seen = now;
        }
        Ok(window)
    }

    /// Ends it. Every stream must have had one server; new connections must have found all three.
    pub(crate) fn stop(self) -> Result<usize> {
        let mut answered = 0;
        for Path { name, load, is_stream, .. } in self.paths {
            let tally = load.stop();
            let servers = tally.answers.len();
            ensure!(servers == if is_stream { 1 } else { 3 }, "{name}: {tally:?}");
            answered += tally.answered();
        }
        Ok(answered)
    }
}

impl Window {
    /// Fails if any request did.
    pub(crate) fn expect_no_loss(&self) -> Result<String> {
        ensure!(self.failed.is_empty(), "{} answered, {:?}", self.answered, self.failed);
        Ok(format!("{} requests answered, none lost, no stream reset", self.answered))
    }
}
