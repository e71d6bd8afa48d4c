//! Packets in every plan: the rules, sets and virtual servers do what the API promises, computed from the objects
//! alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use proptest::prelude::*;
use weir_core::net::{Family, Protocol};
use weir_core::node::{DetectLocal, NodeView};
use weir_core::policy::{BuiltIn, Policy};
use weir_core::rule::{Chain, Extension, Place};
use weir_core::state::{KernelState, RealServer, VirtualServer};
use weir_core::trace::{Cause, Origin, Packet, Source, Verdict, trace};
use weir_core::view::{Location, PortView, ServiceView};
use weir_world::{World, world};

/// The kind of VIP of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cluster,
    External,
    LoadBalancer,
    NodePort,
}

/// A virtual server that a service requests.
pub(super) struct Vip<'a> {
    pub(super) kind: Kind,
    pub(super) server: VirtualServer,
    pub(super) service: &'a ServiceView,
    pub(super) port: &'a PortView,
}

/// A planned world, and what its objects request.
pub(super) struct Planned {
    pub(super) state: KernelState,
    pub(super) node: NodeView,
    views: Vec<ServiceView>,
}

impl Planned {
    fn new(world: &World) -> Planned {
        Planned::by(world, BuiltIn)
    }

    /// Plans with a policy.
    pub(super) fn by(world: &World, policy: impl Policy + 'static) -> Planned {
        let mut planner = world.planned(policy);
        let (node, views) = (planner.node().clone(), planner.views());
        Planned { state: planner.plan().state, node, views }
    }

    /// All virtual servers requested by exactly one port of a service, or of the oldest service that requests it.
    /// Node ports of two services are left out, and VIPs with such a port: the API server never allocates one twice.
    fn vips(&self) -> Vec<Vip<'_>> {
        let mut vips: Vec<Vip<'_>> = self.claims().into_values().filter_map(oldest).collect();
        vips.retain(|vip| self.node_ports_like(vip).nth(1).is_none());
        vips
    }

    /// All virtual servers requested exactly once, by one port of one service.
    pub(super) fn undisputed_vips(&self) -> Vec<Vip<'_>> {
        let sole = |mut claims: Vec<_>| if claims.len() == 1 { claims.pop() } else { None };
        self.claims().into_values().filter_map(sole).collect()
    }

    fn claims(&self) -> BTreeMap<VirtualServer, Vec<Vip<'_>>> {
        let mut claims: BTreeMap<VirtualServer, Vec<Vip<'_>>> = BTreeMap::new();
        for service in &self.views {
            for port in &service.ports {
                for (kind, ip, number) in self.places(port) {
                    let server = VirtualServer::new(port.port.protocol, ip, number);
                    claims.entry(server).or_default().push(Vip { kind, server, service, port });
                }
            }
        }
        claims
    }

    fn places(&self, port: &PortView) -> Vec<(Kind, IpAddr, u16)> {
        let number = port.port.port;
        let mut places = Vec::new();
        if self.node.unusable(port.cluster_ip).is_none() {
            places.push((Kind::Cluster, port.cluster_ip, number));
        }
        places.extend(port.external_ips.iter().map(|ip| (Kind::External, *ip, number)));
        places.extend(port.load_balancer_ips.iter().map(|ip| (Kind::LoadBalancer, *ip, number)));
        if let Some(number) = port.port.node_port {
            let ips = self.node.node_port_ips(port.family);
            places.extend(ips.into_iter().map(|ip| (Kind::NodePort, ip, number.get())));
        }
        places
    }

    /// Whether an endpoint's address is the node's own, including addresses that became VIPs.
    pub(super) fn is_here(&self, ip: IpAddr) -> bool {
        self.node.is_host_address(ip) || self.state.addresses.contains_key(&ip)
    }

    /// Whether a packet to a VIP is forwarded to the machine that has the VIP as its address.
    pub(super) fn passes_by(&self, vip: &Vip<'_>, origin: &Origin) -> bool {
        *origin != Origin::Host && !self.is_here(vip.server.address.ip())
    }

    /// Whether an endpoint of any service runs here at this address.
    pub(super) fn runs_here(&self, protocol: Protocol, address: SocketAddr) -> bool {
        self.views.iter().flat_map(|view| &view.ports).any(|port| {
            port.port.protocol == protocol
                && port.endpoints.iter().any(|e| e.address == address && e.location == Location::Local)
        })
    }

    /// Whether a source is masqueraded because of the VIP it uses.
    pub(super) fn is_masqueraded(&self, vip: &Vip<'_>, source: IpAddr, origin: &Origin) -> bool {
        let config = &self.node.config;
        if vip.kind != Kind::Cluster {
            return !vip.service.external_local;
        }
        if config.masquerade_all {
            return true;
        }
        // If pods cannot be distinguished from other sources, only the node itself is masqueraded: its source is
        // the VIP. kube-proxy's rules go by the port number and treat these packets like packets to a node port.
        self.is_outside(vip.port.family, source, origin)
            .unwrap_or(*origin == Origin::Host || self.is_masqueraded_node_port(vip))
    }

    fn is_masqueraded_node_port(&self, vip: &Vip<'_>) -> bool {
        !self.node.node_port_ips(vip.port.family).is_empty()
            && vip.server.protocol != Protocol::Sctp
            && self.node_ports_like(vip).any(|view| !view.external_local)
    }

    /// The services with a node port that has the number of a VIP's port.
    fn node_ports_like(&self, vip: &Vip<'_>) -> impl Iterator<Item = &ServiceView> {
        let (protocol, number, family) = (vip.server.protocol, vip.server.address.port(), vip.port.family);
        let is_like = move |port: &&PortView| {
            let node_port = port.port.node_port.map(NonZeroU16::get);
            port.port.protocol == protocol && port.family == family && node_port == Some(number)
        };
        self.views.iter().flat_map(move |view| view.ports.iter().filter(is_like).map(move |_| view))
    }

    /// Whether a source is outside the cluster, if known.
    pub(super) fn is_outside(&self, family: Family, source: IpAddr, origin: &Origin) -> Option<bool> {
        let came_by = |accept: &dyn Fn(&str) -> bool| match origin {
            Origin::Interface(name) | Origin::Bridge(name) => accept(name),
            Origin::Host => false,
        };
        let nets = match &self.node.config.detect_local {
            DetectLocal::BridgeInterface(bridge) => return Some(!came_by(&|name| name == bridge)),
            DetectLocal::InterfaceNamePrefix(prefix) => {
                return Some(!came_by(&|name| name.starts_with(prefix)));
            }
            DetectLocal::ClusterCidr(nets) => nets,
            DetectLocal::NodeCidr => &self.node.pod_cidrs,
        };
        nets.iter().find(|net| Family::of_net(net) == family).map(|net| !net.contains(&source))
    }
}

