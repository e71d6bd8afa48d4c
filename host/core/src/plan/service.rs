//! The wants of one service: its ports and VIPs, according to its decision.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use litemap::Entry;

use crate::decision::{Decision, Handling, PortDecision, Treatment, VipKind};
use crate::net::{Family, Protocol};
use crate::node::{NodeView, OtherNodes};
use crate::objects::{Service, ServiceType, TrafficPolicy};
use crate::plan::detector;
use crate::report::{Reason, Report};
use crate::state::{RealServer, Server, VirtualServer};
use crate::view::{EndpointView, Location, PortView, ServiceView};
use crate::wants::{Ranges, Want, Wants};

mod hints;
mod sources;

use hints::hints;

/// The wants of a service, and the reports about it.
pub fn plan_service(view: &ServiceView, decision: &Decision, node: &NodeView) -> (Wants, Vec<Report>) {
    let mut wants = Wants { drain: decision.drain, ..Wants::default() };
    if matches!(decision.handling, Handling::Ignore(_)) {
        return (wants, Vec::new());
    }
    for (port, decided) in view.ports.iter().zip(&decision.ports) {
        PortPlan { view, port, decision, decided, node, wants: &mut wants }.plan();
    }
    let mut reports = hints(view, node);
    reports.extend(plan_sources(view, decision, &mut wants));
    wants.shrink();
    (wants, reports)
}

