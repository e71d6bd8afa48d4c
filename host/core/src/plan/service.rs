//! What one service puts into the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::decision::{Decision, Drain, Handling, PortDecision, Treatment, VipKind};
use crate::net::{Family, Protocol};
use crate::node::{NodeView, OtherNodes};
use crate::objects::{Service, ServiceType};
use crate::plan::detector;
use crate::report::{Reason, Report};
use crate::set::{Set, SetEntry, SetName};
use crate::state::{KernelState, RealServer, VirtualServer};
use crate::view::{EndpointView, Location, PortView, ServiceView};

mod hints;
mod sources;

use hints::hints;
use sources::Sources;

/// What a service adds to the wanted state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Its virtual servers, real servers, addresses and set entries.
    pub state: KernelState,
    /// Virtual servers whose clients' source is to be replaced by an address of the node. There is room for few
    /// addresses on a node, so that only all fragments together tell which of them become entries.
    pub snat: BTreeMap<VirtualServer, IpAddr>,
    /// How connections to its virtual servers end.
    pub drain: Drain,
}

/// The fragment of a service.
pub fn plan_service(view: &ServiceView, decision: &Decision, node: &NodeView) -> (Fragment, Vec<Report>) {
    let mut fragment = Fragment { drain: decision.drain, ..Fragment::default() };
    if matches!(decision.handling, Handling::Ignore(_)) {
        return (fragment, Vec::new());
    }
    let mut kinds = BTreeMap::new();
    for (port, decided) in view.ports.iter().zip(&decision.ports) {
        let Fragment { state, snat, .. } = &mut fragment;
        PortPlan { view, port, decision, decided, node, state, snat, kinds: &mut kinds }.plan();
    }
    let mut reports = hints(view, node);
    reports.extend(plan_sources(view, decision, &kinds, &mut fragment.state));
    (fragment, reports)
}

/// Of which kinds each virtual server is.
type Kinds = BTreeMap<VirtualServer, BTreeSet<VipKind>>;

/// Limits who may connect, and tells where nobody may.
fn plan_sources(
    view: &ServiceView,
    decision: &Decision,
    kinds: &Kinds,
    state: &mut KernelState,
) -> Option<Report> {
    let mut closed: BTreeSet<(VipKind, Family)> = BTreeSet::new();
    for (server, kinds) in kinds {
        let sources = Sources::of(&decision.sources, kinds, server.family());
        sources.add_to(state, *server);
        if sources.is_nobody() {
            closed.extend(kinds.iter().map(|kind| (*kind, server.family())));
        }
    }
    let names: Vec<String> = closed.iter().map(|(kind, family)| format!("{kind} ({family})")).collect();
    (!names.is_empty()).then(|| Report {
        service: view.service.name.clone(),
        reason: Reason::ClosedToAll,
        message: format!(
            "a policy's source filters let nobody connect to {}: they deny everybody, or what they allow has no \
             network of that family in common",
            names.join(", ")
        ),
    })
}

struct PortPlan<'a> {
    view: &'a ServiceView,
    port: &'a PortView,
    decision: &'a Decision,
    decided: &'a PortDecision,
    node: &'a NodeView,
    state: &'a mut KernelState,
    snat: &'a mut BTreeMap<VirtualServer, IpAddr>,
    kinds: &'a mut Kinds,
}

/// Whether a VIP is bound when an interface of the host has it already, or another node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Binding {
    Always,
    UnlessTaken,
    Never,
}

impl<'a> PortPlan<'a> {
    fn plan(&mut self) {
        self.plan_hairpin();
        self.plan_cluster_ip();
        self.plan_external_ips();
        self.plan_load_balancer();
        self.plan_node_port();
    }

