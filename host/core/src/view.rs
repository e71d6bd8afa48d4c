//! A service as seen by this node: its ports joined with their endpoints, and which of these are used.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::cluster::{Cluster, NodePort};
use crate::decision::VipKind;
use crate::net::{Family, Protocol};
use crate::node::{NodeView, Switch};
use crate::objects::{
    Conditions, EndpointSlice, Hints, Namespace, ObjectName, Service, ServicePort, TrafficPolicy,
};
use crate::readiness::Readiness;

mod select;

pub use select::Selection;

/// A service with everything needed to plan it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// The service.
    pub service: Arc<Service>,
    /// Its namespace, if it was seen.
    pub namespace: Option<Arc<Namespace>>,
    /// Its EndpointSlices, sorted by name.
    pub slices: Vec<Arc<EndpointSlice>>,
    /// Its ports, once per family in which the service has a cluster IP.
    pub ports: Vec<PortView>,
    /// Whether traffic from outside stays on this node: `externalTrafficPolicy: Local`, if that applies.
    pub external_local: bool,
    /// Its conflicts with other objects.
    pub encounters: Encounters,
}

/// A service's conflicts with other objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encounters {
    /// Its VIPs that are addresses of other nodes, with the name of one.
    pub nodes: BTreeMap<IpAddr, String>,
    /// Its ports whose number is also a node port that is served here and masqueraded, with the service that owns
    /// the node port.
    pub node_ports: BTreeMap<NodePort, ObjectName>,
    /// Whether an Endpoints object with its name exists.
    pub endpoints_object: bool,
}

impl Encounters {
    fn of(cluster: &Cluster, service: &Service, node: &NodeView) -> Encounters {
        let claims = cluster.claims();
        let public =
            service.vips().filter(|(kind, ip)| *kind != VipKind::Cluster && !node.is_own_address(*ip));
        let holder = |(_, ip)| Some((ip, cluster.other_node_at(ip, &node.name)?.to_owned()));
        let numbers = Family::BOTH
            .into_iter()
            .flat_map(|family| service.ports.iter().map(move |port| (family, port.protocol, port.port)));
        let taken = |number: NodePort| {
            let owner = claims.node_port(number)?;
            (!node.node_port_ips(number.0).is_empty()).then(|| (number, owner.clone()))
        };
        Encounters {
            nodes: public.filter_map(holder).collect(),
            node_ports: numbers.filter_map(taken).collect(),
            endpoints_object: cluster.has_endpoints_object(&service.name),
        }
    }
}

/// A port of a service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    /// The family.
    pub family: Family,
    /// The port.
    pub port: ServicePort,
    /// The cluster IP of the family.
    pub cluster_ip: IpAddr,
    /// The external IPs of the family that a service may have; empty if the feature gate is off.
    pub external_ips: Vec<IpAddr>,
    /// The load-balancer VIPs of the family that a service may have.
    pub load_balancer_ips: Vec<IpAddr>,
    /// All endpoints of the port, sorted by address.
    pub endpoints: Vec<EndpointView>,
    /// The endpoints in use.
    pub selection: Selection,
}

/// An endpoint of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// The address and port on which it listens.
    pub address: SocketAddr,
    /// Its conditions.
    pub conditions: Conditions,
    /// Whether it runs on this node.
    pub location: Location,
    /// Its node's name.
    pub node: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// Where it should be used, if hints say so.
    pub hints: Option<Arc<Hints>>,
    /// The EndpointSlice that names it, as an index into [`ServiceView::slices`].
    pub slice: usize,
    /// Seconds since 1970 at which this node saw it become ready, if known and tracked.
    pub ready_since: Option<u64>,
}

/// Whether an endpoint runs on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this node.
    Local,
    /// On another node, or unknown.
    Remote,
}

impl ServiceView {
    /// The view of a service, or `None` if there is no service of that name.
    pub fn new(cluster: &Cluster, name: &ObjectName, node: &NodeView) -> Option<ServiceView> {
        let service = cluster.service(name)?.clone();
        let slices: Vec<Arc<EndpointSlice>> = cluster.slices_of(name).cloned().collect();
        let external_local = service.external_policy_is_local(|ip| node.unusable(ip).is_none());
        let external = if external_local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
        let mut ports = Vec::new();
        for family in Family::BOTH.into_iter().filter(|family| node.runs(*family)) {
            let Some(cluster_ip) = *service.cluster_ips.get(family) else { continue };
            let mut endpoints = join_endpoints(&slices, family, &node.name);
            for port in unique_ports(&service.ports) {
                let endpoints = endpoints.remove(&(port.name.as_str(), port.protocol)).unwrap_or_default();
                ports.push(PortView::new(&service, external, cluster_ip, port, endpoints, node));
            }
        }
        let namespace = cluster.namespace(&name.namespace).cloned();
        let encounters = Encounters::of(cluster, &service, node);
        Some(ServiceView { service, namespace, slices, ports, external_local, encounters })
    }

    /// Fills in since when endpoints have been ready.
    pub fn note_readiness(&mut self, readiness: &Readiness) {
        for port in &mut self.ports {
            for endpoint in &mut port.endpoints {
                let key = (port.port.protocol, endpoint.address);
                endpoint.ready_since = readiness.since(&self.service.name, key);
            }
        }
    }
}

