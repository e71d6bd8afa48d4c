//! What one service puts into the kernel.

use std::net::IpAddr;

use crate::decision::{Decision, Handling, PortDecision};
use crate::net::{Family, Protocol};
use crate::node::NodeView;
use crate::objects::{Service, ServiceType};
use crate::report::{Reason, Report};
use crate::set::{Set, SetEntry, SetName};
use crate::state::{KernelState, RealServer, VirtualServer};
use crate::view::{EndpointView, Location, PortView, ServiceView};

/// The fragment of a service: its virtual servers, real servers, addresses and set entries.
pub fn plan_service(view: &ServiceView, decision: &Decision, node: &NodeView) -> (KernelState, Vec<Report>) {
    let mut state = KernelState::default();
    if matches!(decision.handling, Handling::Ignore(_)) {
        return (state, Vec::new());
    }
    for (port, decided) in view.ports.iter().zip(&decision.ports) {
        PortPlan { service: &view.service, port, decided, node, state: &mut state }.plan();
    }
    (state, reports(view))
}

/// Warns where source ranges of one family leave the other family's load-balancer VIPs open.
fn reports(view: &ServiceView) -> Vec<Report> {
    let service = &view.service;
    if service.source_ranges.is_empty() {
        return Vec::new();
    }
    let mut open: Vec<Family> = view
        .ports
        .iter()
        .filter(|port| !port.load_balancer_ips.is_empty())
        .map(|port| port.family)
        .filter(|family| !service.source_ranges.iter().any(|net| Family::of_net(net) == *family))
        .collect();
    open.dedup();
    open.into_iter()
        .map(|family| Report {
            service: service.name.clone(),
            reason: Reason::SourceRangesOneFamily,
            message: format!(
                "spec.loadBalancerSourceRanges has no {family} network, so its {family} load-balancer \
                 address is open to everyone; add one to close it"
            ),
        })
        .collect()
}

struct PortPlan<'a> {
    service: &'a Service,
    port: &'a PortView,
    decided: &'a PortDecision,
    node: &'a NodeView,
    state: &'a mut KernelState,
}

/// Whether a VIP is bound when an interface of the host has it already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Binding {
    Always,
    UnlessHost,
    Never,
}

impl PortPlan<'_> {
    fn plan(&mut self) {
        self.plan_hairpin();
        self.plan_cluster_ip();
        self.plan_external_ips();
        self.plan_load_balancer();
        self.plan_node_port();
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

    fn plan_cluster_ip(&mut self) {
        let (port, ip) = (self.port, self.port.cluster_ip);
        self.entry(Set::ClusterIp, SetEntry::IpPort(ip, self.protocol(), port.port.port));
        self.virtual_server(ip, port.port.port, Binding::Always, port.internal_endpoints());
    }

    fn plan_external_ips(&mut self) {
        let port = self.port;
        let local = self.service.external_policy_is_local();
        for &ip in &port.external_ips {
            let set = if local { Set::ExternalIpLocal } else { Set::ExternalIp };
            self.entry(set, SetEntry::IpPort(ip, self.protocol(), port.port.port));
            self.virtual_server(ip, port.port.port, Binding::UnlessHost, port.external_endpoints());
        }
    }

    fn plan_load_balancer(&mut self) {
        let port = self.port;
        for &ip in &port.load_balancer_ips {
            let vip = SetEntry::IpPort(ip, self.protocol(), port.port.port);
            self.entry(Set::LoadBalancer, vip);
            if self.service.external_policy_is_local() {
                self.entry(Set::LoadBalancerLocal, vip);
            }
            self.plan_source_ranges(ip, vip);
            self.virtual_server(ip, port.port.port, Binding::UnlessHost, port.external_endpoints());
        }
    }

    fn plan_source_ranges(&mut self, ip: IpAddr, vip: SetEntry) {
        let ranges = self.service.source_ranges_of(self.port.family);
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
        let Some(number) = node_port.filter(|_| !node_ips.is_empty()) else { return };
        let local = self.service.external_policy_is_local();
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
            self.virtual_server(ip, number, Binding::Never, port.external_endpoints());
        }
    }

    fn plan_health_check(&mut self) {
        let service = self.service;
        if service.service_type == ServiceType::LoadBalancer
            && service.external_policy_is_local()
            && let Some(port) = service.health_check_node_port
        {
            self.entry(Set::HealthCheckNodePort, SetEntry::Port(port.get()));
        }
    }

    fn virtual_server<'e>(
        &mut self,
        ip: IpAddr,
        port: u16,
        binding: Binding,
        endpoints: impl Iterator<Item = (usize, &'e EndpointView)>,
    ) {
        let server = VirtualServer::new(self.protocol(), ip, port);
        // One address may be two kinds of VIP of the same port; the later kind decides, as in kube-proxy.
        self.state.real_servers.retain(|(of, _), _| *of != server);
        self.state.virtual_servers.insert(server, self.decided.scheduling.clone());
        for (index, endpoint) in endpoints {
            let weight = self.decided.weights[index];
            self.state.real_servers.insert((server, RealServer(endpoint.address)), weight);
        }
        let bind = match binding {
            Binding::Always => true,
            Binding::UnlessHost => !self.node.is_host_address(ip),
            Binding::Never => false,
        };
        if bind {
            self.state.addresses.insert(ip, ());
            self.entry(Set::IpvsIps, SetEntry::Ip(ip));
        }
    }
}
