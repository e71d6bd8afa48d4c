//! From weir-core's views to the contract's records: what the plugin said it needs, and nothing else.

use std::collections::HashMap;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use weir_core::decision::VipKind;
use weir_core::net::{Family, Protocol};
use weir_core::objects::{Namespace, Node, Service, ServiceType, TrafficPolicy};
use weir_core::policy::Surroundings;
use weir_core::view::{EndpointView, Location, PortView, ServiceView};

use crate::bindings::types;
use crate::needs::Needs;
use crate::stable_hash::StableHasher;

/// How many zones a table may hold before it is made anew. Zones come from objects that tenants write.
const ZONES: usize = 4096;

/// The zones that were referred to so far. An index means the same zone for as long as the table lives, so that
/// indexes can be part of what a remembered answer depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones {
    names: Vec<String>,
}

impl Zones {
    fn index(&mut self, name: &str) -> u32 {
        let found = self.names.iter().position(|known| known == name);
        let index = found.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Starts anew if the table is full; whatever depended on its indexes must be forgotten then.
    pub(crate) fn renew(&mut self) -> Renewal {
        if self.names.len() <= ZONES {
            return Renewal::None;
        }
        self.names.clear();
        Renewal::Done
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

/// Whether a table was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    Done,
    None,
}

/// Lowers for one plugin.
pub(crate) struct Lowering<'a> {
    needs: &'a Needs,
    zones: &'a mut Zones,
    around: Surroundings<'a>,
    /// The place of each node in the context's list.
    nodes: HashMap<&'a str, u32>,
}

impl<'a> Lowering<'a> {
    pub(crate) fn new(needs: &'a Needs, zones: &'a mut Zones, around: &Surroundings<'a>) -> Lowering<'a> {
        let names: Vec<&str> =
            if needs.nodes { around.nodes.keys().map(String::as_str).collect() } else { Vec::new() };
        let nodes = names.into_iter().zip(0..).collect();
        Lowering { needs, zones, around: *around, nodes }
    }

    /// The zones that were referred to so far.
    pub(crate) fn zones(&self) -> &[String] {
        self.zones.names()
    }

    /// The context, but for its zones, which are known only when the services are lowered.
    pub(crate) fn context(&mut self) -> types::Context {
        let (needs, around) = (self.needs, self.around);
        let node = around.node;
        let host_addresses = if needs.host_addresses {
            node.host_addresses.iter().map(|host| address(host.address)).collect()
        } else {
            Vec::new()
        };
        let nodes = if needs.nodes {
            around.nodes.values().map(|known| self.node(known, &node.name)).collect()
        } else {
            Vec::new()
        };
        types::Context {
            node: node.name.clone(),
            zone: node.zone.as_deref().map(|zone| self.zones.index(zone)),
            seed: seed(&node.name),
            now: needs.time.then_some(around.now),
            default_scheduler: node.config.scheduler.clone(),
            schedulers: node.capabilities.schedulers.clone().unwrap_or_default(),
            host_addresses,
            zones: Vec::new(),
            nodes,
            extra: Vec::new(),
        }
    }

    fn node(&mut self, node: &Node, this: &str) -> types::Node {
        types::Node {
            name: node.name.clone(),
            zone: node.zone().map(|zone| self.zones.index(zone)),
            this: node.name == this,
            labels: self.needs.node_labels.of(&node.labels),
            annotations: self.needs.node_annotations.of(&node.annotations),
            unschedulable: node.unschedulable,
            taints: node.taints.clone(),
            cpu_millis: node.allocatable.cpu_millis,
            memory_bytes: node.allocatable.memory_bytes,
            addresses: node.service_addresses().map(address).collect(),
            extra: Vec::new(),
        }
    }

    /// A service.
    pub(crate) fn service(&mut self, view: &ServiceView) -> types::Service {
        let needs = self.needs;
        let service = &view.service;
        let none = Arc::new(Namespace::default());
        let namespace = view.namespace.as_ref().unwrap_or(&none);
        let slices = if needs.slices {
            let lower = |slice: &Arc<weir_core::objects::EndpointSlice>| types::Slice {
                name: slice.name.name.clone(),
                labels: needs.slice_labels.of(&slice.labels),
                annotations: needs.slice_annotations.of(&slice.annotations),
            };
            view.slices.iter().map(lower).collect()
        } else {
            Vec::new()
        };
        types::Service {
            namespace: service.name.namespace.clone(),
            name: service.name.name.clone(),
            service_type: service_type(service).to_owned(),
            labels: needs.labels.of(&service.labels),
            annotations: needs.annotations.of(&service.annotations),
            namespace_labels: needs.namespace_labels.of(&namespace.labels),
            namespace_annotations: needs.namespace_annotations.of(&namespace.annotations),
            affinity_seconds: service.client_ip_affinity,
            internal_local: service.internal_policy == TrafficPolicy::Local,
            external_local: service.external_policy_is_local(),
            source_ranges: service.source_ranges.iter().map(network).collect(),
            slices,
            ports: view.ports.iter().map(|port| self.port(port)).collect(),
            extra: Vec::new(),
        }
    }

    fn port(&mut self, port: &PortView) -> types::Port {
        let vip = |kind| move |ip: &IpAddr| types::Vip { kind, address: address(*ip) };
        let vips = std::iter::once(&port.cluster_ip)
            .map(vip(types::VipKind::Cluster))
            .chain(port.external_ips.iter().map(vip(types::VipKind::External)))
            .chain(port.load_balancer_ips.iter().map(vip(types::VipKind::LoadBalancer)))
            .collect();
        let local = port.endpoints.iter().filter(|endpoint| endpoint.location == Location::Local).count();
        let endpoints = if self.needs.endpoints { self.endpoints(port) } else { Vec::new() };
        types::Port {
            name: port.port.name.clone(),
            family: match port.family {
                Family::V4 => types::Family::Ipv4,
                Family::V6 => types::Family::Ipv6,
            },
            protocol: match port.port.protocol {
                Protocol::Tcp => types::Protocol::Tcp,
                Protocol::Udp => types::Protocol::Udp,
                Protocol::Sctp => types::Protocol::Sctp,
            },
            port: port.port.port,
            node_port: port.port.node_port.map_or(0, u16::from),
            app_protocol: port.port.app_protocol.clone(),
            vips,
            endpoints_total: count(port.endpoints.len()),
            endpoints_local: count(local),
            endpoints,
        }
    }

    fn endpoints(&mut self, port: &PortView) -> Vec<types::Endpoint> {
        let mut lowered: Vec<types::Endpoint> =
            port.endpoints.iter().map(|endpoint| self.endpoint(endpoint)).collect();
        let selected = [
            (&port.selection.internal, types::EndpointState::INTERNAL),
            (&port.selection.external, types::EndpointState::EXTERNAL),
        ];
        for (indexes, state) in selected {
            for index in indexes {
                lowered[*index].state |= state;
            }
        }
        lowered
    }

    fn endpoint(&mut self, endpoint: &EndpointView) -> types::Endpoint {
        let mut state = types::EndpointState::empty();
        let conditions = endpoint.conditions;
        for (holds, flag) in [
            (conditions.ready, types::EndpointState::READY),
            (conditions.serving, types::EndpointState::SERVING),
            (conditions.terminating, types::EndpointState::TERMINATING),
            (endpoint.location == Location::Local, types::EndpointState::LOCAL),
        ] {
            if holds {
                state |= flag;
            }
        }
        let node = endpoint.node.as_deref().and_then(|name| self.nodes.get(name)).copied();
        types::Endpoint {
            address: address(endpoint.address.ip()),
            port: endpoint.address.port(),
            state,
            zone: endpoint.zone.as_deref().map(|zone| self.zones.index(zone)),
            node,
            slice: self.needs.slices.then(|| count(endpoint.slice)),
            ready_since: if self.needs.ready_since { endpoint.ready_since } else { None },
        }
    }
}

fn service_type(service: &Service) -> &'static str {
    match service.service_type {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
        ServiceType::ExternalName => "ExternalName",
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A number that differs between nodes and never changes on one: a guest may rely on it across restarts.
fn seed(node: &str) -> u64 {
    let mut hasher = StableHasher::default();
    hasher.write(node.as_bytes());
    hasher.finish()
}

/// An address in the contract's form.
pub(crate) fn address(ip: IpAddr) -> types::Address {
    let v6 = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let bits = u128::from(v6);
    types::Address { hi: (bits >> 64) as u64, lo: bits as u64 }
}

/// An address of the contract.
pub(crate) fn ip(address: types::Address) -> IpAddr {
    Ipv6Addr::from(u128::from(address.hi) << 64 | u128::from(address.lo)).to_canonical()
}

/// A network in the contract's form.
pub(crate) fn network(net: &IpNet) -> types::Network {
    types::Network { address: address(net.addr()), prefix_length: net.prefix_len() }
}

/// A network of the contract with its host bits cleared, or `None` if its prefix is too long.
pub(crate) fn net(network: types::Network) -> Option<IpNet> {
    IpNet::new(ip(network.address), network.prefix_length).ok().map(|net| net.trunc())
}

/// A kind of VIP.
pub(crate) fn kind(kind: types::VipKind) -> VipKind {
    match kind {
        types::VipKind::Cluster => VipKind::Cluster,
        types::VipKind::External => VipKind::External,
        types::VipKind::LoadBalancer => VipKind::LoadBalancer,
        types::VipKind::NodePort => VipKind::NodePort,
    }
}

/// Several kinds of VIPs.
pub(crate) fn kinds(kinds: types::VipKinds) -> std::collections::BTreeSet<VipKind> {
    let flags = [
        (types::VipKinds::CLUSTER, VipKind::Cluster),
        (types::VipKinds::EXTERNAL, VipKind::External),
        (types::VipKinds::LOAD_BALANCER, VipKind::LoadBalancer),
        (types::VipKinds::NODE_PORT, VipKind::NodePort),
    ];
    flags.into_iter().filter(|(flag, _)| kinds.contains(*flag)).map(|(_, kind)| kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_come_back() {
        for text in ["10.96.0.1", "0.0.0.0", "fd00:96::1", "::1", "::"] {
            let original: IpAddr = text.parse().unwrap();
            assert_eq!(ip(address(original)), original);
        }
        for text in ["10.0.0.0/8", "fd00::/64", "0.0.0.0/0", "::/0"] {
            let original: IpNet = text.parse().unwrap();
            assert_eq!(net(network(&original)), Some(original));
        }
        let long = types::Network { address: address("10.0.0.1".parse().unwrap()), prefix_length: 33 };
        assert_eq!(net(long), None);
    }

    #[test]
    fn a_zone_keeps_its_index_until_the_table_is_full() {
        let mut zones = Zones::default();
        assert_eq!((zones.index("a"), zones.index("b"), zones.index("a")), (0, 1, 0));
        assert_eq!(zones.renew(), Renewal::None);
        for i in 0..=ZONES {
            zones.index(&format!("zone-{i}"));
        }
        assert_eq!(zones.renew(), Renewal::Done);
        assert!(zones.names().is_empty());
    }

    #[test]
    fn seeds_differ_and_stay() {
        assert_ne!(seed("node1"), seed("node2"));
        assert_eq!(seed(""), 0xcbf2_9ce4_8422_2325);
    }
}
