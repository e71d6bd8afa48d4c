//! The externally visible status of a service: its health for load balancers, and for operators, traffic that must
//! stay on the node but has no endpoint there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::decision::{Decision, Handling};
use crate::net::{Family, PerFamily};
use crate::objects::{ServiceType, TrafficPolicy};
use crate::view::{EndpointView, Location, ServiceView};

/// The externally visible status of a service, apart from its VIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The answer to load balancers; `None` unless the service's health check port applies.
    pub health_check: Option<HealthCheck>,
    /// By traffic policy and family, traffic that must stay on this node although only other nodes have endpoints
    /// (kube-proxy's `sync_proxy_rules_no_local_endpoints_total`).
    pub stranded: BTreeSet<(Scope, Family)>,
}

/// The answer to a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `spec.healthCheckNodePort`; with 0 the kernel chooses a port, for tests.
    pub port: u16,
    /// The number of distinct addresses of ready endpoints on this node, over all ports of the service; `None` for
    /// a family in which the service has no cluster IP. Terminating endpoints do not count.
    pub local_endpoints: PerFamily<Option<usize>>,
}

/// The traffic governed by a Local policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Traffic to cluster IPs: `spec.internalTrafficPolicy`.
    Internal,
    /// All other traffic: `spec.externalTrafficPolicy`.
    External,
}

impl Scope {
    /// The label value in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Scope::Internal => "internal",
            Scope::External => "external",
        }
    }
}

impl Standing {
    /// The status of a service that is handled according to this decision.
    pub fn of(view: &ServiceView, decision: &Decision) -> Standing {
        if matches!(decision.handling, Handling::Ignore(_)) {
            return Standing::default();
        }
        let service = &view.service;
        let external_local = view.external_local;
        let asked = service
            .health_check_node_port
            .filter(|_| service.service_type == ServiceType::LoadBalancer && external_local);
        let mut local: PerFamily<Option<BTreeSet<IpAddr>>> = PerFamily::default();
        let mut stranded = BTreeSet::new();
        for port in &view.ports {
            let here = |endpoint: &&EndpointView| endpoint.location == Location::Local;
            if asked.is_some() {
                let ready = port.endpoints.iter().filter(|endpoint| endpoint.conditions.ready).filter(here);
                let addresses = local.get_mut(port.family).get_or_insert_default();
                addresses.extend(ready.map(|endpoint| endpoint.address.ip()));
            }
            if !port.endpoints.iter().any(is_usable) || port.endpoints.iter().filter(here).any(is_usable) {
                continue;
            }
            if service.internal_policy == TrafficPolicy::Local {
                stranded.insert((Scope::Internal, port.family));
            }
            if external_local {
                stranded.insert((Scope::External, port.family));
            }
        }
        let count = |addresses: Option<BTreeSet<IpAddr>>| addresses.map(|addresses| addresses.len());
        let local_endpoints = PerFamily { v4: count(local.v4), v6: count(local.v6) };
        let health_check = asked.map(|port| HealthCheck { port: port.get(), local_endpoints });
        Standing { health_check, stranded }
    }

    /// Whether nothing is visible from outside.
    pub fn is_plain(&self) -> bool {
        *self == Standing::default()
    }
}

/// Whether an endpoint may get traffic at all, even if only as a last resort.
fn is_usable(endpoint: &EndpointView) -> bool {
    let conditions = endpoint.conditions;
    conditions.ready || (conditions.serving && conditions.terminating)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;
    use crate::cluster::{Cluster, Event};
    use crate::node::{Capabilities, NodeView, ProxyConfig};
    use crate::objects::{Conditions, Endpoint, Service};

    const UNREADY: Conditions = Conditions { ready: false, serving: false, terminating: false };
    const DRAINING: Conditions = Conditions { ready: false, serving: true, terminating: true };

    /// A LoadBalancer service with two ports and external traffic policy Local.
    fn service() -> Service {
        let service = build::service("web").of_type(ServiceType::LoadBalancer).cluster_ip("10.96.0.10");
        let service =
            service.named_port("http", 80).node_port(30_080).named_port("https", 443).node_port(30_443);
        service.external_local().health_check(31_000).build()
    }

    /// Its status with endpoints that both ports share, each on a node.
    fn standing(change: impl FnOnce(&mut Service), endpoints: &[(&str, Conditions)]) -> Standing {
        let mut service = service();
        change(&mut service);
        let endpoint = |(n, (node, conditions)): (usize, &(&str, Conditions))| Endpoint {
            conditions: *conditions,
            node: Some((*node).into()),
            ..build::endpoint(format!("10.244.0.{n}"))
        };
        let slice = build::slice("web").named_port("http", 8080).named_port("https", 8443);
        let mut cluster = Cluster::default();
        cluster.apply(Event::Service(Box::new(service.clone())));
        cluster.apply(slice.endpoints(endpoints.iter().enumerate().map(endpoint)).event());
        let (config, capabilities) = (ProxyConfig::default(), Capabilities::assumed());
        let node = NodeView::new("here", None, None, Vec::new(), config, capabilities);
        let view = ServiceView::new(&cluster, &service.name, &node).unwrap();
        Standing::of(&view, &Decision::upstream(&view, &node))
    }

    fn local(standing: &Standing) -> Option<usize> {
        standing.health_check.as_ref().and_then(|check| check.local_endpoints.v4)
    }

    #[test]
    fn addresses_of_ready_endpoints_of_this_node_are_counted_once_for_all_ports() {
        let ready = Conditions::READY;
        let endpoints =
            [("here", ready), ("here", ready), ("there", ready), ("here", DRAINING), ("here", UNREADY)];
        let standing = standing(|_| {}, &endpoints);
        assert_eq!(local(&standing), Some(2));
        assert_eq!(standing.stranded, BTreeSet::new());
    }

    #[test]
    fn only_load_balancers_whose_traffic_stays_local_are_asked_for_health() {
        let ready = [("here", Conditions::READY)];
        assert_eq!(
            local(&standing(|service| service.external_policy = TrafficPolicy::Cluster, &ready)),
            None
        );
        assert_eq!(local(&standing(|service| service.service_type = ServiceType::NodePort, &ready)), None);
        assert_eq!(local(&standing(|service| service.health_check_node_port = None, &ready)), None);
    }

    #[test]
    fn traffic_is_stranded_when_others_have_endpoints_and_this_node_has_none() {
        let both = |service: &mut Service| service.internal_policy = TrafficPolicy::Local;
        let all = BTreeSet::from([(Scope::Internal, Family::V4), (Scope::External, Family::V4)]);
        assert_eq!(standing(both, &[("there", Conditions::READY)]).stranded, all);
        assert_eq!(standing(|_| {}, &[("there", DRAINING)]).stranded, [(Scope::External, Family::V4)].into());
        assert_eq!(standing(both, &[("there", UNREADY)]).stranded, BTreeSet::new(), "no node has one");
        let here_too = [("there", Conditions::READY), ("here", DRAINING)];
        assert_eq!(standing(both, &here_too).stranded, BTreeSet::new(), "it is the last one on this node");
    }
}