/// Limits which sources may connect, and reports VIPs that no source can reach.
fn plan_sources(view: &ServiceView, decision: &Decision, wants: &mut Wants) -> Option<Report> {
    if decision.sources.is_empty() {
        return None;
    }
    let mut closed: BTreeSet<(VipKind, Family)> = BTreeSet::new();
    for (server, want) in &mut wants.servers {
        let sources = sources::of(&decision.sources, want.kinds, server.family());
        if sources.allowed.as_ref().is_some_and(Vec::is_empty) {
            closed.extend(want.kinds.iter().map(|kind| (kind, server.family())));
        }
        if sources != Default::default() {
            want.limits_mut().sources = sources;
        }
    }
    let names: Vec<String> = closed.iter().map(|(kind, family)| format!("{kind} VIPs ({family})")).collect();
    (!names.is_empty()).then(|| Report {
        service: view.service.name.clone(),
        reason: Reason::ClosedToAll,
        message: format!(
            "no source can connect to {} because of a policy's source filters: they deny all sources, or their allow \
             lists have no network of that family in common",
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
    wants: &'a mut Wants,
}

/// Whether a VIP is bound if an interface of the host, or another node, already has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Binding {
    Always,
    UnlessTaken,
    Never,
}

impl<'a> PortPlan<'a> {
    fn service(&self) -> &'a Service {
        &self.view.service
    }

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

    fn plan_hairpin(&mut self) {
        let here = self.port.endpoints.iter().filter(|e| e.location == Location::Local);
        self.wants.hairpins.extend(here.map(|endpoint| (self.port.port.protocol, endpoint.address)));
    }

    /// Whether the decision lets this node serve a VIP.
    fn serves(&self, kind: VipKind, ip: IpAddr) -> bool {
        let vips = &self.decision.vips;
        vips.kinds.contains(kind)
            && !vips.refused.iter().any(|refused| refused.kind == kind && refused.address == ip)
    }

    fn plan_cluster_ip(&mut self) {
        let (port, ip) = (self.port, self.port.cluster_ip);
        if self.serves(VipKind::Cluster, ip) && self.node.unusable(ip).is_none() {
            let server = VirtualServer::new(self.protocol(), ip, port.port.port);
            self.virtual_server(VipKind::Cluster, server, Binding::Always, port.internal_endpoints());
        }
    }

    fn plan_external_ips(&mut self) {
        let port = self.port;
        for &ip in &port.external_ips {
            if self.serves(VipKind::External, ip) {
                let server = VirtualServer::new(self.protocol(), ip, port.port.port);
                self.virtual_server(
                    VipKind::External,
                    server,
                    Binding::UnlessTaken,
                    port.external_endpoints(),
                );
            }
        }
    }

    fn plan_load_balancer(&mut self) {
        let port = self.port;
        let networks = self.service().source_ranges_of(port.family);
        let node_ip = self.node.node_ips.get(port.family);
        let admits_node = networks.iter().any(|net| net.contains(node_ip));
        for &ip in &port.load_balancer_ips {
            if !self.serves(VipKind::LoadBalancer, ip) {
                continue;
            }
            let server = VirtualServer::new(self.protocol(), ip, port.port.port);
            let endpoints = port.external_endpoints();
            let want = self.virtual_server(VipKind::LoadBalancer, server, Binding::UnlessTaken, endpoints);
            if !networks.is_empty() {
                want.limits_mut().ranges = Some(Ranges { networks: networks.clone(), admits_node });
            }
        }
    }

    fn plan_node_port(&mut self) {
        let node_port = self.port.port.node_port.map(u16::from);
        let node_ips =
            if node_port.is_some() { self.node.node_port_ips(self.port.family) } else { Vec::new() };
        // A health check port cannot be queried on a node without node port addresses (kube-proxy skips it too).
        if node_port.is_none() || !node_ips.is_empty() {
            self.plan_health_check();
        }
        let Some(number) = node_port else { return };
        let networks = self.decision.vips.node_port_networks.as_ref();
        let inside = |ip: &IpAddr| networks.is_none_or(|nets| nets.iter().any(|net| net.contains(ip)));
        let port = self.port;
        for ip in node_ips.into_iter().filter(inside) {
            if self.serves(VipKind::NodePort, ip) {
                let server = VirtualServer::new(self.protocol(), ip, number);
                self.virtual_server(VipKind::NodePort, server, Binding::Never, port.external_endpoints());
            }
        }
    }

    fn plan_health_check(&mut self) {
        let service = self.service();
        if service.service_type == ServiceType::LoadBalancer
            && self.view.external_local
            && let Some(port) = service.health_check_node_port
        {
            self.wants.health_ports.insert((self.port.family, port.get()));
        }
    }

    fn virtual_server<'e>(
        &mut self,
        kind: VipKind,
        server: VirtualServer,
        binding: Binding,
        endpoints: impl Iterator<Item = (usize, &'e EndpointView)>,
    ) -> &mut Want {
        let ip = server.address.ip();
        let kept = endpoints.filter(|(index, _)| !self.decided.dropped.contains(index));
        let real_servers = kept
            .map(|(index, endpoint)| (RealServer(endpoint.address), self.decided.weights[index]))
            .collect();
        let behind = Server { scheduling: self.decided.scheduling.clone(), real_servers };
        let treatment = self.treatment(kind);
        let is_taken = self.is_taken(ip);
        let stays_local = self.view.external_local;
        // One address may be a VIP of two kinds for the same service; the later kind decides, as in kube-proxy.
        let want = match self.wants.servers.entry(server) {
            Entry::Vacant(place) => place.insert(Want::new(behind)),
            Entry::Occupied(place) => {
                let want = place.into_mut();
                want.server = behind;
                want
            }
        };
        want.kinds.insert(kind);
        want.treatment = treatment;
        if stays_local {
            want.external = TrafficPolicy::Local;
        }
        let except = &self.decision.masquerade.except;
        let except =
            except.iter().filter(|net| Family::of_net(net) == self.port.family && net.prefix_len() > 0);
        let except: Vec<IpNet> = except.copied().collect();
        if !except.is_empty() {
            want.limits_mut().except = except;
        }
        want.bound |= match binding {
            Binding::Always => true,
            Binding::UnlessTaken => !is_taken,
            Binding::Never => false,
        };
        want
    }

    /// Whether an address belongs to a machine and so must not be bound to the dummy device: this node already has
    /// it, or would lose its connection to the node that has it.
    fn is_taken(&self, ip: IpAddr) -> bool {
        let awaited = self.node.others == OtherNodes::Awaited && !self.node.is_own_address(ip);
        self.node.is_host_address(ip) || self.view.encounters.nodes.contains_key(&ip) || awaited
    }

    /// Whether the port is also a node port, which kube-proxy's rules would masquerade at any address of the node.
    fn is_node_port_number(&self) -> bool {
        let number = (self.port.family, self.protocol(), self.port.port.port);
        self.view.encounters.node_ports.contains_key(&number)
    }

    /// The treatment of sources of connections to VIPs of a kind.
    fn treatment(&self, kind: VipKind) -> Treatment {
        let family = self.port.family;
        let masquerade = &self.decision.masquerade;
        // The kernel's sets cannot contain a network that covers a whole family; this has the same effect.
        if masquerade.except.iter().any(|net| Family::of_net(net) == family && net.prefix_len() == 0) {
            return Treatment::Never;
        }
        let mut treatment = *masquerade.treatments.get(kind);
        if treatment == Treatment::Default && self.is_node_port_number() {
            // kube-proxy's behaviour for the VIP, before its rules for node ports see the packet.
            treatment = match kind {
                VipKind::Cluster if !self.node.config.masquerade_all => Treatment::OffCluster,
                VipKind::LoadBalancer if self.view.external_local => Treatment::Never,
                _ => Treatment::Default,
            };
        }
        match treatment {
            Treatment::Address(address) if Family::of(address) != family => Treatment::Default,
            // Sources in the cluster cannot be recognized, as the guard reports.
            Treatment::OffCluster if detector(self.node, family).is_none() => Treatment::Default,
            treatment => treatment,
        }
    }
}
