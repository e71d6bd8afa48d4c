use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::{Address, Event, Events, Link, LinkFlags, LinkIndex, OperationalState, Scope, decode_event};
use crate::socket::{PortId, Received, Transport, Wait};
use crate::{Errno, Family};

proptest! {
    #[test]
    fn an_address_survives_its_message(index in 1_u32.., address: IpAddr) {
        let link = LinkIndex(index);
        let decoded = Address::decode(&super::address::single(link, address)).unwrap().unwrap();
        let prefix = Family::of(address).full_prefix();
        prop_assert_eq!(decoded, Address { link, address, prefix, scope: Scope::GLOBAL, flags: 0 });
    }

    #[test]
    fn a_dummy_link_survives_its_message(name in "[a-z0-9]{1,15}") {
        let link = Link::decode(&super::link::dummy(&name)).unwrap();
        let wanted = Link {
            index: LinkIndex(0),
            name,
            kind: Some("dummy".to_owned()),
            flags: LinkFlags::default(),
            mtu: 0,
            state: OperationalState::Unknown,
        };
        prop_assert_eq!(link, wanted);
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
        let _ = Link::decode(&bytes);
        let _ = Address::decode(&bytes);
        let _ = decode_event(&bytes);
    }
}

#[test]
fn an_address_of_another_family_is_left_out() {
    // AF_MCTP of include/linux/socket.h has addresses, too.
    assert_eq!(Address::decode(&[45, 8, 0, 0, 1, 0, 0, 0]).unwrap(), None);
}

/// Plays back datagrams and errors.
struct Script(VecDeque<Result<(PortId, Vec<u8>), Errno>>);

impl Transport for Script {
    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        panic!("a subscriber sends nothing")
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
        match self.0.pop_front().unwrap_or(Err(Errno::EAGAIN)) {
            Ok((from, bytes)) => {
                *buffer = bytes;
                Ok(Received { from, length: buffer.len() })
            }
            Err(errno) => Err(io::Error::from_raw_os_error(errno.0)),
        }
    }
}

fn address_event(kind: u16, index: u32) -> Vec<u8> {
    let body = super::address::single(LinkIndex(index), "10.0.0.1".parse().unwrap());
    let header = [&((16 + body.len()) as u32).to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10]].concat();
    [header, body].concat()
}

#[test]
fn events_come_with_losses_and_without_forgeries() {
    let two = [address_event(20, 7), address_event(21, 7), address_event(20, 8)].concat();
    let script = [
        Err(Errno::EINTR),
        Ok((PortId(4711), address_event(20, 9))),
        Ok((PortId::KERNEL, two)),
        Err(Errno::ENOBUFS),
        Ok((PortId::KERNEL, vec![1, 2, 3])),
    ];
    let mut events = Events::over(Script(script.into()));
    let second = Duration::from_secs(1);
    let next = |events: &mut Events<Script>| events.next(second).unwrap();
    assert_eq!(next(&mut events), [Event::Address(LinkIndex(7)), Event::Address(LinkIndex(8))]);
    assert_eq!(next(&mut events), [Event::Overflow]);
    assert_eq!(next(&mut events), [Event::Overflow], "an unreadable event may be any change");
    assert_eq!(events.next(Duration::ZERO).unwrap(), []);
}
