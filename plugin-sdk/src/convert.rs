//! Between the contract's records, which are cheap to hand over, and the views, which are pleasant to work with.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use ipnet::IpNet;
use weir_plugin_views as views;

use crate::bindings::exports::weir::policy::{filter, masquerade, scheduler};
use crate::bindings::weir::policy::types;

/// The names behind the indexes of a call.
pub(crate) struct Names {
    zones: Vec<Rc<str>>,
    nodes: Vec<Rc<str>>,
}

fn named(names: &[Rc<str>], index: Option<u32>) -> Option<Rc<str>> {
    names.get(usize::try_from(index?).ok()?).cloned()
}

fn ip(address: types::Address) -> IpAddr {
    Ipv6Addr::from(u128::from(address.hi) << 64 | u128::from(address.lo)).to_canonical()
}

fn address(ip: IpAddr) -> types::Address {
    let v6 = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let bits = u128::from(v6);
    types::Address { hi: (bits >> 64) as u64, lo: bits as u64 }
}

fn nets(networks: Vec<types::Network>) -> Vec<IpNet> {
    let net = |network: types::Network| IpNet::new(ip(network.address), network.prefix_length).ok();
    networks.into_iter().filter_map(net).collect()
}

fn networks(nets: Vec<IpNet>) -> Vec<types::Network> {
    nets.into_iter()
        .map(|net| types::Network { address: address(net.addr()), prefix_length: net.prefix_len() })
        .collect()
}

pub(crate) fn context(context: types::Context) -> (views::Context, Names) {
    let zones: Vec<Rc<str>> = context.zones.into_iter().map(Rc::from).collect();
    let nodes = context.nodes.iter().map(|node| Rc::from(node.name.as_str())).collect();
    let view = views::Context {
        node: context.node,
        zone: named(&zones, context.zone),
        seed: context.seed,
        now: context.now,
        default_scheduler: context.default_scheduler,
        schedulers: context.schedulers,
        host_addresses: context.host_addresses.into_iter().map(ip).collect(),
        nodes: context.nodes.into_iter().map(|one| node(one, &zones)).collect(),
    };
    (view, Names { zones, nodes })
}

fn node(node: types::Node, zones: &[Rc<str>]) -> views::Node {
    views::Node {
        name: node.name,
        zone: named(zones, node.zone),
        this: node.this,
        labels: node.labels.into_iter().collect(),
        annotations: node.annotations.into_iter().collect(),
        unschedulable: node.unschedulable,
        taints: node.taints,
        cpu_millis: node.cpu_millis,
        memory_bytes: node.memory_bytes,
        addresses: node.addresses.into_iter().map(ip).collect(),
    }
}

pub(crate) fn service(service: types::Service, names: &Names) -> views::Service {
    let slices: Vec<Rc<str>> = service.slices.iter().map(|slice| Rc::from(slice.name.as_str())).collect();
    views::Service {
        namespace: service.namespace,
        name: service.name,
        service_type: service.service_type,
        labels: service.labels.into_iter().collect(),
        annotations: service.annotations.into_iter().collect(),
        namespace_labels: service.namespace_labels.into_iter().collect(),
        namespace_annotations: service.namespace_annotations.into_iter().collect(),
        affinity_seconds: service.affinity_seconds,
        internal_local: service.internal_local,
        external_local: service.external_local,
        source_ranges: nets(service.source_ranges),
        slices: service
            .slices
            .into_iter()
            .map(|slice| views::Slice {
                name: slice.name,
                labels: slice.labels.into_iter().collect(),
                annotations: slice.annotations.into_iter().collect(),
            })
            .collect(),
        ports: service.ports.into_iter().map(|one| port(one, names, &slices)).collect(),
    }
}

fn port(port: types::Port, names: &Names, slices: &[Rc<str>]) -> views::Port {
    views::Port {
        name: port.name,
        family: match port.family {
            types::Family::Ipv4 => views::Family::Ipv4,
            types::Family::Ipv6 => views::Family::Ipv6,
        },
        protocol: match port.protocol {
            types::Protocol::Tcp => views::Protocol::Tcp,
            types::Protocol::Udp => views::Protocol::Udp,
            types::Protocol::Sctp => views::Protocol::Sctp,
        },
        port: port.port,
        node_port: port.node_port,
        app_protocol: port.app_protocol,
        vips: port.vips.into_iter().map(|vip| views::Vip { kind: kind(vip.kind), address: ip(vip.address) }).collect(),
        endpoints_total: port.endpoints_total,
        endpoints_local: port.endpoints_local,
        endpoints: port.endpoints.into_iter().map(|one| endpoint(one, names, slices)).collect(),
    }
}

