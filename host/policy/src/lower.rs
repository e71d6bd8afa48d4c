//! Converts weir-core's views to the contract's records: the data the plugin requested, and nothing else.

use std::collections::HashMap;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use weir_core::decision::{VipKind, VipKinds};
use weir_core::net::{Family, Protocol};
use weir_core::objects::{Attributes, Node, ObjectName, Service, ServiceType, TrafficPolicy};
use weir_core::policy::Surroundings;
use weir_core::sampling::Count;
use weir_core::view::{EndpointView, Location, PortView, ServiceView};

use crate::bindings::types;
use crate::needs::Needs;
use crate::stable_hash::StableHasher;

/// How many zones a table may have before it is rebuilt. Zones come from objects that tenants write.
const ZONES: usize = 4096;

/// The zones referred to so far. An index means the same zone for the table's lifetime, so a remembered answer may
/// depend on it.
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

    /// Empties the table if it is full; then everything that depends on its indexes must be forgotten.
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

/// Whether a table was rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    Done,
    None,
}

/// Lowers views for one plugin.
pub(crate) struct Lowering<'a> {
    needs: Arc<Needs>,
    zones: Zones,
    around: Surroundings<'a>,
    /// Each node's position in the context's list.
    nodes: HashMap<&'a str, u32>,
}

impl<'a> Lowering<'a> {
    pub(crate) fn new(needs: Arc<Needs>, zones: Zones, around: &Surroundings<'a>) -> Lowering<'a> {
        let names: Vec<&str> =
            if needs.nodes { around.nodes.keys().map(String::as_str).collect() } else { Vec::new() };
        let nodes = names.into_iter().zip(0..).collect();
        Lowering { needs, zones, around: *around, nodes }
    }

    /// The zones referred to so far.
    pub(crate) fn zones(&self) -> &[String] {
        self.zones.names()
    }

    /// The table of zones, for the next round.
    pub(crate) fn into_zones(self) -> Zones {
        self.zones
    }

    /// The context without its zones, which are only known after the services are lowered.
    pub(crate) fn context(&mut self) -> types::Context {
        let (needs, around) = (self.needs.clone(), self.around);
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
            extra: None,
        }
    }

    fn node(&mut self, node: &Node, this: &str) -> types::Node {
        types::Node {
            name: node.name.clone(),
            zone: node.zone().map(|zone| self.zones.index(zone)),
            this: node.name == this,
            labels: some(self.needs.node_labels.of(&node.labels)),
            annotations: some(self.needs.node_annotations.of(&node.annotations)),
            unschedulable: node.unschedulable,
            taints: some(node.taints.clone()),
            cpu_millis: node.allocatable.cpu_millis,
            memory_bytes: node.allocatable.memory_bytes,
            addresses: node.service_addresses().map(address).collect(),
            extra: None,
        }
    }

    /// A service.
    pub(crate) fn service(&mut self, view: &ServiceView) -> types::Service {
        let needs = self.needs.clone();
        let service = &view.service;
        let none = Attributes::new();
        let namespace = view.namespace.as_ref();
        let (labels, annotations) =
            namespace.map_or((&none, &none), |namespace| (&namespace.labels, &namespace.annotations));
        let slices = if needs.slices {
            let lower = |slice: &Arc<weir_core::objects::EndpointSlice>| types::Slice {
                name: slice.name.name.clone(),
                labels: some(needs.slice_labels.of(&slice.labels)),
                annotations: some(needs.slice_annotations.of(&slice.annotations)),
            };
            view.slices.iter().map(lower).collect()
        } else {
            Vec::new()
        };
        types::Service {
            namespace: service.name.namespace.clone(),
            name: service.name.name.clone(),
            service_type: service_type(service),
            labels: some(needs.labels.of(&service.labels)),
            annotations: some(needs.annotations.of(&service.annotations)),
            namespace_labels: some(needs.namespace_labels.of(labels)),
            namespace_annotations: some(needs.namespace_annotations.of(annotations)),
            affinity_seconds: service.client_ip_affinity,
            internal_local: service.internal_policy == TrafficPolicy::Local,
            external_local: view.external_local,
            source_ranges: some(service.source_ranges.iter().map(network).collect()),
            slices: some(slices),
            ports: view.ports.iter().map(|port| self.port(&service.name, port)).collect(),
            extra: None,
        }
    }

    fn port(&mut self, service: &ObjectName, port: &PortView) -> types::Port {
        let vip = |kind| move |ip: &IpAddr| types::Vip { kind, address: address(*ip) };
        let vips = std::iter::once(&port.cluster_ip)
            .map(vip(types::VipKind::Cluster))
            .chain(port.external_ips.iter().map(vip(types::VipKind::External)))
            .chain(port.load_balancer_ips.iter().map(vip(types::VipKind::LoadBalancer)))
            .collect();
        let local = port.endpoints.iter().filter(|endpoint| endpoint.location == Location::Local).count();
        let endpoints = if self.needs.endpoints { self.endpoints(port) } else { Vec::new() };
        types::Port {
            name: text(&port.port.name),
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
            app_protocol: text(&port.port.app_protocol),
            vips,
            endpoints_total: count(port.endpoints.len()),
            endpoints_local: count(local),
            endpoints: some(endpoints),
            statistics: self.statistics(service, port),
        }
    }