impl PortView {
    fn new(
        service: &Service,
        external: TrafficPolicy,
        cluster_ip: IpAddr,
        port: &ServicePort,
        endpoints: Vec<EndpointView>,
        node: &NodeView,
    ) -> PortView {
        let family = Family::of(cluster_ip);
        let is_usable = |ip: &&IpAddr| Family::of(**ip) == family && node.unusable(**ip).is_none();
        let of_family = |ips: &[IpAddr]| -> Vec<IpAddr> {
            let mut ips: Vec<IpAddr> = ips.iter().filter(is_usable).copied().collect();
            ips.sort();
            ips.dedup();
            ips
        };
        let external_ips = of_family(&service.external_ips);
        let load_balancer_ips = of_family(&service.load_balancer_ips);
        let policy = select::Policies {
            internal: service.internal_policy,
            external,
            reachable: if port.node_port.is_some()
                || !load_balancer_ips.is_empty()
                || !external_ips.is_empty()
            {
                select::Reach::External
            } else {
                select::Reach::Internal
            },
            internal_local: node.config.internal_local,
        };
        let selection = select::select(&endpoints, &node.name, node.zone.as_deref(), policy);
        let external_ips = if node.config.external_ips == Switch::On { external_ips } else { Vec::new() };
        PortView {
            family,
            port: port.clone(),
            cluster_ip,
            external_ips,
            load_balancer_ips,
            endpoints,
            selection,
        }
    }

    /// The endpoints behind the cluster IP.
    pub fn internal_endpoints(&self) -> impl Iterator<Item = (usize, &EndpointView)> {
        self.selection.internal.iter().map(|i| (*i, &self.endpoints[*i]))
    }

    /// The endpoints behind every other VIP and the node port.
    pub fn external_endpoints(&self) -> impl Iterator<Item = (usize, &EndpointView)> {
        self.selection.external.iter().map(|i| (*i, &self.endpoints[*i]))
    }
}

/// The ports of a Service. Ports may share a name if their protocols differ; if both are equal, the last one counts.
fn unique_ports(ports: &[ServicePort]) -> impl Iterator<Item = &ServicePort> {
    ports.iter().enumerate().filter_map(|(i, port)| {
        let again = ports[i + 1..].iter().any(|p| p.name == port.name && p.protocol == port.protocol);
        (!again).then_some(port)
    })
}

/// The endpoints of a service in one family by port, each list sorted by address. If two slices (or one slice
/// twice) name the same address and port, the last one that is not terminating counts, otherwise the first; slices
/// are ordered by name.
fn join_endpoints<'a>(
    slices: &'a [Arc<EndpointSlice>],
    family: Family,
    this_node: &str,
) -> BTreeMap<(&'a str, Protocol), Vec<EndpointView>> {
    let mut joined: BTreeMap<(&str, Protocol), Vec<EndpointView>> = BTreeMap::new();
    for (index, slice) in slices.iter().enumerate().filter(|(_, slice)| slice.family == family) {
        for port in &slice.ports {
            let of_port = joined.entry((&port.name, port.protocol)).or_default();
            of_port.reserve(slice.endpoints.len());
            let of_family = slice.endpoints.iter().filter(|e| Family::of(e.address) == family);
            of_port.extend(of_family.map(|endpoint| EndpointView {
                address: SocketAddr::new(endpoint.address, port.port),
                conditions: endpoint.conditions,
                location: match &endpoint.node {
                    Some(node) if **node == *this_node => Location::Local,
                    Some(_) | None => Location::Remote,
                },
                node: endpoint.node.clone(),
                zone: endpoint.zone.clone(),
                hints: endpoint.hints.clone(),
                slice: index,
                ready_since: None,
            }));
        }
    }
    for endpoints in joined.values_mut() {
        // Stable, so that entries with the same address keep the order of slices.
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by(|later, kept| {
            let same = later.address == kept.address;
            if same && !later.conditions.terminating {
                std::mem::swap(later, kept);
            }
            same
        });
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;
    use crate::objects::Endpoint;

    /// Which of two endpoints with the same address and port counts, identified by its node.
    fn winner(first: Conditions, second: Conditions) -> Option<Arc<str>> {
        let endpoint = |conditions, node: &str| Endpoint {
            conditions,
            node: Some(node.into()),
            ..build::endpoint("10.244.0.1")
        };
        let endpoints = [endpoint(first, "first"), endpoint(second, "second")];
        let slice = build::slice("web").port(80).endpoints(endpoints).build();
        let slices = [Arc::new(slice)];
        let joined = join_endpoints(&slices, Family::V4, "first");
        let [endpoints] = joined.into_values().collect::<Vec<_>>().try_into().unwrap();
        let [only] = <[EndpointView; 1]>::try_from(endpoints).unwrap();
        only.node
    }

    #[test]
    fn of_one_address_the_last_that_is_not_terminating_counts_else_the_first() {
        let (ready, ending) = (Conditions::READY, Conditions { terminating: true, ..Conditions::READY });
        let gone = Conditions { ready: false, serving: false, terminating: true };
        assert_eq!(winner(ready, ready).as_deref(), Some("second"));
        assert_eq!(winner(ready, ending).as_deref(), Some("first"));
        assert_eq!(winner(ending, ready).as_deref(), Some("second"));
        assert_eq!(winner(ending, gone).as_deref(), Some("first"));
    }
}
