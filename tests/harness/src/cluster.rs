//! A small cluster on one kernel: every machine and pod is a network namespace.
//!
//! ```text
//!   outside 10.0.2.100 ───┐                                    all names and addresses exist in IPv6 too:
//!                      switch ─── node1 10.0.2.15 ─ cbr0 ─ pods 10.244.0.x        fd00:10:2::, fd00:10:244::
//!                         └────── node2 10.0.2.16 ─ cbr0 ─ pods 10.244.1.x                     fd00:10:244:1::
//! ```
//!
//! All networks reach each other without address translation. Packets to other addresses go to `node1`, so all
//! VIPs lead there. `node2` only forwards. As kubeadm requires, bridged packets pass the nodes' netfilter:
//! otherwise an answer between two pods on the same bridge would bypass the virtual server.

mod client;
mod daemon;
mod host;
mod manifests;
mod namespace;
mod server;
mod transport;
mod wiring;

use std::net::IpAddr;

use anyhow::{Context, Result};
use weir_core::net::{Family, PerFamily, Protocol};

pub use client::{Answer, Conversation, Failure, PATIENCE, Tally};
pub use daemon::Daemon;
pub use host::{Host, Load};
pub use manifests::{Endpoint, Node, Service};
pub use namespace::Namespace;
pub use server::Server;

/// Port of every pod's server, for all protocols.
pub const POD_PORT: u16 = 8080;

/// All protocols of Services.
pub const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// The node a pod is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `node1`, where weir runs.
    Local,
    /// `node2`.
    Remote,
}

impl Place {
    /// The node's name.
    pub fn node(self) -> &'static str {
        match self {
            Place::Local => "node1",
            Place::Remote => "node2",
        }
    }
}

/// A pod with its server.
#[derive(Debug)]
pub struct Pod {
    /// Its namespace and addresses.
    pub host: Host,
    /// Its node.
    pub place: Place,
    _server: Server,
}

/// A running cluster; it is removed on drop, or with the process.
#[derive(Debug)]
pub struct Cluster {
    node: Host,
    outside: Host,
    pods: Vec<Pod>,
    other_node: Host,
    // Kept alive because the links of all machines end in it.
    _switch: Namespace,
}

impl Cluster {
    /// Creates nodes, network and pods; pods get addresses in the given order, starting at `.10`.
    ///
    /// # Errors
    /// When the kernel refuses or lacks a feature; needs root.
    pub fn new(pods: &[(&str, Place)]) -> Result<Cluster> {
        wiring::load_modules()?;
        let switch = wiring::switch()?;
        let node = wiring::machine("node1", 15, &switch)?;
        let other_node = wiring::machine("node2", 16, &switch)?;
        let outside = wiring::machine("outside", 100, &switch)?;
        wiring::route(&node, &other_node, &outside)?;
        let mut made = Vec::new();
        for (number, &(name, place)) in (10..).zip(pods) {
            let node = if place == Place::Local { &node } else { &other_node };
            let host = wiring::pod(name, place, number, node).with_context(|| format!("pod {name}"))?;
            let server = host.serve(&PROTOCOLS, POD_PORT)?;
            made.push(Pod { host, place, _server: server });
        }
        Ok(Cluster { node, outside, pods: made, other_node, _switch: switch })
    }

    /// The node where weir runs.
    pub fn node(&self) -> &Host {
        &self.node
    }

    /// A machine in the nodes' network that is not part of the cluster.
    pub fn outside(&self) -> &Host {
        &self.outside
    }

    /// All pods.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The pod with this name.
    ///
    /// # Panics
    /// When the cluster has no such pod: a mistake in the test.
    pub fn pod(&self, name: &str) -> &Pod {
        let found = self.pods.iter().find(|pod| pod.host.name() == name);
        found.unwrap_or_else(|| panic!("this cluster has no pod `{name}`"))
    }

    /// The node's address that this pod sees for a masqueraded client: that of the interface towards the pod.
    pub fn masquerade(&self, pod: &Pod, family: Family) -> IpAddr {
        match pod.place {
            Place::Local => *wiring::bridge_addresses(Place::Local).get(family),
            Place::Remote => self.node.address(family),
        }
    }

    /// Returns a pod as an endpoint.
    ///
    /// # Panics
    /// As [`Cluster::pod`].
    pub fn endpoint(&self, name: &str) -> Endpoint {
        let pod = self.pod(name);
        Endpoint {
            name: name.to_owned(),
            node: pod.place.node(),
            addresses: addresses(|f| pod.host.address(f)),
        }
    }
}

fn addresses(of: impl Fn(Family) -> IpAddr) -> PerFamily<IpAddr> {
    PerFamily { v4: of(Family::V4), v6: of(Family::V6) }
}
