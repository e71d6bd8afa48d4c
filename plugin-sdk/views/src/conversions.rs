//! Converts between the contract's records, which are cheap to pass, and the views, which are convenient to use.
//!
//! Host and SDK each generate their own types for the same records, with two generators; the conversions are shared here.

/// Defines the conversions for the generated modules `types`, `filter`, `scheduler` and `masquerade` in scope.
#[macro_export]
macro_rules! conversions {
    () => {
        use std::collections::BTreeSet;
        use std::net::{IpAddr, Ipv6Addr, SocketAddr};
        use std::sync::Arc;

        use ipnet::IpNet;

        /// The names that the indexes of a call refer to.
        pub struct Names {
            zones: Vec<Arc<str>>,
            nodes: Vec<Arc<str>>,
        }

        /// Values that are usually empty are absent in the contract, because each list and text that is passed costs a call of
        /// the guest's allocator.
        fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
            (!list.is_empty()).then_some(list)
        }

        /// Converts a text that is usually empty.
        fn text(text: String) -> Option<String> {
            (!text.is_empty()).then_some(text)
        }

        /// Labels or annotations.
        fn attributes(map: $crate::Attributes) -> Option<types::Attributes> {
            (!map.is_empty()).then(|| map.into_iter().collect())
        }

        fn named(names: &[Arc<str>], index: Option<u32>) -> Option<Arc<str>> {
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

        pub fn context(context: types::Context) -> ($crate::Context, Names) {
            let zones: Vec<Arc<str>> = context.zones.into_iter().map(Arc::from).collect();
            let nodes = context.nodes.iter().map(|node| Arc::from(node.name.as_str())).collect();
            let view = $crate::Context {
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

        fn node(node: types::Node, zones: &[Arc<str>]) -> $crate::Node {
            $crate::Node {
                name: node.name,
                zone: named(zones, node.zone),
                this: node.this,
                labels: node.labels.into_iter().flatten().collect(),
                annotations: node.annotations.into_iter().flatten().collect(),
                unschedulable: node.unschedulable,
                taints: node.taints.unwrap_or_default(),
                cpu_millis: node.cpu_millis,
                memory_bytes: node.memory_bytes,
                addresses: node.addresses.into_iter().map(ip).collect(),
            }
        }

        pub fn service(service: types::Service, names: &Names) -> $crate::Service {
            let slices: Vec<Arc<str>> =
                service.slices.iter().flatten().map(|slice| Arc::from(slice.name.as_str())).collect();
            $crate::Service {
                namespace: service.namespace,
                name: service.name,
                service_type: match service.service_type {
                    types::ServiceType::ClusterIp => "ClusterIP",
                    types::ServiceType::NodePort => "NodePort",
                    types::ServiceType::LoadBalancer => "LoadBalancer",
                    types::ServiceType::ExternalName => "ExternalName",
                }
                .to_owned(),
                labels: service.labels.into_iter().flatten().collect(),
                annotations: service.annotations.into_iter().flatten().collect(),
                namespace_labels: service.namespace_labels.into_iter().flatten().collect(),
                namespace_annotations: service.namespace_annotations.into_iter().flatten().collect(),
                affinity_seconds: service.affinity_seconds,
                internal_local: service.internal_local,
                external_local: service.external_local,
                source_ranges: nets(service.source_ranges.unwrap_or_default()),
                slices: service
                    .slices
                    .into_iter()
                    .flatten()
                    .map(|slice| $crate::Slice {
                        name: slice.name,
                        labels: slice.labels.into_iter().flatten().collect(),
                        annotations: slice.annotations.into_iter().flatten().collect(),
                    })
                    .collect(),
                ports: service.ports.into_iter().map(|one| port(one, names, &slices)).collect(),
            }
        }

        fn port(port: types::Port, names: &Names, slices: &[Arc<str>]) -> $crate::Port {
            $crate::Port {
                name: port.name.unwrap_or_default(),
                family: match port.family {
                    types::Family::Ipv4 => $crate::Family::Ipv4,
                    types::Family::Ipv6 => $crate::Family::Ipv6,
                },
                protocol: match port.protocol {
                    types::Protocol::Tcp => $crate::Protocol::Tcp,
                    types::Protocol::Udp => $crate::Protocol::Udp,
                    types::Protocol::Sctp => $crate::Protocol::Sctp,
                },
                port: port.port,
                node_port: port.node_port,
                app_protocol: port.app_protocol.unwrap_or_default(),
                vips: port
                    .vips
                    .into_iter()
                    .map(|vip| $crate::Vip { kind: kind(vip.kind), address: ip(vip.address) })
                    .collect(),
                endpoints_total: port.endpoints_total,
                endpoints_local: port.endpoints_local,
                endpoints: port
                    .endpoints
                    .into_iter()
                    .flatten()
                    .map(|one| endpoint(one, names, slices))
                    .collect(),
                statistics: port
                    .statistics
                    .into_iter()
                    .flatten()
                    .map(|one| $crate::ServerStatistics {
                        active: one.active,
                        inactive: one.inactive,
                        weight: one.weight,
                        since: one.since,
                        connections: one.connections,
                        bytes_in: one.bytes_in,
                        bytes_out: one.bytes_out,
                        recent_connections: one.recent_connections,
                        recent_active_time: one.recent_active_time,
                    })
                    .collect(),
            }
        }

        fn endpoint(endpoint: types::Endpoint, names: &Names, slices: &[Arc<str>]) -> $crate::Endpoint {
            let is = |state| endpoint.state.contains(state);
            $crate::Endpoint {
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

        fn kind(kind: types::VipKind) -> $crate::VipKind {
            match kind {
                types::VipKind::Cluster => $crate::VipKind::Cluster,
                types::VipKind::External => $crate::VipKind::External,
                types::VipKind::LoadBalancer => $crate::VipKind::LoadBalancer,
                types::VipKind::NodePort => $crate::VipKind::NodePort,
            }
        }

        fn vip_kind(kind: $crate::VipKind) -> types::VipKind {
            match kind {
                $crate::VipKind::Cluster => types::VipKind::Cluster,
                $crate::VipKind::External => types::VipKind::External,
                $crate::VipKind::LoadBalancer => types::VipKind::LoadBalancer,
                $crate::VipKind::NodePort => types::VipKind::NodePort,
            }
        }

        fn vip_kinds(kinds: BTreeSet<$crate::VipKind>) -> types::VipKinds {
            kinds.into_iter().fold(types::VipKinds::empty(), |flags, kind| {
                flags
                    | match kind {
                        $crate::VipKind::Cluster => types::VipKinds::CLUSTER,
                        $crate::VipKind::External => types::VipKinds::EXTERNAL,
                        $crate::VipKind::LoadBalancer => types::VipKinds::LOAD_BALANCER,
                        $crate::VipKind::NodePort => types::VipKinds::NODE_PORT,
                    }
            })
        }

        pub fn verdict(verdict: $crate::Verdict) -> filter::Verdict {
            let refusal = |refusal: $crate::Refusal| filter::Refusal {
                vip: types::Vip { kind: vip_kind(refusal.kind), address: address(refusal.address) },
                reason: refusal.reason,
            };
            let source = |source: $crate::SourceFilter| filter::SourceFilter {
                kinds: vip_kinds(source.kinds),
                action: match source.action {
                    $crate::SourceAction::Allow => "allow",
                    $crate::SourceAction::Deny => "deny",
                }
                .to_owned(),
                ranges: networks(source.ranges),
                extra: None,
            };
            filter::Verdict {
                ignore: verdict.ignore,
                kinds: verdict.kinds.map(vip_kinds),
                refusals: some(verdict.refusals.into_iter().map(refusal).collect()),
                node_port_networks: verdict.node_port_networks.map(networks),
                dropped_endpoints: some(verdict.dropped_endpoints),
                sources: some(verdict.sources.into_iter().map(source).collect()),
                reason: text(verdict.reason),
                re_evaluate_after: verdict.re_evaluate_after,
                metrics: some(verdict.metrics),
                extra: None,
            }
        }

        pub fn prior_schedule(prior: scheduler::Schedule) -> $crate::Schedule {
            let scheduling = |port: scheduler::Scheduling| $crate::Scheduling {
                scheduler: port.scheduler,
                scheduler_flags: port.scheduler_flags,
                persistence: match port.persistence {
                    scheduler::Persistence::Keep => $crate::Persistence::Keep,
                    scheduler::Persistence::SessionAffinity => $crate::Persistence::SessionAffinity,
                    scheduler::Persistence::Off => $crate::Persistence::Off,
                    scheduler::Persistence::On((seconds, prefix)) => $crate::Persistence::On(seconds, prefix),
                },
                weights: match port.weights {
                    scheduler::Weights::Keep => $crate::Weights::Keep,
                    scheduler::Weights::Equal => $crate::Weights::Equal,
                    scheduler::Weights::Each(weights) => $crate::Weights::Each(weights),
                },
            };
            $crate::Schedule {
                ports: prior.ports.into_iter().flatten().map(scheduling).collect(),
                drain: prior.drain.map(|drain| match (drain.mode.as_str(), drain.deadline) {
                    ("until-idle", _) => $crate::Drain::UntilIdle,
                    ("until-deadline", Some(seconds)) => $crate::Drain::UntilDeadline(seconds),
                    ("at-once", _) => $crate::Drain::AtOnce,
                    _ => $crate::Drain::Other(drain.mode),
                }),
                reason: prior.reason.unwrap_or_default(),
                re_evaluate_after: prior.re_evaluate_after,
                metrics: prior.metrics.unwrap_or_default(),
            }
        }

        pub fn schedule(schedule: $crate::Schedule) -> scheduler::Schedule {
            let scheduling = |port: $crate::Scheduling| scheduler::Scheduling {
                scheduler: port.scheduler,
                scheduler_flags: port.scheduler_flags,
                persistence: match port.persistence {
                    $crate::Persistence::Keep => scheduler::Persistence::Keep,
                    $crate::Persistence::SessionAffinity => scheduler::Persistence::SessionAffinity,
                    $crate::Persistence::Off => scheduler::Persistence::Off,
                    $crate::Persistence::On(seconds, prefix) => scheduler::Persistence::On((seconds, prefix)),
                },
                weights: match port.weights {
                    $crate::Weights::Keep => scheduler::Weights::Keep,
                    $crate::Weights::Equal => scheduler::Weights::Equal,
                    $crate::Weights::Each(weights) => scheduler::Weights::Each(weights),
                },
                persistence_group: None,
                extra: None,
            };
            let drain = |drain| {
                let (mode, deadline) = match drain {
                    $crate::Drain::UntilIdle => ("until-idle".to_owned(), None),
                    $crate::Drain::UntilDeadline(seconds) => ("until-deadline".to_owned(), Some(seconds)),
                    $crate::Drain::AtOnce => ("at-once".to_owned(), None),
                    $crate::Drain::Other(mode) => (mode, None),
                };
                scheduler::Drain { mode, deadline }
            };
            scheduler::Schedule {
                ports: some(schedule.ports.into_iter().map(scheduling).collect()),
                drain: schedule.drain.map(drain),
                reason: text(schedule.reason),
                re_evaluate_after: schedule.re_evaluate_after,
                metrics: some(schedule.metrics),
                extra: None,
            }
        }

        fn prior_treatment(prior: masquerade::Treatment) -> $crate::Treatment {
            match (prior.mode.as_str(), prior.source) {
                ("default", _) => $crate::Treatment::Default,
                ("never" | "hairpin", _) => $crate::Treatment::Never,
                ("always", _) => $crate::Treatment::Always,
                ("off-cluster", _) => $crate::Treatment::OffCluster,
                ("remote-endpoints", _) => $crate::Treatment::RemoteEndpoints,
                ("address", Some(source)) => $crate::Treatment::Address(ip(source)),
                _ => $crate::Treatment::Other(prior.mode),
            }
        }

        pub fn prior_treatments(prior: masquerade::Treatments) -> $crate::Treatments {
            $crate::Treatments {
                cluster: prior.cluster.map(prior_treatment),
                external: prior.external.map(prior_treatment),
                load_balancer: prior.load_balancer.map(prior_treatment),
                node_port: prior.node_port.map(prior_treatment),
                except_sources: prior.except_sources.map(nets),
                reason: prior.reason.unwrap_or_default(),
                re_evaluate_after: prior.re_evaluate_after,
                metrics: prior.metrics.unwrap_or_default(),
            }
        }

        fn treatment(treatment: $crate::Treatment) -> masquerade::Treatment {
            let (mode, source) = match treatment {
                $crate::Treatment::Default => ("default".to_owned(), None),
                $crate::Treatment::Never => ("never".to_owned(), None),
                $crate::Treatment::Always => ("always".to_owned(), None),
                $crate::Treatment::OffCluster => ("off-cluster".to_owned(), None),
                $crate::Treatment::RemoteEndpoints => ("remote-endpoints".to_owned(), None),
                $crate::Treatment::Address(source) => ("address".to_owned(), Some(address(source))),
                $crate::Treatment::Other(mode) => (mode, None),
            };
            masquerade::Treatment { mode, source }
        }

        pub fn treatments(treatments: $crate::Treatments) -> masquerade::Treatments {
            masquerade::Treatments {
                cluster: treatments.cluster.map(treatment),
                external: treatments.external.map(treatment),
                load_balancer: treatments.load_balancer.map(treatment),
                node_port: treatments.node_port.map(treatment),
                except_sources: treatments.except_sources.map(networks),
                reason: text(treatments.reason),
                re_evaluate_after: treatments.re_evaluate_after,
                metrics: some(treatments.metrics),
                extra: None,
            }
        }
        $crate::lowering!();

        /// Converts a verdict from an answer.
        pub fn answered_verdict(verdict: filter::Verdict) -> $crate::Verdict {
            let kinds = |kinds: types::VipKinds| {
                let all = $crate::VipKind::ALL;
                let flag = |kind: &$crate::VipKind| kinds.contains(vip_kinds([*kind].into()));
                all.into_iter().filter(flag).collect()
            };
            $crate::Verdict {
                ignore: verdict.ignore,
                kinds: verdict.kinds.map(kinds),
                refusals: verdict
                    .refusals
                    .into_iter()
                    .flatten()
                    .map(|refusal| $crate::Refusal {
                        kind: kind(refusal.vip.kind),
                        address: ip(refusal.vip.address),
                        reason: refusal.reason,
                    })
                    .collect(),
                node_port_networks: verdict.node_port_networks.map(nets),
                dropped_endpoints: verdict.dropped_endpoints.unwrap_or_default(),
                sources: verdict
                    .sources
                    .into_iter()
                    .flatten()
                    .map(|source| $crate::SourceFilter {
                        kinds: kinds(source.kinds),
                        action: if source.action == "deny" {
                            $crate::SourceAction::Deny
                        } else {
                            $crate::SourceAction::Allow
                        },
                        ranges: nets(source.ranges),
                    })
                    .collect(),
                reason: verdict.reason.unwrap_or_default(),
                re_evaluate_after: verdict.re_evaluate_after,
                metrics: verdict.metrics.unwrap_or_default(),
            }
        }
    };
}
