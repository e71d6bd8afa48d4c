//! What one service requires in the kernel, by virtual server.
//!
//! Everything that belongs to a VIP is stored with its virtual server, so that a conflict removes one value from
//! one map. How sets and rules express it is decided elsewhere: see [the table of sets](crate::set::SETS).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use litemap::LiteMap;

use crate::decision::{Drain, Treatment, VipKinds};
use crate::net::{Family, Protocol};
use crate::objects::TrafficPolicy;
use crate::set::{Set, SetEntry, SetName};
use crate::state::{KernelState, Server, VirtualServer};

/// What one service requires in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Its virtual servers.
    pub servers: LiteMap<VirtualServer, Want>,
    /// Its endpoints on this node, ready or not: they can reach themselves through a VIP.
    pub hairpins: BTreeSet<(Protocol, SocketAddr)>,
    /// Its health check ports.
    pub health_ports: BTreeSet<(Family, u16)>,
    /// How connections to its virtual servers are drained.
    pub drain: Drain,
}

impl Wants {
    /// Frees memory reserved for more virtual servers.
    pub(crate) fn shrink(&mut self) {
        let mut servers = std::mem::take(&mut self.servers).into_tuple_vec();
        servers.shrink_to_fit();
        self.servers = LiteMap::from_sorted_store_unchecked(servers);
    }

    /// What this service alone puts into the kernel, without the node's part. Which addresses get a slot to
    /// replace sources is decided among all services; here, every address gets one.
    pub fn state(&self) -> KernelState {
        let mut state = KernelState::default();
        for (server, want) in &self.servers {
            let slots: Vec<IpAddr> = match want.treatment {
                Treatment::Address(address) => vec![address],
                _ => Vec::new(),
            };
            want.vip(*server, &slots).entries(|set, entry| {
                state.entries.insert((SetName::new(server.family(), set), entry), ());
            });
            if want.bound {
                state.addresses.insert(server.address.ip(), ());
            }
            state.virtual_servers.insert(*server, want.server.clone());
        }
        state.entries.extend(self.other_entries().map(|key| (key, ())));
        state
    }

    /// The entries that belong to no virtual server.
    pub(crate) fn other_entries(&self) -> impl Iterator<Item = (SetName, SetEntry)> {
        let hairpins = self.hairpins.iter().map(|(protocol, address)| {
            let (ip, port) = (address.ip(), address.port());
            (SetName::new(Family::of(ip), Set::LoopBack), SetEntry::IpPortIp(ip, *protocol, port, ip))
        });
        let health_ports = self.health_ports.iter();
        let health_ports = health_ports
            .map(|(family, port)| (SetName::new(*family, Set::HealthCheckNodePort), SetEntry::Port(*port)));
        hairpins.chain(health_ports)
    }
}

/// The desired state of one virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The kinds of its VIP.
    pub kinds: VipKinds,
    /// Whether traffic from outside stays on this node.
    pub external: TrafficPolicy,
    /// How it schedules, and its real servers.
    pub server: Server,
    /// Whether its address is bound to the dummy device.
    pub bound: bool,
    /// The treatment of clients' source addresses.
    pub treatment: Treatment,
    /// Which sources may connect and which are never masqueraded, if there is any limit.
    pub limits: Option<Box<Limits>>,
}

impl Want {
    /// A virtual server without real servers and limits.
    pub fn new(server: Server) -> Want {
        Want {
            kinds: VipKinds::default(),
            external: TrafficPolicy::Cluster,
            server,
            bound: false,
            treatment: Treatment::Default,
            limits: None,
        }
    }

    /// Its limits, for modification.
    pub fn limits_mut(&mut self) -> &mut Limits {
        self.limits.get_or_insert_default()
    }

    /// Whether the object's source ranges exclude this node.
    pub fn is_closed_to_node(&self) -> bool {
        let ranges = self.limits.as_ref().and_then(|limits| limits.ranges.as_ref());
        ranges.is_some_and(|ranges| !ranges.admits_node)
    }
}

/// Which sources may connect to a virtual server, and which keep their address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Sources that are never masqueraded.
    pub except: Vec<IpNet>,
    /// Which sources may connect, if a policy limits them.
    pub sources: Sources,
    /// The object's `spec.loadBalancerSourceRanges`, if they apply to it.
    pub ranges: Option<Ranges>,
}

/// The source ranges of a load-balancer VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Which sources may connect.
    pub networks: Vec<IpNet>,
    /// Whether this node is inside the ranges. Its packets to a VIP have the VIP as their source, because the VIP is a
    /// local address.
    pub admits_node: bool,
}

/// The sources that may connect, and those that may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Only these may connect; `None` = all may.
    pub allowed: Option<Vec<IpNet>>,
    /// These may not connect.
    pub denied: Vec<IpNet>,
}
