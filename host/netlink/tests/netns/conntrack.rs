use std::net::{IpAddr, UdpSocket};

use weir_netlink::conntrack::{Client, Flow, FlowStatus};
use weir_netlink::{Errno, Family, TransportProtocol};

use crate::namespace::{isolated, output};

/// A flow of each family over loopback, with a rule that makes connection tracking see it.
pub(crate) fn make_flows() -> [u16; 2] {
    output("ip", &["link", "set", "lo", "up"]);
    let rule = ["-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW,ESTABLISHED", "-j", "ACCEPT"];
    output("iptables", &rule);
    output("ip6tables", &rule);
    ["127.0.0.1", "::1"].map(|address| {
        let server = UdpSocket::bind((address, 0)).unwrap();
        let client = UdpSocket::bind((address, 0)).unwrap();
        client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 8];
        let (_, peer) = server.recv_from(&mut buffer).unwrap();
        server.send_to(b"hello", peer).unwrap();
        server.local_addr().unwrap().port()
    })
}

fn udp_flows(client: &mut Client, family: Family) -> Vec<Flow> {
    client.flows(family, Some(TransportProtocol::UDP)).unwrap()
}

#[test]
fn flows_are_read_and_deleted_exactly() {
    isolated(|| {
        let ports = make_flows();
        let mut client = Client::open().unwrap();
        for ((family, address), port) in
            [(Family::V4, "127.0.0.1"), (Family::V6, "::1")].into_iter().zip(ports)
        {
            let address = address.parse::<IpAddr>().unwrap();
            let flows = udp_flows(&mut client, family);
            let [flow] = &flows[..] else { panic!("{flows:?}") };
            assert_eq!((flow.original.source, flow.original.destination), (address, address));
            assert_eq!(flow.original.destination_port, port);
            assert_eq!(flow.reply.source_port, port);
            assert_eq!(flow.reply.destination_port, flow.original.source_port);
            assert!(flow.status.contains(FlowStatus::SEEN_REPLY));
            assert!(flow.timeout > 0 && flow.timeout <= 180, "{}", flow.timeout);
            assert_eq!((flow.mark, flow.zone), (0, 0));

            let mut later = flow.clone();
            later.id = flow.id.map(|id| id ^ 1);
            let mut other = flow.clone();
            other.original.source_port ^= 1;
            let results = client.delete(&[later, other, flow.clone(), flow.clone()]);
            let gone = |result: &Result<(), weir_netlink::NetlinkError>| {
                result.as_ref().err().and_then(|error| error.refused_with()) == Some(Errno::ENOENT)
            };
            assert!(gone(&results[0]) && gone(&results[1]) && gone(&results[3]), "{results:?}");
            assert_eq!(results[2], Ok(()));
            assert_eq!(udp_flows(&mut client, family), []);
        }
    });
}

#[test]
fn flows_are_of_the_protocol_asked_for() {
    isolated(|| {
        make_flows();
        let mut client = Client::open().unwrap();
        assert_eq!(client.flows(Family::V4, Some(TransportProtocol::TCP)).unwrap(), []);
        assert_eq!(client.flows(Family::V4, None).unwrap().len(), 1);
    });
}
