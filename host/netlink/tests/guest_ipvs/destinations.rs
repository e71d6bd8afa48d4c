use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use weir_netlink::ipvs::{
    Change, Client, Destination, DestinationKey, Forwarding, ForwardingMethod, Service,
};
use weir_netlink::{Errno, Family, TransportProtocol};

use crate::namespace::output;
use crate::{ip, ipvsadm, key, saved, with_ipvs};

const TCP: TransportProtocol = TransportProtocol::TCP;
const UDP: TransportProtocol = TransportProtocol::UDP;

fn make(client: &mut Client, service: &Service) {
    assert_eq!(client.apply(&[Change::NewService(service.clone())]), [Ok(())]);
}

#[test]
fn ipvsadm_sees_our_destinations() {
    with_ipvs(|mut client| {
        let four = Service::new(key(TCP, "10.96.0.1", 443), "rr");
        let six = Service::new(key(TCP, "fd00:96::1", 443), "rr");
        let mark =
            Service::new(weir_netlink::ipvs::ServiceKey::FirewallMark { family: Family::V4, mark: 9 }, "rr");
        for service in [&four, &six, &mark] {
            make(&mut client, service);
        }
        let limited = Destination {
            upper_threshold: 1000,
            lower_threshold: 500,
            ..Destination::new(ip("10.0.1.5"), 8443, 65535)
        };
        let routed = Destination { forwarding: Forwarding(3), ..Destination::new(ip("10.0.1.6"), 443, 1) };
        let changes = [
            Change::NewDestination(four.key, Destination::new(ip("10.0.1.4"), 8443, 1)),
            Change::NewDestination(four.key, limited.clone()),
            Change::NewDestination(four.key, routed),
            Change::NewDestination(six.key, Destination::new(ip("fd00:1::4"), 8443, 0)),
            Change::NewDestination(mark.key, Destination::new(ip("10.0.1.7"), 0, 1)),
        ];
        for result in client.apply(&changes) {
            result.unwrap();
        }
        assert_eq!(
            saved(),
            [
                "-A -f 9 -s rr",
                "-A -t 10.96.0.1:443 -s rr",
                "-A -t [fd00:96::1]:443 -s rr",
                "-a -f 9 -r 10.0.1.7:0 -m -w 1",
                "-a -t 10.96.0.1:443 -r 10.0.1.4:8443 -m -w 1",
                "-a -t 10.96.0.1:443 -r 10.0.1.5:8443 -m -w 65535",
                "-a -t 10.96.0.1:443 -r 10.0.1.6:443 -g -w 1",
                "-a -t [fd00:96::1]:443 -r [fd00:1::4]:8443 -m -w 0",
            ]
        );
        let thresholds = output("ipvsadm", &["-Ln", "--thresholds"]);
        let limits = thresholds.lines().find(|line| line.contains("10.0.1.5:8443")).unwrap();
        assert_eq!(limits.split_whitespace().skip(2).collect::<Vec<_>>(), ["1000", "500", "0", "0"]);
        let listed = client.destinations(&four.key).unwrap();
        assert_eq!(listed.len(), 3);
        let find = |address| listed.iter().find(|found| found.key.address == ip(address)).unwrap();
        assert_eq!(find("10.0.1.5"), &limited);
        assert_eq!(find("10.0.1.6").forwarding.method(), ForwardingMethod::DirectRoute);
        assert_eq!(find("10.0.1.4").forwarding.method(), ForwardingMethod::Masquerade);
        assert_eq!(client.destinations(&six.key).unwrap()[0].key.address, ip("fd00:1::4"));
    });
}

#[test]
fn we_see_the_destinations_of_ipvsadm() {
    with_ipvs(|mut client| {
        ipvsadm("-A -u 10.96.0.10:53 -s wrr");
        ipvsadm("-a -u 10.96.0.10:53 -r 10.0.1.4:5353 -m -w 3");
        let listed = client.destinations(&key(UDP, "10.96.0.10", 53)).unwrap();
        assert_eq!(listed, [Destination::new(ip("10.0.1.4"), 5353, 3)]);
    });
}

#[test]
fn a_destination_is_changed_and_deleted() {
    with_ipvs(|mut client| {
        let service = Service::new(key(TCP, "10.96.0.1", 443), "rr");
        make(&mut client, &service);
        let destination = Destination::new(ip("10.0.1.4"), 8443, 1);
        let quiesced = Destination { weight: 0, ..destination.clone() };
        let other = DestinationKey { address: ip("10.0.1.5"), port: 8443 };
        let absent = key(TCP, "10.96.0.2", 443);
        let results = client.apply(&[
            Change::NewDestination(service.key, destination.clone()),
            Change::NewDestination(service.key, destination.clone()),
            Change::SetDestination(service.key, quiesced.clone()),
            Change::DeleteDestination(service.key, other),
            Change::NewDestination(absent, destination.clone()),
        ]);
        let numbers =
            results.iter().map(|result| result.as_ref().err().and_then(|error| error.refused_with()));
        let wanted = [None, Some(Errno::EEXIST), None, Some(Errno::ENOENT), Some(Errno::ESRCH)];
        assert_eq!(numbers.collect::<Vec<_>>(), wanted);
        assert_eq!(client.destinations(&service.key).unwrap(), [quiesced]);
        let deletion = Change::DeleteDestination(service.key, destination.key);
        assert_eq!(client.apply(&[deletion]), [Ok(())]);
        assert_eq!(saved(), ["-A -t 10.96.0.1:443 -s rr"]);
    });
}

#[test]
fn a_thousand_destinations_are_listed_whole() {
    with_ipvs(|mut client| {
        let service = Service::new(key(TCP, "10.96.0.1", 443), "rr");
        make(&mut client, &service);
        let wanted = (0..1000_u32)
            .map(|number| Ipv4Addr::from(0x0a00_0000 + number).into())
            .collect::<BTreeSet<std::net::IpAddr>>();
        let changes = wanted
            .iter()
            .map(|address| Change::NewDestination(service.key, Destination::new(*address, 80, 1)))
            .collect::<Vec<_>>();
        assert!(client.apply(&changes).iter().all(Result::is_ok));
        let listed = client.destinations(&service.key).unwrap();
        assert_eq!(listed.iter().map(|found| found.key.address).collect::<BTreeSet<_>>(), wanted);
        assert_eq!(listed.len(), 1000);
    });
}

#[test]
fn traffic_is_counted() {
    with_ipvs(|mut client| {
        output("ip", &["address", "add", "10.96.0.10/32", "dev", "lo"]);
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let service = Service::new(key(UDP, "10.96.0.10", 53), "rr");
        make(&mut client, &service);
        let destination = Destination::new(ip("127.0.0.1"), port, 1);
        assert_eq!(client.apply(&[Change::NewDestination(service.key, destination)]), [Ok(())]);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"hello", "10.96.0.10:53").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(server.recv(&mut buffer).unwrap(), 5);

        // The kernel sums the processors' counters every two seconds.
        let started = Instant::now();
        let statistics = loop {
            let statistics = client.service(&service.key).unwrap().unwrap().statistics;
            if statistics.connections > 0 || started.elapsed() > Duration::from_secs(20) {
                break statistics;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        assert_eq!((statistics.connections, statistics.packets_in, statistics.bytes_in), (1, 1, 33));
        let destination = &client.destinations(&service.key).unwrap()[0];
        assert_eq!(destination.statistics.packets_in, 1);
        assert_eq!(destination.inactive_connections + destination.active_connections, 1);
    });
}
