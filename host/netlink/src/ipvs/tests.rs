use std::io;
use std::net::IpAddr;

use proptest::prelude::*;

use super::{
    Change, Client, Destination, DestinationKey, Flags, Forwarding, Message, Netmask, Service, ServiceKey,
    Statistics, Timeouts,
};
use crate::attribute::Writer;
use crate::socket::{NetlinkError, PortId, Received, Socket, Transport, Wait};
use crate::{Family, TransportProtocol};

fn key() -> impl Strategy<Value = ServiceKey> {
    let address = (any::<u8>(), any::<IpAddr>(), any::<u16>()).prop_map(|(protocol, address, port)| {
        ServiceKey::Address { protocol: TransportProtocol(protocol), address, port }
    });
    let mark = (prop_oneof![Just(Family::V4), Just(Family::V6)], any::<u32>())
        .prop_map(|(family, mark)| ServiceKey::FirewallMark { family, mark });
    prop_oneof![address, mark]
}

fn service() -> impl Strategy<Value = Service> {
    let name = "[a-z]{1,15}";
    let parts = (key(), name, proptest::option::of(name), any::<u32>(), any::<u32>(), any::<u32>());
    parts.prop_map(|(key, scheduler, persistence_engine, flags, timeout, mask)| Service {
        persistence_engine,
        flags: Flags(flags),
        timeout,
        netmask: match key.family() {
            Family::V4 => Netmask::V4(mask.into()),
            Family::V6 => Netmask::V6(mask),
        },
        ..Service::new(key, scheduler)
    })
}

fn destination() -> impl Strategy<Value = Destination> {
    let limits = (any::<u32>(), any::<u32>());
    (any::<IpAddr>(), any::<u16>(), any::<u32>(), any::<u32>(), limits).prop_map(
        |(address, port, weight, forwarding, (upper_threshold, lower_threshold))| Destination {
            forwarding: Forwarding(forwarding),
            upper_threshold,
            lower_threshold,
            ..Destination::new(address, port, weight)
        },
    )
}

