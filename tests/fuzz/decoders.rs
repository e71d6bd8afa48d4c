//! One function per decoder: it accepts any bytes and must not panic. The fuzz targets run them, and so does
//! weir-netlink's own test `decoders`, on the corpus and some mutations of it, with the stable compiler.
#![allow(dead_code, reason = "each fuzz target runs one of them")]

use std::io;
use std::time::Duration;

use weir_netlink::Family;
use weir_netlink::conntrack::Flow;
use weir_netlink::ipset::{Set, decode_part, decode_protocols, decode_revisions};
use weir_netlink::ipvs::{Message, Statistics};
use weir_netlink::route::{Address, Link, decode_event};
use weir_netlink::rules::legacy::{Layout, Table};
use weir_netlink::rules::{Chain, Generation};
use weir_netlink::socket::{PortId, Received, Request, Socket, Transport, Wait};

/// Answers every request with one datagram.
struct OneAnswer<'a>(Option<&'a [u8]>);

impl Transport for OneAnswer<'_> {
    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
        let answer = self.0.take().ok_or(io::Error::from_raw_os_error(11))?;
        buffer.clear();
        buffer.extend_from_slice(answer);
        Ok(Received { from: PortId::KERNEL, length: answer.len() })
    }
}

/// A whole datagram with netlink headers, as the answer to changes and to a dump.
pub(crate) fn socket(bytes: &[u8]) {
    let socket = || Socket::over(OneAnswer(Some(bytes))).with_deadline(Duration::ZERO);
    let change = Request::new("fuzz", 0x20, Vec::new());
    assert_eq!(socket().execute(&[change.clone(), change]).len(), 2);
    let _ = socket().dump(&Request::dump("fuzz", 0x20, Vec::new()), &mut |_, _| Ok(()));
}

/// The body of a generic netlink message. Decoded services and destinations are encoded and decoded again.
pub(crate) fn ipvs(bytes: &[u8]) {
    let Ok(message) = Message::decode(bytes) else { return };
    let _ = message.timeouts();
    let _ = message.information();
    if let Ok(mut service) = message.service() {
        // Statistics are not encoded.
        service.statistics = Statistics::default();
        assert_eq!(again(Message::new_service(&service)).service().as_ref(), Ok(&service));
        if let Ok(mut destination) = message.destination(service.key.family()) {
            destination.statistics = Statistics::default();
            destination.active_connections = 0;
            destination.inactive_connections = 0;
            destination.persistent_connections = 0;
            let written = again(Message::new_destination(&service.key, &destination));
            assert_eq!(written.destination(service.key.family()).as_ref(), Ok(&destination));
        }
    }
    let _ = message.destination(Family::V4);
    let _ = message.destination(Family::V6);
}

fn again(message: Message) -> Message {
    Message::decode(&message.encode()).expect("encoded messages can be decoded")
}

/// The body of an ipset message.
pub(crate) fn ipset(bytes: &[u8]) {
    let _ = Set::decode_part(bytes);
    let _ = decode_protocols(bytes);
    let _ = decode_revisions(bytes);
    let mut listings = Vec::new();
    if decode_part(bytes, &mut listings).is_ok() {
        // A second part of the same set.
        let _ = decode_part(bytes, &mut listings);
    }
    for element in listings.iter().flat_map(|listing| &listing.elements) {
        assert!(!element.to_string().is_empty());
    }
}

/// The body of an rtnetlink message, or a whole datagram of events.
pub(crate) fn route(bytes: &[u8]) {
    let _ = Link::decode(bytes);
    let _ = Address::decode(bytes);
    let _ = decode_event(bytes);
}

/// The body of a connection tracking message.
pub(crate) fn conntrack(bytes: &[u8]) {
    let _ = Flow::decode(bytes);
}

/// The body of an nf_tables message, or the entries of an x_tables table.
pub(crate) fn rules(bytes: &[u8]) {
    let _ = Chain::decode(bytes);
    let _ = Generation::decode(bytes);
    let _ = Table::decode(bytes, Layout::of(Family::V4));
    let _ = Table::decode(bytes, Layout::of(Family::V6));
}
