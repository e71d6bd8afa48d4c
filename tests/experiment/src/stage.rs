//! Pods and client nodes of one arm: network namespaces, with a cable from each node to the pods.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use weir_harness::cluster::Namespace;
use weir_harness::weir::Running;

/// All pods are in one namespace, each with its own address; a node's processing of a packet ends when the packet
/// leaves it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) pods: Namespace,
    pub(crate) nodes: Vec<Node>,
}

/// A client node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) namespace: Namespace,
    /// Its weir, if any.
    pub(crate) weir: Option<Running>,
}

/// The address of every node; nodes do not see each other.
const NODE: &str = "192.0.2.10";
/// The other end of every cable.
const GATEWAY: &str = "192.0.2.1";

impl Stage {
    /// Creates nodes, and pods at these addresses. Node `n` has all of 10.(128 + n).0.0/16, from which its clients
    /// connect.
    pub(crate) fn new(nodes: usize, endpoints: &[SocketAddr]) -> Result<Stage> {
        let pods = Namespace::new()?;
        pods.ip(&endpoints
            .iter()
            .map(|pod| format!("addr add {}/32 dev lo\n", pod.ip()))
            .collect::<String>())?;
        let nodes = (0..nodes).map(|number| node(number, &pods)).collect::<Result<_>>()?;
        Ok(Stage { pods, nodes })
    }
}

fn node(number: usize, pods: &Namespace) -> Result<Node> {
    let number = u32::try_from(number).context("too many nodes")?;
    let clients = Ipv4Addr::from_bits(0x0a80_0000 + (number << 16));
    let namespace = Namespace::new()?;
    pods.ip(&format!(
        "link add v{number} type veth peer name eth0 netns {}\n\
         link set v{number} up\n\
         addr add {GATEWAY}/32 dev v{number}\n\
         route add {clients}/16 via {NODE} dev v{number} onlink\n",
        namespace.path().display()
    ))?;
    namespace.ip(&format!(
        "link set eth0 up\n\
         addr add {NODE}/24 dev eth0\n\
         route add default via {GATEWAY}\n\
         route add local {clients}/16 dev lo\n"
    ))?;
    Ok(Node { namespace, weir: None })
}

/// Processor usage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors {
    idle: u64,
    all: u64,
}

impl Processors {
    /// Reads the current counters.
    pub(crate) fn now() -> Result<Processors> {
        let text = std::io::read_to_string(File::open("/proc/stat").context("cannot open /proc/stat")?)
            .context("cannot read /proc/stat")?;
        let line = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("cpu "))
            .context("/proc/stat has no line cpu")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; the rest is part of the first two (proc_stat(5)).
        let [_, _, _, idle, waiting, ..] = ticks[..] else { anyhow::bail!("/proc/stat: {line}") };
        Ok(Processors { idle: idle + waiting, all: ticks.iter().take(8).sum() })
    }

    /// The idle share since then, in percent.
    pub(crate) fn idle_since(self, earlier: Processors) -> f64 {
        100.0 * (self.idle - earlier.idle) as f64 / (self.all - earlier.all).max(1) as f64
    }
}