proptest! {
    #[test]
    fn a_service_survives_its_message(service in service()) {
        let message = Message::decode(&Message::new_service(&service).encode()).unwrap();
        prop_assert_eq!(message.service().unwrap(), service);
    }

    #[test]
    fn a_destination_survives_its_message(key in key(), destination in destination()) {
        let body = Message::new_destination(&key, &destination).encode();
        let message = Message::decode(&body).unwrap();
        let other = match key.family() {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        prop_assert_eq!(message.destination(other).unwrap(), destination);
    }

    #[test]
    fn timeouts_survive_their_message(tcp: u32, tcp_fin: u32, udp: u32) {
        let timeouts = Timeouts { tcp, tcp_fin, udp };
        let message = Message::decode(&Message::set_timeouts(&timeouts).encode()).unwrap();
        prop_assert_eq!(message.timeouts().unwrap(), timeouts);
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
        if let Ok(message) = Message::decode(&bytes) {
            let _ = message.service();
            let _ = message.destination(Family::V4);
            let _ = message.timeouts();
            let _ = message.information();
        }
    }
}

#[test]
fn the_counters_of_old_kernels_are_read_too() {
    let mut writer = Writer::default();
    writer.nested(10, |writer| {
        writer.u32(1, 7);
        writer.bytes(4, &70_u64.to_ne_bytes());
    });
    let bytes = writer.into_bytes();
    let statistics = super::statistics::find(crate::attribute::read(&bytes, "test"), 10, 12).unwrap();
    assert_eq!(statistics, Statistics { connections: 7, bytes_in: 70, ..Statistics::default() });
}

#[test]
fn a_destination_without_a_family_has_its_services() {
    let key = DestinationKey { address: "10.0.0.1".parse().unwrap(), port: 80 };
    let destination = Destination { key, ..Destination::new(key.address, key.port, 1) };
    let mut writer = Writer::default();
    destination.encode(&mut writer);
    // The family is the first attribute: four bytes of header, two of value, two of padding.
    let without = writer.into_bytes().split_off(8);
    let attributes = crate::attribute::read(&without, "test");
    assert_eq!(Destination::decode(attributes, Family::V4).unwrap(), destination);
}

/// A kernel whose IPVS family changes its number after each of `families` look-ups.
struct Reloaded {
    families: Vec<u16>,
    current: u16,
    answers: Vec<Vec<u8>>,
    /// The bodies of the parts returned by a dump of services.
    dump: Vec<Vec<u8>>,
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn acknowledge(sequence: u32, errno: i32) -> Vec<u8> {
    let body = [&(-errno).to_ne_bytes()[..], &[0; 16]].concat();
    message(2, 0x100, sequence, &body)
}

impl Transport for Reloaded {
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
            let half = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
            let (length, kind, flags, sequence) = (word(0), half(4), half(6), word(8));
            if kind == 0x10 {
                self.current = self.families.remove(0);
                let mut writer = Writer::after(&[1, 2, 0, 0]);
                writer.u16(1, self.current);
                self.answers.push(message(0x10, 0, sequence, &writer.into_bytes()));
                self.answers.push(acknowledge(sequence, 0));
            } else if kind != self.current {
                self.answers.push(acknowledge(sequence, 2));
            } else if flags & 0x300 != 0 {
                self.answers.extend(self.dump.iter().map(|body| message(kind, 2, sequence, body)));
                self.answers.push(message(3, 2, sequence, &[0; 4]));
            } else if flags & 4 != 0 {
                self.answers.push(acknowledge(sequence, 0));
            }
            bytes = &bytes[length.next_multiple_of(4) as usize..];
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, _: Wait) -> io::Result<Received> {
        *buffer = self.answers.remove(0);
        Ok(Received { from: PortId::KERNEL, length: buffer.len() })
    }
}

fn client(families: &[u16], dump: Vec<Vec<u8>>) -> Client<Reloaded> {
    let kernel = Reloaded { families: families.to_vec(), current: 0, answers: Vec::new(), dump };
    Client::over(Socket::over(kernel)).unwrap()
}

fn example(port: u16) -> Service {
    let address = "10.96.0.1".parse().unwrap();
    Service::new(ServiceKey::Address { protocol: TransportProtocol::TCP, address, port }, "rr")
}

#[test]
fn a_family_with_another_number_is_looked_up_again() {
    let mut client = client(&[0x20, 0x21], vec![Message::new_service(&example(80)).encode()]);
    client.family = 0x1f;
    let changes = [Change::NewService(example(80)), Change::NewService(example(81))];
    assert_eq!(client.apply(&changes), [Ok(()), Ok(())]);
    assert_eq!(client.family, 0x21);
    assert_eq!(client.services().unwrap(), [example(80)]);
}

#[test]
fn not_found_is_believed_when_the_family_is_the_same() {
    struct NoScheduler(Reloaded);
    impl Transport for NoScheduler {
        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            let current = std::mem::replace(&mut self.0.current, u16::MAX);
            self.0.send(bytes)?;
            self.0.current = current;
            Ok(())
        }
        fn receive(&mut self, buffer: &mut Vec<u8>, wait: Wait) -> io::Result<Received> {
            self.0.receive(buffer, wait)
        }
    }
    let kernel = Reloaded { families: vec![0x20, 0x20], current: 0, answers: Vec::new(), dump: Vec::new() };
    let mut client = Client::over(Socket::over(NoScheduler(kernel))).unwrap();
    let results = client.apply(&[Change::NewService(example(80))]);
    assert_eq!(results[0].as_ref().unwrap_err().refused_with(), Some(crate::Errno::ENOENT));
}

#[test]
fn a_service_that_is_repeated_shows_an_interrupted_dump() {
    let parts = [80, 81, 80].map(|port| Message::new_service(&example(port)).encode());
    let mut client = client(&[0x20], parts.to_vec());
    assert!(matches!(client.services(), Err(NetlinkError::Interrupted { .. })));
}