    /// The statistics for the endpoints of a port; zeros if nothing was counted yet.
    fn statistics(&self, service: &ObjectName, port: &PortView) -> Option<Vec<types::ServerStatistics>> {
        let wish = self.needs.statistics.filter(|_| port.port.protocol == Protocol::Tcp)?;
        let counts = self.around.counts;
        let count =
            |endpoint: &EndpointView| counts.count(service, port.port.port, endpoint.address, wish.memory);
        let counted: Vec<Option<Count>> = port.endpoints.iter().map(count).collect();
        counted
            .iter()
            .any(Option::is_some)
            .then(|| counted.into_iter().map(|count| server_statistics(&count.unwrap_or_default())).collect())
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

/// Usually empty fields are optional in the contract: passing a list or a string costs a call of the guest's
/// allocator.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn server_statistics(count: &Count) -> types::ServerStatistics {
    types::ServerStatistics {
        active: count.active,
        inactive: count.inactive,
        weight: count.weight,
        since: count.since,
        connections: count.totals.connections,
        bytes_in: count.totals.bytes_in,
        bytes_out: count.totals.bytes_out,
        recent_connections: count.recent.connections,
        recent_active_time: count.recent.active_time,
    }
}

fn service_type(service: &Service) -> types::ServiceType {
    match service.service_type {
        ServiceType::ClusterIp => types::ServiceType::ClusterIp,
        ServiceType::NodePort => types::ServiceType::NodePort,
        ServiceType::LoadBalancer => types::ServiceType::LoadBalancer,
        ServiceType::ExternalName => types::ServiceType::ExternalName,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A number that differs between nodes and never changes on one, so guests may rely on it across restarts.
fn seed(node: &str) -> u64 {
    let mut hasher = StableHasher::default();
    hasher.write(node.as_bytes());
    hasher.finish()
}

/// An address as the contract's type.
pub(crate) fn address(ip: IpAddr) -> types::Address {
    let v6 = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let bits = u128::from(v6);
    types::Address { hi: (bits >> 64) as u64, lo: bits as u64 }
}

/// An address from the contract's type.
pub(crate) fn ip(address: types::Address) -> IpAddr {
    Ipv6Addr::from(u128::from(address.hi) << 64 | u128::from(address.lo)).to_canonical()
}

/// A network as the contract's type.
pub(crate) fn network(net: &IpNet) -> types::Network {
    types::Network { address: address(net.addr()), prefix_length: net.prefix_len() }
}

/// A network from the contract's type with its host bits cleared, or `None` if its prefix is too long.
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

/// A set of VIP kinds.
pub(crate) fn kinds(kinds: types::VipKinds) -> VipKinds {
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
    use weir_core::cluster::Cluster;
    use weir_core::node::{Capabilities, NodeView, ProxyConfig};
    use weir_core::sampling::Sampler;
    use weir_world::build;

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

    /// Each list and each string costs a call of the guest's allocator; a plain service needs four.
    #[test]
    fn what_no_one_asked_for_is_not_handed_over() {
        let service = build::service("shop/web").label("app", "web").annotation("a/b", "c");
        let mut cluster = Cluster::default();
        cluster.apply(service.cluster_ip("10.96.0.1").port(80).event());
        let (config, can) = (ProxyConfig::default(), Capabilities::assumed());
        let node = NodeView::new("n1", None, None, Vec::new(), config, can);
        let view = ServiceView::new(&cluster, &ObjectName::new("shop", "web"), &node).unwrap();
        let (counts, needs) = (Sampler::default(), Arc::new(Needs::default()));
        let around = Surroundings { node: &node, nodes: cluster.nodes(), counts: &counts, now: 0 };
        let lowered = Lowering::new(needs, Zones::default(), &around).service(&view);
        let types::Service { namespace, name, ports, .. } = lowered.clone();
        let plain = types::Service {
            service_type: types::ServiceType::ClusterIp,
            labels: None,
            annotations: None,
            namespace_labels: None,
            namespace_annotations: None,
            affinity_seconds: None,
            internal_local: false,
            external_local: false,
            source_ranges: None,
            slices: None,
            extra: None,
            namespace,
            name,
            ports,
        };
        assert!(lowered == plain, "{lowered:?}");
        let [port] = &lowered.ports[..] else { panic!("one port and family") };
        assert_eq!((port.vips.len(), &port.name, &port.app_protocol), (1, &None, &None));
        assert!(port.endpoints.is_none() && port.statistics.is_none());
        let prior = crate::patch::SchedulerPatch::default().print();
        assert!(prior.ports.is_none() && prior.reason.is_none() && prior.extra.is_none());
    }

    #[test]
    fn seeds_differ_and_stay() {
        assert_ne!(seed("node1"), seed("node2"));
        assert_eq!(seed(""), 0xcbf2_9ce4_8422_2325);
    }
}
