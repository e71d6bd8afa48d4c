//! Where services affect the node, other nodes and each other, updated incrementally by events.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Planner;
use crate::cluster::claims::{node_ports, vips};
use crate::decision::VipKind;
use crate::net::Family;
use crate::node::{DetectLocal, NodeView, OtherNodes, Switch};
use crate::objects::{ObjectName, Service};
use crate::report::{Reason, Report};

impl Planner {
    /// Whether some load-balancer or external IP may be the address of another node, so that other nodes' addresses
    /// should be known. See [`OtherNodes`] for what happens until they are.
    pub fn asks_for_nodes(&self) -> bool {
        if let Some(asks) = self.asks_for_nodes.get() {
            return asks;
        }
        let node = &self.node;
        let external = [VipKind::External].into_iter().filter(|_| node.config.external_ips == Switch::On);
        let mut public =
            external.chain([VipKind::LoadBalancer]).flat_map(|kind| self.cluster.claims().vips(kind));
        let asks = public.any(|ip| node.runs(Family::of(ip)) && !node.is_own_address(ip));
        self.asks_for_nodes.set(Some(asks));
        asks
    }

    /// Sets whether the addresses of other nodes are known or about to be.
    pub fn set_other_nodes(&mut self, others: OtherNodes) {
        if std::mem::replace(&mut self.node.others, others) == others {
            return;
        }
        let claims = self.cluster.claims();
        for kind in [VipKind::External, VipKind::LoadBalancer] {
            self.dirty.extend(claims.vips(kind).flat_map(|ip| claims.services_at(kind, ip)).cloned());
        }
    }

    /// Whether a service has only cluster IPs, which no other service and no interface has.
    pub(super) fn stands_alone(&self, name: &ObjectName) -> bool {
        let Some(service) = self.cluster.service(name) else { return false };
        let claims = self.cluster.claims();
        let is_alone = |ip| {
            let mut others = VipKind::ALL.into_iter().flat_map(|kind| claims.services_at(kind, ip));
            others.all(|other| other == name) && !self.node.is_host_address(ip)
        };
        service.vips().all(|(kind, ip)| kind == VipKind::Cluster && is_alone(ip))
            && service.ports.iter().all(|port| port.node_port.is_none())
    }

    /// Updates the claims of a service.
    pub(super) fn note_claims(&mut self, before: Option<&Service>, after: Option<&Service>) {
        if before == after {
            return;
        }
        let addresses = |service: Option<&Service>| -> BTreeSet<(VipKind, IpAddr)> {
            service.into_iter().flat_map(vips).collect()
        };
        let (old, new) = (addresses(before), addresses(after));
        if old != new {
            self.asks_for_nodes.set(None);
            if old.symmetric_difference(&new).any(|(_, ip)| self.node.is_host_address(*ip)) {
                let mut node = self.node.clone();
                node.vips_here = self.vips_here(&node);
                self.set_node(node);
            }
        }
        let numbers =
            |service: Option<&Service>| -> BTreeSet<_> { service.into_iter().flat_map(node_ports).collect() };
        for number in numbers(before).symmetric_difference(&numbers(after)) {
            self.dirty.extend(self.cluster.claims().services_with_port((number.1, number.2)).cloned());
        }
    }

    /// The addresses of the host that are only VIPs, whichever program bound them.
    pub(super) fn vips_here(&self, node: &NodeView) -> BTreeSet<IpAddr> {
        let claims = self.cluster.claims();
        let addresses = node.host_addresses.iter().map(|host| host.address);
        addresses.filter(|ip| claims.is_vip(*ip) && node.is_only_a_vip(*ip)).collect()
    }

    /// Reports cluster IPs inside a pod network: the node's own packets to them are mistaken for a pod's.
    pub(super) fn service_network(&self) -> Option<Report> {
        let config = &self.node.config;
        let (nets, field): (&[IpNet], _) = match &config.detect_local {
            DetectLocal::ClusterCidr(nets) => (nets, "clusterCIDR"),
            DetectLocal::NodeCidr => (&self.node.pod_cidrs, "the podCIDRs of the Node"),
            DetectLocal::BridgeInterface(_) | DetectLocal::InterfaceNamePrefix(_) => return None,
        };
        let claims = self.cluster.claims();
        let runs = |net: &&IpNet| self.node.runs(Family::of_net(net)) && !config.masquerade_all;
        let (net, (ip, first)) =
            nets.iter().filter(runs).find_map(|net| Some((net, claims.cluster_ip_in(net)?)))?;
        // One report for all services, about the API server's service if it is affected.
        let api = ObjectName::new("default", "kubernetes");
        let of_api = self.cluster.service(&api).and_then(|service| *service.cluster_ips.get(Family::of(ip)));
        let (ip, service) = of_api.filter(|ip| net.contains(ip)).map_or((ip, first), |ip| (ip, &api));
        Some(Report {
            service: service.clone(),
            reason: Reason::ServiceNetworkInPodNetwork,
            message: format!(
                "its cluster IP {ip} is inside the network {net} of {field}, so this node's own packets to cluster IPs \
                 keep a VIP as their source and time out; {field} must contain the networks of pods, not those of \
                 services"
            ),
        })
    }
}
