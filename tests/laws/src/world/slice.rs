//! Generated EndpointSlices.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;
use weir_core::net::{Family, Protocol};
use weir_core::objects::{Conditions, Endpoint, EndpointPort, EndpointSlice, Hints};

use super::{NODE, PORT_NAMES, SERVICES, port_name, protocol, slice_name, weighted_option};

/// Generates an EndpointSlice.
pub fn slice() -> impl Strategy<Value = EndpointSlice> {
    let family = prop_oneof![2 => Just(Family::V4), 1 => Just(Family::V6)];
    let service = select(&SERVICES[..]).prop_map(|(_, name)| name.to_owned());
    (slice_name(), service, family).prop_flat_map(|(name, service, family)| {
        let endpoints = prop::collection::vec(endpoint(family), 0..5);
        (ports(), endpoints).prop_map(move |(ports, endpoints)| EndpointSlice {
            labels: Default::default(),
            annotations: Default::default(),
            name: name.clone(),
            service: service.clone(),
            family,
            ports,
            endpoints,
        })
    })
}

/// Mostly every port that a Service may have, so that they match.
fn ports() -> impl Strategy<Value = Vec<EndpointPort>> {
    let all = select(&[53, 8080][..]).prop_map(|port| {
        let of_name = |name: &&str| {
            [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(|protocol| EndpointPort {
                name: (*name).to_owned(),
                protocol,
                port,
            })
        };
        PORT_NAMES.iter().flat_map(of_name).collect()
    });
    prop_oneof![3 => all, 1 => prop::collection::vec(port(), 0..4)]
}

fn port() -> impl Strategy<Value = EndpointPort> {
    (port_name(), protocol(), select(&[53, 8080, 8443][..])).prop_map(|(name, protocol, port)| EndpointPort {
        name,
        protocol,
        port,
    })
}

fn endpoint(family: Family) -> impl Strategy<Value = Endpoint> {
    let place =
        (prop::bool::weighted(0.95), 0..2u8, 1..5u8, weighted_option(0.9, select(&[NODE, "node2"][..])));
    let hints = || prop::collection::vec(select(&["a", "b"][..]).prop_map(str::to_owned), 0..2);
    let node_hints = prop::collection::vec(select(&[NODE, "node2"][..]).prop_map(str::to_owned), 0..2);
    (place, conditions(), hints(), node_hints).prop_map(
        move |((right_family, net, host, node), conditions, zone_hints, node_hints)| Endpoint {
            // The API does not guarantee that an address belongs to its slice's family.
            address: address(if right_family { family } else { Family::V6 }, net, host),
            conditions,
            node: node.map(Into::into),
            zone: zone_hints.first().map(|zone| zone.as_str().into()),
            hints: Hints::new(zone_hints, node_hints),
            further_addresses: 0,
        },
    )
}

fn address(family: Family, net: u8, host: u8) -> IpAddr {
    match (family, net, host) {
        // An endpoint in the host's network.
        (Family::V4, 0, 4) => IpAddr::from([192, 0, 2, 10]),
        (Family::V4, ..) => IpAddr::from([10, 244, net, host]),
        (Family::V6, ..) => IpAddr::from([0xfd00, 0x244, 0, 0, 0, 0, u16::from(net), u16::from(host)]),
    }
}

pub(super) fn conditions() -> impl Strategy<Value = Conditions> {
    let any = (any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(ready, serving, terminating)| Conditions { ready, serving, terminating });
    prop_oneof![3 => Just(Conditions::READY), 1 => any]
}
