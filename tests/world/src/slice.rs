//! Generated EndpointSlices.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use weir_core::net::{Family, Protocol};
use weir_core::objects::{Conditions, Endpoint, EndpointPort, EndpointSlice, Hints};

use super::{NODES, Pool, ZONES, port_name, protocol, service_name, slice_name, weighted_option};

/// Generates an EndpointSlice.
pub(crate) fn slice(pool: &'static Pool) -> impl Strategy<Value = EndpointSlice> {
    let family = prop_oneof![2 => Just(Family::V4), 1 => Just(Family::V6)];
    let service = service_name(pool).prop_map(|service| service.name);
    (slice_name(), service, family).prop_flat_map(move |(name, service, family)| {
        let endpoints = prop::collection::vec(endpoint(pool, family), 0..5);
        (ports(pool), endpoints).prop_map(move |(ports, endpoints)| {
            let mut slice = EndpointSlice {
                labels: Default::default(),
                annotations: Default::default(),
                name: pool.slice_name(&name, &service, family),
                service: service.clone(),
                family,
                ports,
                endpoints,
            };
            pool.settle_slice(&mut slice);
            slice
        })
    })
}

/// Mostly every port that a Service may have, so that the ports of slices and Services match.
fn ports(pool: &'static Pool) -> impl Strategy<Value = Vec<EndpointPort>> {
    let all = select(&pool.target_ports[..2]).prop_map(|port| {
        let of_name = |name: &&str| {
            [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(|protocol| EndpointPort {
                name: (*name).to_owned(),
                protocol,
                port,
            })
        };
        pool.port_names.iter().flat_map(of_name).collect()
    });
    prop_oneof![3 => all, 1 => prop::collection::vec(port(pool), 0..4)]
}

fn port(pool: &'static Pool) -> impl Strategy<Value = EndpointPort> {
    (port_name(pool), protocol(), select(pool.target_ports)).prop_map(|(name, protocol, port)| EndpointPort {
        name,
        protocol,
        port,
    })
}

pub(super) fn endpoint(pool: &'static Pool, family: Family) -> impl Strategy<Value = Endpoint> {
    let place = (prop::bool::weighted(0.95), 0..2u8, 1..pool.hosts, weighted_option(0.9, select(NODES)));
    (place, conditions(), names(pool, ZONES), names(pool, NODES)).prop_map(
        move |((right_family, net, host, node), conditions, zone_hints, node_hints)| Endpoint {
            // The API does not guarantee that an address belongs to its slice's family.
            address: pool.pod(if right_family { family } else { Family::V6 }, net, host),
            conditions,
            node: node.map(Into::into),
            zone: zone_hints.first().map(|zone| zone.as_str().into()),
            hints: Hints::new(zone_hints, node_hints),
            further_addresses: 0,
        },
    )
}

pub(super) fn hints(pool: &'static Pool) -> impl Strategy<Value = Option<Arc<Hints>>> {
    (names(pool, ZONES), names(pool, NODES)).prop_map(|(zones, nodes)| Hints::new(zones, nodes))
}

/// The zones or nodes in the hints of an endpoint.
fn names(pool: &Pool, of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(select(of).prop_map(str::to_owned), 0..=pool.hints)
}

pub(super) fn conditions() -> impl Strategy<Value = Conditions> {
    let any = (any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(ready, serving, terminating)| Conditions { ready, serving, terminating });
    prop_oneof![3 => Just(Conditions::READY), 1 => any]
}
