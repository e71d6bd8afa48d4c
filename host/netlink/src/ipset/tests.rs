use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use proptest::prelude::*;

use super::{
    Action, Client, Code, Element, ElementChange, Existing, Listing, PROTOCOLS, Set, SetError, SetType,
    decode_part, decode_protocols, decode_revisions,
};
use crate::attribute::{self, Writer};
use crate::socket::{PortId, Received, Socket, Transport, Wait};
use crate::{Errno, NetlinkError, TransportProtocol, netfilter};

fn element() -> impl Strategy<Value = Element> {
    let ip = any::<IpAddr>;
    let ports = || (any::<u8>().prop_map(TransportProtocol), any::<u16>());
    prop_oneof![
        ip().prop_map(Element::Ip),
        (ip(), any::<u8>()).prop_map(|(address, prefix)| Element::Net { address, prefix }),
        (ip(), ports()).prop_map(|(address, (protocol, port))| Element::IpPort { address, protocol, port }),
        (ip(), ports(), ip()).prop_map(|(address, (protocol, port), second)| Element::IpPortIp {
            address,
            protocol,
            port,
            second
        }),
        (ip(), ports(), ip(), any::<u8>()).prop_map(|(address, (protocol, port), network, prefix)| {
            Element::IpPortNet { address, protocol, port, network, prefix }
        }),
        any::<u16>().prop_map(Element::Port),
    ]
}

fn encoded(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.nested(7, fill);
    writer.into_bytes()
}

fn decoded(set_type: &SetType, bytes: &[u8]) -> Element {
    Element::decode(set_type, attribute::read(bytes, "test").require(7).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn an_element_survives_its_attributes(element in element()) {
        let bytes = encoded(|writer| element.encode(writer));
        prop_assert_eq!(decoded(&element.set_type().unwrap(), &bytes), element);
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
        let _ = Set::decode_part(&bytes);
        let _ = decode_part(&bytes, &mut Vec::new());
        let _ = decode_revisions(&bytes);
        let _ = decode_protocols(&bytes);
        for set_type in SetType::KNOWN {
            let container = encoded(|writer| writer.bytes(1, &bytes));
            let _ = Element::decode(&set_type, attribute::read(&container, "test").require(7).unwrap());
        }
    }

    /// Whatever the kernel refuses, every change gets its own result and the others are applied.
    #[test]
    fn every_change_has_its_own_result(refused in proptest::collection::btree_set(0_u16..60, 0..20), count in 0_u16..60) {
        let elements = (0..count).map(Element::Port).collect::<Vec<_>>();
        let changes = elements
            .iter()
            .map(|element| ElementChange { set: "set", action: Action::Add, element })
            .collect::<Vec<_>>();
        let mut client = client(Refusing { code: 4103, refused: refused.clone(), ..Refusing::default() });
        let results = client.apply(&changes, Existing::Refuse);
        for (port, result) in (0..count).zip(&results) {
            prop_assert_eq!(result.is_err(), refused.contains(&port), "port {}", port);
        }
        let held = &client.socket_mut().held;
        let wanted = (0..count).filter(|port| !refused.contains(port)).collect::<BTreeSet<_>>();
        prop_assert_eq!(held, &wanted);
    }
}

impl<T: Transport> Client<T> {
    fn socket_mut(&mut self) -> &mut T {
        self.socket.transport_mut()
    }
}

/// A kernel with one bitmap of ports that refuses some ports.
#[derive(Default)]
struct Refusing {
    code: i32,
    refused: BTreeSet<u16>,
    held: BTreeSet<u16>,
    messages: usize,
    answers: Vec<Vec<u8>>,
}

fn client(kernel: Refusing) -> Client<Refusing> {
    Client { socket: Socket::over(kernel), protocol: *PROTOCOLS.end(), revisions: Vec::new() }
}

impl Refusing {
    /// Applies a message as the kernel does, and returns the line of the refused element.
    fn carry_out(&mut self, body: &[u8]) -> Option<u32> {
        let attributes = netfilter::attributes(body, "test").unwrap();
        for element in attributes.require(8).unwrap().nested("test") {
            let element = element.unwrap();
            let line = element.nested("test").require(9).unwrap().u32().unwrap();
            let Element::Port(port) = Element::decode(&SetType::BitmapPort, element).unwrap() else {
                panic!("a port is sent")
            };
            if self.refused.contains(&port) {
                return Some(line);
            }
            assert!(self.held.insert(port), "port {port} was sent twice");
        }
        None
    }
}

impl Transport for Refusing {
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.messages += 1;
            let length = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize;
            let (request, rest) = bytes.split_at(length.next_multiple_of(4));
            let line = self.carry_out(&request[16..]);
            let mut body = line.map_or(0, |_| -self.code).to_ne_bytes().to_vec();
            body.extend_from_slice(request);
            if let Some(line) = line {
                let at = 4 + 16 + place_of_line(&request[16..]);
                body[at..at + 4].copy_from_slice(&line.to_ne_bytes());
            }
            let mut answer = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
            answer.extend_from_slice(&[2, 0, 0, 0]);
            answer.extend_from_slice(&request[8..12]);
            answer.extend_from_slice(&[0; 4]);
            answer.extend_from_slice(&body);
            self.answers.push(answer);
            bytes = rest;
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
        *buffer = self.answers.remove(0);
        Ok(Received { from: PortId::KERNEL, length: buffer.len() })
    }
}

/// The offset of the line number's value in the message body.
fn place_of_line(body: &[u8]) -> usize {
    let line = netfilter::attributes(body, "test").unwrap().require(9).unwrap().value;
    line.as_ptr() as usize - body.as_ptr() as usize
}