fn oldest(mut claims: Vec<Vip<'_>>) -> Option<Vip<'_>> {
    let shared = claims.len() > 1;
    if shared && claims.iter().any(|vip| vip.kind == Kind::NodePort) {
        return None;
    }
    let age =
        |vip: &Vip<'_>| (vip.service.service.created.unwrap_or(i64::MAX), vip.service.service.name.clone());
    claims.sort_by_key(age);
    let twice = claims.get(1).is_some_and(|next| age(next) == age(&claims[0]));
    claims.into_iter().next().filter(|_| !twice)
}

/// Sources of packets: remote ones, some inside source ranges, and pods of this node.
pub(super) fn arrivals(family: Family) -> Vec<(IpAddr, Origin)> {
    let by = |name: &str| Origin::Interface(name.to_owned());
    let sources: &[(&str, Origin)] = match family {
        Family::V4 => &[
            ("8.8.8.8", by("eth0")),
            ("203.0.113.200", by("eth0")),
            ("192.0.2.77", by("eth0")),
            ("10.244.0.1", by("cni0")),
            ("10.244.0.2", Origin::Bridge("cni0".to_owned())),
            ("10.244.1.3", by("veth7")),
        ],
        Family::V6 => &[
            ("2600::1", by("eth0")),
            ("2001:db8::77", by("eth0")),
            ("fd00:244::1", by("cni0")),
            ("fd00:244::2", by("veth7")),
        ],
    };
    sources.iter().map(|(ip, origin)| (ip.parse().unwrap(), origin.clone())).collect()
}

/// The expected result for a packet.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// One of these receives it; those in the second list see the node as its source.
    Delivered(Vec<RealServer>, Vec<RealServer>),
    NobodyThere,
    DroppedBy(Chain),
    Other(String),
}