    fn service(&self) -> &'a Service {
        &self.view.service
    }

    fn protocol(&self) -> Protocol {
        self.port.port.protocol
    }

    fn entry(&mut self, set: Set, entry: SetEntry) {
        self.state.entries.insert((SetName::new(self.port.family, set), entry), ());
    }

    /// Endpoints here, ready or not, can be reached by themselves through a VIP.
    fn plan_hairpin(&mut self) {
        let port = self.port;
        for endpoint in port.endpoints.iter().filter(|e| e.location == Location::Local) {
            let (ip, number) = (endpoint.address.ip(), endpoint.address.port());
            self.entry(Set::LoopBack, SetEntry::IpPortIp(ip, self.protocol(), number, ip));
        }
    }

    /// Whether the decision lets this node serve a VIP.
    fn serves(&self, kind: VipKind, ip: IpAddr) -> bool {
        let vips = &self.decision.vips;
        vips.kinds.contains(&kind)
            && !vips.refused.iter().any(|refused| refused.kind == kind && refused.address == ip)
    }

    fn plan_cluster_ip(&mut self) {
        let (port, ip) = (self.port, self.port.cluster_ip);
        if !self.serves(VipKind::Cluster, ip) || self.node.unusable(ip).is_some() {
            return;
        }
        self.entry(Set::ClusterIp, SetEntry::IpPort(ip, self.protocol(), port.port.port));
        let server = VirtualServer::new(self.protocol(), ip, port.port.port);
        self.virtual_server(VipKind::Cluster, server, Binding::Always, port.internal_endpoints());
    }

    fn plan_external_ips(&mut self) {
        let port = self.port;
        let local = self.service().external_policy_is_local();
        for &ip in &port.external_ips {
            if !self.serves(VipKind::External, ip) {
                continue;
            }
            let set = if local { Set::ExternalIpLocal } else { Set::ExternalIp };
            self.entry(set, SetEntry::IpPort(ip, self.protocol(), port.port.port));
            let server = VirtualServer::new(self.protocol(), ip, port.port.port);
            self.virtual_server(VipKind::External, server, Binding::UnlessTaken, port.external_endpoints());
        }
    }

    fn plan_load_balancer(&mut self) {
        let port = self.port;
        for &ip in &port.load_balancer_ips {
            if !self.serves(VipKind::LoadBalancer, ip) {
                continue;
            }
            let vip = SetEntry::IpPort(ip, self.protocol(), port.port.port);
            self.entry(Set::LoadBalancer, vip);
            if self.service().external_policy_is_local() {
                self.entry(Set::LoadBalancerLocal, vip);
            }
            self.plan_source_ranges(ip, vip);
            let server = VirtualServer::new(self.protocol(), ip, port.port.port);
            self.virtual_server(
                VipKind::LoadBalancer,
                server,
                Binding::UnlessTaken,
                port.external_endpoints(),
            );
        }
    }

    fn plan_source_ranges(&mut self, ip: IpAddr, vip: SetEntry) {
        let ranges = self.service().source_ranges_of(self.port.family);
        if ranges.is_empty() {
            return;
        }
        let (protocol, number) = (self.protocol(), self.port.port.port);
        self.entry(Set::LoadBalancerFw, vip);
        for net in &ranges {
            self.entry(Set::LoadBalancerSourceCidr, SetEntry::IpPortNet(ip, protocol, number, *net));
        }
        // Traffic from the node to the VIP has the VIP as its source, because the VIP is local.
        let node_ip = self.node.node_ips.get(self.port.family);
        if ranges.iter().any(|net| net.contains(node_ip)) {
            self.entry(Set::LoadBalancerSourceIp, SetEntry::IpPortIp(ip, protocol, number, ip));
        }
    }

    fn plan_node_port(&mut self) {
        let node_port = self.port.port.node_port.map(u16::from);
        let node_ips =
            if node_port.is_some() { self.node.node_port_ips(self.port.family) } else { Vec::new() };
        // Nobody could ask a health check port on a node without node port addresses (kube-proxy skips it too).
        if node_port.is_none() || !node_ips.is_empty() {
            self.plan_health_check();
        }
        let networks = self.decision.vips.node_port_networks.as_ref();
        let inside = |ip: &IpAddr| networks.is_none_or(|nets| nets.iter().any(|net| net.contains(ip)));
        let node_ips: Vec<IpAddr> =
            node_ips.into_iter().filter(|ip| inside(ip) && self.serves(VipKind::NodePort, *ip)).collect();
        let Some(number) = node_port.filter(|_| !node_ips.is_empty()) else { return };
        let local = self.service().external_policy_is_local();
        let (set, local_set) = match self.protocol() {
            Protocol::Tcp => (Set::NodePortTcp, Set::NodePortLocalTcp),
            Protocol::Udp => (Set::NodePortUdp, Set::NodePortLocalUdp),
            Protocol::Sctp => (Set::NodePortSctp, Set::NodePortLocalSctp),
        };
        let port = self.port;
        for ip in node_ips {
            let entry = match self.protocol() {
                Protocol::Tcp | Protocol::Udp => SetEntry::Port(number),
                Protocol::Sctp => SetEntry::IpPort(ip, Protocol::Sctp, number),
            };
            self.entry(set, entry);
            if local {
                self.entry(local_set, entry);
            }
            let server = VirtualServer::new(self.protocol(), ip, number);
            self.virtual_server(VipKind::NodePort, server, Binding::Never, port.external_endpoints());
        }
    }

    fn plan_health_check(&mut self) {
        let service = self.service();
        if service.service_type == ServiceType::LoadBalancer
            && service.external_policy_is_local()
            && let Some(port) = service.health_check_node_port
        {
            self.entry(Set::HealthCheckNodePort, SetEntry::Port(port.get()));
        }
    }

    fn virtual_server<'e>(
        &mut self,
        kind: VipKind,
        server: VirtualServer,
        binding: Binding,
        endpoints: impl Iterator<Item = (usize, &'e EndpointView)>,
    ) {
        let ip = server.address.ip();
        // One address may be two kinds of VIP of the same port; the later kind decides, as in kube-proxy.
        if self.state.virtual_servers.insert(server, self.decided.scheduling.clone()).is_some() {
            self.state.real_servers.retain(|(of, _), _| *of != server);
            self.forget_treatment(server);
        }
        self.kinds.entry(server).or_default().insert(kind);
        self.plan_masquerade(kind, server);
        for (index, endpoint) in endpoints.filter(|(index, _)| !self.decided.dropped.contains(index)) {
            let weight = self.decided.weights[index];
            self.state.real_servers.insert((server, RealServer(endpoint.address)), weight);
        }
        let bind = match binding {
            Binding::Always => true,
            Binding::UnlessTaken => !self.is_taken(ip),
            Binding::Never => false,
        };
        if bind {
            self.state.addresses.insert(ip, ());
            self.entry(Set::IpvsIps, SetEntry::Ip(ip));
        }
    }

    /// Whether an address is a machine's, and so not to be bound to the dummy device: this one has it there already, and
    /// could not reach another one any more.
    fn is_taken(&self, ip: IpAddr) -> bool {
        let awaited = self.node.others == OtherNodes::Awaited && !self.node.is_own_address(ip);
        self.node.is_host_address(ip) || self.view.encounters.nodes.contains_key(&ip) || awaited
    }

    /// Takes out what an earlier kind of VIP said of the source of a virtual server's connections.
    fn forget_treatment(&mut self, server: VirtualServer) {
        let (ip, port) = (server.address.ip(), server.address.port());
        let same = SetEntry::IpPort(ip, server.protocol, port);
        self.state.entries.retain(|(name, entry), ()| match name.set {
            Set::Masquerade | Set::MasqueradeAlways | Set::MasqueradeOffCluster | Set::MasqueradeRemote => {
                *entry != same
            }
            _ => true,
        });
        self.snat.remove(&server);
    }

    /// Whether the port is some node port too, which kube-proxy's rules would masquerade at any address of the node.
    fn is_node_port_number(&self) -> bool {
        let number = (self.port.family, self.protocol(), self.port.port.port);
        self.view.encounters.node_ports.contains_key(&number) && !self.node.config.masquerade_all
    }

    fn plan_masquerade(&mut self, kind: VipKind, server: VirtualServer) {
        let (ip, protocol, port) = (server.address.ip(), server.protocol, server.address.port());
        let family = self.port.family;
        let masquerade = &self.decision.masquerade;
        let mut treatment = *masquerade.treatments.get(kind);
        if treatment == Treatment::Default && self.is_node_port_number() {
            // What kube-proxy means for the VIP, before its rules for node ports get the packet.
            treatment = match kind {
                VipKind::Cluster => Treatment::OffCluster,
                VipKind::LoadBalancer if self.service().external_policy_is_local() => Treatment::Never,
                _ => Treatment::Default,
            };
        }
        for net in masquerade.except.iter().filter(|net| Family::of_net(net) == family) {
            if net.prefix_len() == 0 {
                // The kernel's sets hold no network of everything, and this says the same.
                treatment = Treatment::Never;
            } else {
                self.entry(Set::MasqueradeExcept, SetEntry::IpPortNet(ip, protocol, port, *net));
            }
        }
        let vip = SetEntry::IpPort(ip, protocol, port);
        let set = match treatment {
            Treatment::Default => return,
            Treatment::Address(address) if Family::of(address) != family => return,
            // Nothing tells the cluster's sources from others; the guard says so.
            Treatment::OffCluster if detector(self.node, family).is_none() => return,
            Treatment::Never => None,
            Treatment::Always => Some(Set::MasqueradeAlways),
            Treatment::OffCluster => Some(Set::MasqueradeOffCluster),
            Treatment::RemoteEndpoints => Some(Set::MasqueradeRemote),
            Treatment::Address(address) => {
                self.snat.insert(server, address);
                None
            }
        };
        self.entry(Set::Masquerade, vip);
        if let Some(set) = set {
            self.entry(set, vip);
        }
    }
}