#[test]
fn a_full_set_is_not_asked_again_for_every_element() {
    let elements =
        (0..1000).map(|port| Element::Ip(std::net::Ipv4Addr::from(port).into())).collect::<Vec<_>>();
    let changes = elements
        .iter()
        .map(|element| ElementChange { set: "set", action: Action::Add, element })
        .collect::<Vec<_>>();
    struct Full(usize);
    impl Transport for Full {
        fn send(&mut self, _: &[u8]) -> io::Result<()> {
            self.0 += 1;
            Ok(())
        }
        fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
            // The tenth element finds the set full.
            let mut echo = Writer::after(&[0; 4]);
            echo.u32(9, 10);
            let echo = echo.into_bytes();
            let length = (16 + echo.len()) as u32;
            *buffer = [
                &(20 + length).to_ne_bytes()[..],
                &[2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
                &(-4352_i32).to_ne_bytes(),
                &length.to_ne_bytes(),
                &[0; 12],
                &echo,
            ]
            .concat();
            Ok(Received { from: PortId::KERNEL, length: buffer.len() })
        }
    }
    let mut client = Client { socket: Socket::over(Full(0)), protocol: 7, revisions: Vec::new() };
    let results = client.apply(&changes, Existing::Accept);
    assert!(results[..9].iter().all(Result::is_ok));
    assert!(results[9..].iter().all(|result| result.as_ref().unwrap_err().code() == Some(Code::HashFull)));
    assert_eq!(client.socket_mut().0, 1);
}

#[test]
fn refusals_without_end_are_given_up() {
    let elements = (0..200).map(Element::Port).collect::<Vec<_>>();
    let changes = elements
        .iter()
        .map(|element| ElementChange { set: "set", action: Action::Add, element })
        .collect::<Vec<_>>();
    let mut client = client(Refusing { code: 4103, refused: (0..200).collect(), ..Refusing::default() });
    assert!(client.apply(&changes, Existing::Refuse).iter().all(Result::is_err));
    assert_eq!(client.socket_mut().messages, 64);
}

#[test]
fn an_opaque_element_is_not_sent() {
    let element = Element::Opaque(vec![1, 2, 3]);
    let mut client = client(Refusing::default());
    let change = ElementChange { set: "set", action: Action::Delete, element: &element };
    let results = client.apply(&[change], Existing::Accept);
    assert_eq!(results, [Err(SetError::OpaqueElement { operation: "delete set elements" })]);
    assert_eq!(client.socket_mut().messages, 0);
}

#[test]
fn a_set_in_several_parts_is_one_listing() {
    let part = |head: bool, name: &str, ports: &[u16]| {
        let mut writer = netfilter::begin(0);
        writer.text(2, name);
        if head {
            writer.text(3, "bitmap:port");
            writer.u8(4, 3);
            writer.u8(5, 0);
        }
        writer.nested(8, |writer| {
            for port in ports {
                writer.nested(7, |writer| writer.net16(4, *port));
            }
        });
        writer.into_bytes()
    };
    let mut listings: Vec<Listing> = Vec::new();
    decode_part(&part(true, "one", &[1, 2]), &mut listings).unwrap();
    decode_part(&part(false, "one", &[3]), &mut listings).unwrap();
    decode_part(&part(true, "two", &[]), &mut listings).unwrap();
    assert_eq!(listings[0].elements, [1, 2, 3].map(Element::Port));
    assert_eq!(listings[1].elements, []);
    assert!(decode_part(&part(false, "three", &[4]), &mut listings).is_err(), "elements without a head");
}

#[test]
fn an_exception_is_not_taken_for_an_element() {
    let network = Element::Net { address: "10.0.0.0".parse().unwrap(), prefix: 8 };
    let plain = encoded(|writer| {
        network.encode(writer);
        writer.net32(8, 0);
    });
    assert_eq!(decoded(&SetType::HashNet, &plain), network);
    let nomatch = encoded(|writer| {
        network.encode(writer);
        writer.net32(8, 1 << 2);
    });
    assert!(matches!(decoded(&SetType::HashNet, &nomatch), Element::Opaque(_)));
}

#[test]
fn an_older_kernels_only_protocol_is_taken() {
    let mut writer = netfilter::begin(0);
    writer.u8(1, 6);
    assert_eq!(decode_protocols(&writer.into_bytes()), Ok((6, 6)));
}

#[test]
fn type_specific_numbers_depend_on_the_type() {
    let code = |set_type: Option<&SetType>| Code::of(Errno(4352), set_type);
    assert_eq!(code(Some(&SetType::HashIp)), Some(Code::HashFull));
    assert_eq!(code(Some(&SetType::BitmapPort)), Some(Code::BitmapRange));
    assert_eq!(code(None), Some(Code::TypeSpecific(4352)));
    assert_eq!(Code::of(Errno::ENOENT, None), None);
    let refused = NetlinkError::Refused { operation: "test", text: None, source: Errno(4100) };
    assert_eq!(SetError::from(refused).to_string(), "test: refused by ipset");
}

#[test]
fn elements_print_as_ipset_prints_them() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let protocol = TransportProtocol::TCP;
    let (address, port) = (ip("10.0.1.4"), 80);
    for (element, text) in [
        (Element::Ip(address), "10.0.1.4"),
        (Element::IpPort { address, protocol, port }, "10.0.1.4,tcp:80"),
        (Element::IpPortIp { address, protocol, port, second: address }, "10.0.1.4,tcp:80,10.0.1.4"),
        (
            Element::IpPortNet { address, protocol, port, network: ip("10.0.0.0"), prefix: 8 },
            "10.0.1.4,tcp:80,10.0.0.0/8",
        ),
        (Element::Port(80), "80"),
    ] {
        assert_eq!(element.to_string(), text);
    }
}