fn endpoint(endpoint: types::Endpoint, names: &Names, slices: &[Rc<str>]) -> views::Endpoint {
    let is = |state| endpoint.state.contains(state);
    views::Endpoint {
        address: SocketAddr::new(ip(endpoint.address), endpoint.port),
        ready: is(types::EndpointState::READY),
        serving: is(types::EndpointState::SERVING),
        terminating: is(types::EndpointState::TERMINATING),
        local: is(types::EndpointState::LOCAL),
        internal: is(types::EndpointState::INTERNAL),
        external: is(types::EndpointState::EXTERNAL),
        zone: named(&names.zones, endpoint.zone),
        node: named(&names.nodes, endpoint.node),
        slice: named(slices, endpoint.slice),
        ready_since: endpoint.ready_since,
    }
}

fn kind(kind: types::VipKind) -> views::VipKind {
    match kind {
        types::VipKind::Cluster => views::VipKind::Cluster,
        types::VipKind::External => views::VipKind::External,
        types::VipKind::LoadBalancer => views::VipKind::LoadBalancer,
        types::VipKind::NodePort => views::VipKind::NodePort,
    }
}

fn vip_kind(kind: views::VipKind) -> types::VipKind {
    match kind {
        views::VipKind::Cluster => types::VipKind::Cluster,
        views::VipKind::External => types::VipKind::External,
        views::VipKind::LoadBalancer => types::VipKind::LoadBalancer,
        views::VipKind::NodePort => types::VipKind::NodePort,
    }
}

fn vip_kinds(kinds: BTreeSet<views::VipKind>) -> types::VipKinds {
    kinds.into_iter().fold(types::VipKinds::empty(), |flags, kind| {
        flags
            | match kind {
                views::VipKind::Cluster => types::VipKinds::CLUSTER,
                views::VipKind::External => types::VipKinds::EXTERNAL,
                views::VipKind::LoadBalancer => types::VipKinds::LOAD_BALANCER,
                views::VipKind::NodePort => types::VipKinds::NODE_PORT,
            }
    })
}

pub(crate) fn verdict(verdict: views::Verdict) -> filter::Verdict {
    let refusal = |refusal: views::Refusal| filter::Refusal {
        vip: types::Vip { kind: vip_kind(refusal.kind), address: address(refusal.address) },
        reason: refusal.reason,
    };
    let source = |source: views::SourceFilter| filter::SourceFilter {
        kinds: vip_kinds(source.kinds),
        action: match source.action {
            views::SourceAction::Allow => "allow",
            views::SourceAction::Deny => "deny",
        }
        .to_owned(),
        ranges: networks(source.ranges),
        extra: Vec::new(),
    };
    filter::Verdict {
        ignore: verdict.ignore,
        kinds: verdict.kinds.map(vip_kinds),
        refusals: verdict.refusals.into_iter().map(refusal).collect(),
        node_port_networks: verdict.node_port_networks.map(networks),
        dropped_endpoints: verdict.dropped_endpoints,
        sources: verdict.sources.into_iter().map(source).collect(),
        reason: verdict.reason,
        re_evaluate_after: verdict.re_evaluate_after,
        extra: Vec::new(),
    }
}

pub(crate) fn prior_schedule(prior: scheduler::Schedule) -> views::Schedule {
    let scheduling = |port: scheduler::Scheduling| views::Scheduling {
        scheduler: port.scheduler,
        scheduler_flags: port.scheduler_flags,
        persistence: match port.persistence {
            scheduler::Persistence::Keep => views::Persistence::Keep,
            scheduler::Persistence::SessionAffinity => views::Persistence::SessionAffinity,
            scheduler::Persistence::Off => views::Persistence::Off,
            scheduler::Persistence::On((seconds, prefix)) => views::Persistence::On(seconds, prefix),
        },
        weights: match port.weights {
            scheduler::Weights::Keep => views::Weights::Keep,
            scheduler::Weights::Equal => views::Weights::Equal,
            scheduler::Weights::Each(weights) => views::Weights::Each(weights),
        },
    };
    views::Schedule {
        ports: prior.ports.into_iter().map(scheduling).collect(),
        drain: prior.drain.map(|drain| match (drain.mode.as_str(), drain.deadline) {
            ("until-idle", _) => views::Drain::UntilIdle,
            ("until-deadline", Some(seconds)) => views::Drain::UntilDeadline(seconds),
            ("at-once", _) => views::Drain::AtOnce,
            _ => views::Drain::Other(drain.mode),
        }),
        reason: prior.reason,
        re_evaluate_after: prior.re_evaluate_after,
    }
}

