//! Converts views to the contract's records.

/// A part of [`conversions!`](crate::conversions).
#[doc(hidden)]
#[macro_export]
macro_rules! lowering {
    () => {
        /// Converts a context. The zones are those of the context and of all services.
        pub fn lower_context(
            context: $crate::Context,
            services: &[$crate::Service],
        ) -> (types::Context, Indexes) {
            let mut indexes = Indexes::default();
            let endpoints = services.iter().flat_map(|s| &s.ports).flat_map(|p| &p.endpoints);
            let zones = context
                .nodes
                .iter()
                .map(|n| &n.zone)
                .chain([&context.zone])
                .chain(endpoints.map(|e| &e.zone));
            for zone in zones.flatten() {
                if !indexes.zones.contains(zone) {
                    indexes.zones.push(zone.clone());
                }
            }
            indexes.nodes = context.nodes.iter().map(|node| Arc::from(node.name.as_str())).collect();
            let lowered = types::Context {
                node: context.node,
                zone: index(&indexes.zones, &context.zone),
                seed: context.seed,
                now: context.now,
                default_scheduler: context.default_scheduler,
                schedulers: context.schedulers,
                host_addresses: context.host_addresses.into_iter().map(address).collect(),
                zones: indexes.zones.iter().map(|zone| zone.to_string()).collect(),
                nodes: context.nodes.into_iter().map(|node| lower_node(node, &indexes)).collect(),
                extra: None,
            };
            (lowered, indexes)
        }

        /// The indexes of names in the tables of a call.
        #[derive(Default)]
        pub struct Indexes {
            zones: Vec<Arc<str>>,
            nodes: Vec<Arc<str>>,
        }

        fn index(names: &[Arc<str>], name: &Option<Arc<str>>) -> Option<u32> {
            let index = names.iter().position(|known| Some(known) == name.as_ref())?;
            u32::try_from(index).ok()
        }

        fn lower_node(node: $crate::Node, indexes: &Indexes) -> types::Node {
            types::Node {
                name: node.name,
                zone: index(&indexes.zones, &node.zone),
                this: node.this,
                labels: attributes(node.labels),
                annotations: attributes(node.annotations),
                unschedulable: node.unschedulable,
                taints: some(node.taints),
                cpu_millis: node.cpu_millis,
                memory_bytes: node.memory_bytes,
                addresses: node.addresses.into_iter().map(address).collect(),
                extra: None,
            }
        }

        /// Converts a service.
        pub fn lower_service(service: $crate::Service, indexes: &Indexes) -> types::Service {
            let slices: Vec<Arc<str>> =
                service.slices.iter().map(|slice| Arc::from(slice.name.as_str())).collect();
            types::Service {
                namespace: service.namespace,
                name: service.name,
                service_type: match service.service_type.as_str() {
                    "NodePort" => types::ServiceType::NodePort,
                    "LoadBalancer" => types::ServiceType::LoadBalancer,
                    "ExternalName" => types::ServiceType::ExternalName,
                    _ => types::ServiceType::ClusterIp,
                },
                labels: attributes(service.labels),
                annotations: attributes(service.annotations),
                namespace_labels: attributes(service.namespace_labels),
                namespace_annotations: attributes(service.namespace_annotations),
                affinity_seconds: service.affinity_seconds,
                internal_local: service.internal_local,
                external_local: service.external_local,
                source_ranges: some(networks(service.source_ranges)),
                slices: some(
                    service
                        .slices
                        .into_iter()
                        .map(|slice| types::Slice {
                            name: slice.name,
                            labels: attributes(slice.labels),
                            annotations: attributes(slice.annotations),
                        })
                        .collect(),
                ),
                ports: service.ports.into_iter().map(|port| lower_port(port, indexes, &slices)).collect(),
                extra: None,
            }
        }

        fn lower_port(port: $crate::Port, indexes: &Indexes, slices: &[Arc<str>]) -> types::Port {
            types::Port {
                name: text(port.name),
                family: match port.family {
                    $crate::Family::Ipv4 => types::Family::Ipv4,
                    $crate::Family::Ipv6 => types::Family::Ipv6,
                },
                protocol: match port.protocol {
                    $crate::Protocol::Tcp => types::Protocol::Tcp,
                    $crate::Protocol::Udp => types::Protocol::Udp,
                    $crate::Protocol::Sctp => types::Protocol::Sctp,
                },
                port: port.port,
                node_port: port.node_port,
                app_protocol: text(port.app_protocol),
                vips: port
                    .vips
                    .into_iter()
                    .map(|vip| types::Vip { kind: vip_kind(vip.kind), address: address(vip.address) })
                    .collect(),
                endpoints_total: port.endpoints_total,
                endpoints_local: port.endpoints_local,
                endpoints: some(
                    port.endpoints.into_iter().map(|e| lower_endpoint(e, indexes, slices)).collect(),
                ),
                statistics: some(
                    port.statistics
                        .into_iter()
                        .map(|one| types::ServerStatistics {
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
                ),
            }
        }

        fn lower_endpoint(
            endpoint: $crate::Endpoint,
            indexes: &Indexes,
            slices: &[Arc<str>],
        ) -> types::Endpoint {
            let flags = [
                (endpoint.ready, types::EndpointState::READY),
                (endpoint.serving, types::EndpointState::SERVING),
                (endpoint.terminating, types::EndpointState::TERMINATING),
                (endpoint.local, types::EndpointState::LOCAL),
                (endpoint.internal, types::EndpointState::INTERNAL),
                (endpoint.external, types::EndpointState::EXTERNAL),
            ];
            let state = flags.into_iter().filter(|(holds, _)| *holds).map(|(_, flag)| flag);
            types::Endpoint {
                address: address(endpoint.address.ip()),
                port: endpoint.address.port(),
                state: state.fold(types::EndpointState::empty(), |state, flag| state | flag),
                zone: index(&indexes.zones, &endpoint.zone),
                node: index(&indexes.nodes, &endpoint.node),
                slice: index(slices, &endpoint.slice),
                ready_since: endpoint.ready_since,
            }
        }
    };
}