fn expected(planned: &Planned, vip: &Vip<'_>, source: IpAddr, origin: &Origin) -> Fate {
    let service = &vip.service.service;
    let ranges = match vip.kind {
        Kind::LoadBalancer => service.source_ranges_of(vip.port.family),
        _ => Vec::new(),
    };
    let node_admitted = ranges.iter().any(|net| net.contains(planned.node.node_ips.get(vip.port.family)));
    let arrives = *origin != Origin::Host;
    if arrives && !ranges.is_empty() && !ranges.iter().any(|net| net.contains(&source)) {
        return Fate::DroppedBy(Chain::KubeSourceRangesFirewall);
    }
    let endpoints: Vec<SocketAddr> = match vip.kind {
        Kind::Cluster => vip.port.internal_endpoints().map(|(_, e)| e.address).collect(),
        _ => vip.port.external_endpoints().map(|(_, e)| e.address).collect(),
    };
    if endpoints.is_empty() {
        return Fate::NobodyThere;
    }
    if !arrives
        && !ranges.is_empty()
        && !node_admitted
        && planned.node.capabilities.has(vip.port.family, Extension::Ipvs)
    {
        return Fate::DroppedBy(Chain::KubeIpvsOutFilter);
    }
    let masqueraded = planned.is_masqueraded(vip, source, origin);
    let sees_node = |address: &&SocketAddr| {
        let hairpin = address.ip() == source && planned.runs_here(vip.server.protocol, **address);
        let never_leaves = arrives && planned.is_here(address.ip());
        !never_leaves && (masqueraded || hairpin)
    };
    let hidden = endpoints.iter().filter(sees_node).map(|address| RealServer(*address)).collect();
    Fate::Delivered(endpoints.into_iter().map(RealServer).collect(), hidden)
}

fn fate(verdict: Verdict) -> Fate {
    match verdict {
        Verdict::Delivered(_, ways) => {
            let hidden = ways.iter().filter(|way| way.source != Source::Kept).map(|way| way.real).collect();
            Fate::Delivered(ways.iter().map(|way| way.real).collect(), hidden)
        }
        Verdict::NoRealServer(_) => Fate::NobodyThere,
        Verdict::Dropped(Cause::Rule(Place { chain, .. }, _)) => Fate::DroppedBy(chain),
        other => Fate::Other(other.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// L9: a packet to a service reaches a selected endpoint with the right source address, or is stopped where
    /// documented.
    #[test]
    fn packets_to_services_arrive(world in world(24)) {
        let planned = Planned::new(&world);
        for vip in planned.vips() {
            let mut packets = arrivals(vip.port.family);
            packets.push((vip.server.address.ip(), Origin::Host));
            for (source, origin) in packets {
                let from = SocketAddr::new(source, 40_000);
                let to = vip.server.address;
                let packet = Packet::new(vip.server.protocol, from, to, origin.clone()).unwrap();
                let trace = trace(&planned.state, &planned.node.host_addresses, &packet);
                let text = trace.to_string();
                if planned.passes_by(&vip, &origin) {
                    let served = matches!(trace.verdict, Verdict::Delivered(..) | Verdict::NoRealServer(_));
                    prop_assert!(!served, "{} is another node: {}", to, text);
                    continue;
                }
                let expected = expected(&planned, &vip, source, &origin);
                prop_assert_eq!(
                    fate(trace.verdict), expected, "{:?} {} from {} {:?}:\n{}", vip.kind, vip.server, source, origin, text
                );
            }
        }
    }

    /// L9: only services answer on addresses of the dummy device.
    #[test]
    fn host_ports_on_vips_are_refused(world in world(24), protocol in 0..3usize) {
        let planned = Planned::new(&world);
        let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp][protocol];
        for ip in planned.state.addresses.keys() {
            for (source, origin) in arrivals(Family::of(*ip)) {
                let packet =
                    Packet::new(protocol, SocketAddr::new(source, 40_000), SocketAddr::new(*ip, 22), origin);
                let trace = trace(&planned.state, &planned.node.host_addresses, &packet.unwrap());
                let place = match &trace.verdict {
                    Verdict::Refused(place, _) => Some(place),
                    // Without the refusing target, the same rule drops.
                    Verdict::Dropped(Cause::Rule(place, _))
                        if !planned.node.capabilities.has(Family::of(*ip), Extension::Reject) =>
                    {
                        Some(place)
                    }
                    _ => None,
                };
                prop_assert!(place.is_some_and(|place| place.chain == Chain::KubeIpvsFilter), "{}", trace);
            }
        }
    }
}