pub(crate) fn schedule(schedule: views::Schedule) -> scheduler::Schedule {
    let scheduling = |port: views::Scheduling| scheduler::Scheduling {
        scheduler: port.scheduler,
        scheduler_flags: port.scheduler_flags,
        persistence: match port.persistence {
            views::Persistence::Keep => scheduler::Persistence::Keep,
            views::Persistence::SessionAffinity => scheduler::Persistence::SessionAffinity,
            views::Persistence::Off => scheduler::Persistence::Off,
            views::Persistence::On(seconds, prefix) => scheduler::Persistence::On((seconds, prefix)),
        },
        weights: match port.weights {
            views::Weights::Keep => scheduler::Weights::Keep,
            views::Weights::Equal => scheduler::Weights::Equal,
            views::Weights::Each(weights) => scheduler::Weights::Each(weights),
        },
        persistence_group: None,
        extra: Vec::new(),
    };
    let drain = |drain| {
        let (mode, deadline) = match drain {
            views::Drain::UntilIdle => ("until-idle".to_owned(), None),
            views::Drain::UntilDeadline(seconds) => ("until-deadline".to_owned(), Some(seconds)),
            views::Drain::AtOnce => ("at-once".to_owned(), None),
            views::Drain::Other(mode) => (mode, None),
        };
        scheduler::Drain { mode, deadline }
    };
    scheduler::Schedule {
        ports: schedule.ports.into_iter().map(scheduling).collect(),
        drain: schedule.drain.map(drain),
        reason: schedule.reason,
        re_evaluate_after: schedule.re_evaluate_after,
        extra: Vec::new(),
    }
}

fn prior_treatment(prior: masquerade::Treatment) -> views::Treatment {
    match (prior.mode.as_str(), prior.source) {
        ("default", _) => views::Treatment::Default,
        ("never" | "hairpin", _) => views::Treatment::Never,
        ("always", _) => views::Treatment::Always,
        ("off-cluster", _) => views::Treatment::OffCluster,
        ("remote-endpoints", _) => views::Treatment::RemoteEndpoints,
        ("address", Some(source)) => views::Treatment::Address(ip(source)),
        _ => views::Treatment::Other(prior.mode),
    }
}

pub(crate) fn prior_treatments(prior: masquerade::Treatments) -> views::Treatments {
    views::Treatments {
        cluster: prior.cluster.map(prior_treatment),
        external: prior.external.map(prior_treatment),
        load_balancer: prior.load_balancer.map(prior_treatment),
        node_port: prior.node_port.map(prior_treatment),
        except_sources: prior.except_sources.map(nets),
        reason: prior.reason,
        re_evaluate_after: prior.re_evaluate_after,
    }
}

fn treatment(treatment: views::Treatment) -> masquerade::Treatment {
    let (mode, source) = match treatment {
        views::Treatment::Default => ("default".to_owned(), None),
        views::Treatment::Never => ("never".to_owned(), None),
        views::Treatment::Always => ("always".to_owned(), None),
        views::Treatment::OffCluster => ("off-cluster".to_owned(), None),
        views::Treatment::RemoteEndpoints => ("remote-endpoints".to_owned(), None),
        views::Treatment::Address(source) => ("address".to_owned(), Some(address(source))),
        views::Treatment::Other(mode) => (mode, None),
    };
    masquerade::Treatment { mode, source }
}

pub(crate) fn treatments(treatments: views::Treatments) -> masquerade::Treatments {
    masquerade::Treatments {
        cluster: treatments.cluster.map(treatment),
        external: treatments.external.map(treatment),
        load_balancer: treatments.load_balancer.map(treatment),
        node_port: treatments.node_port.map(treatment),
        except_sources: treatments.except_sources.map(networks),
        reason: treatments.reason,
        re_evaluate_after: treatments.re_evaluate_after,
        extra: Vec::new(),
    }
}
