use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::flow::filter;
use super::{Flow, FlowStatus, Tuple};
use crate::{Family, TransportProtocol, netfilter};

fn tuple(family: Family) -> impl Strategy<Value = Tuple> {
    let address = move || {
        any::<u128>().prop_map(move |bits| match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(bits as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(bits)),
        })
    };
    let ports = (any::<u16>(), any::<u16>());
    (address(), address(), any::<u8>(), ports, proptest::option::of(any::<u16>())).prop_map(
        |(source, destination, protocol, (source_port, destination_port), zone)| Tuple {
            source,
            destination,
            protocol: TransportProtocol(protocol),
            source_port,
            destination_port,
            zone,
        },
    )
}

fn flow() -> impl Strategy<Value = Flow> {
    let tuples = prop_oneof![Just(Family::V4), Just(Family::V6)]
        .prop_flat_map(|family| (tuple(family), tuple(family)));
    (tuples, any::<u16>(), proptest::option::of(any::<u32>())).prop_map(|((original, reply), zone, id)| {
        Flow { original, reply, status: FlowStatus::default(), timeout: 0, mark: 0, zone, id }
    })
}

proptest! {
    #[test]
    fn a_flow_survives_its_message(flow in flow()) {
        prop_assert_eq!(Flow::decode(&flow.encode()).unwrap(), Some(flow));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
        let _ = Flow::decode(&bytes);
    }
}

#[test]
fn a_flow_of_another_family_is_left_out() {
    let bridge = netfilter::begin(7).into_bytes();
    assert_eq!(Flow::decode(&bridge).unwrap(), None);
}

#[test]
fn a_question_for_one_protocol_carries_a_filter() {
    assert_eq!(filter(Family::V4, None), [2, 0, 0, 0]);
    assert_eq!(
        filter(Family::V4, Some(TransportProtocol::UDP)),
        [
            2, 0, 0, 0, //
            16, 0, 1, 0x80, 12, 0, 2, 0x80, 5, 0, 1, 0, 17, 0, 0, 0, //
            12, 0, 25, 0x80, 8, 0, 1, 0, 8, 0, 0, 0
        ]
    );
}
