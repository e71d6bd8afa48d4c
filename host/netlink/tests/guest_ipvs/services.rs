use weir_netlink::ipvs::{Change, Flags, Netmask, Service, ServiceKey, Timeouts};
use weir_netlink::{Errno, Family, TransportProtocol};

use crate::namespace::output;
use crate::{ip, ipvsadm, key, saved, with_ipvs};

const TCP: TransportProtocol = TransportProtocol::TCP;
const UDP: TransportProtocol = TransportProtocol::UDP;
const SCTP: TransportProtocol = TransportProtocol::SCTP;

fn flagged(key: ServiceKey, scheduler: &str, flags: Flags, timeout: u32) -> Service {
    Service { flags, timeout, ..Service::new(key, scheduler) }
}

/// Services of every kind, with the ipvsadm arguments that create the same one, which are also what it saves.
fn examples() -> Vec<(Service, &'static str)> {
    let marked = |family, mark| ServiceKey::FirewallMark { family, mark };
    vec![
        (Service::new(key(TCP, "10.96.0.1", 443), "rr"), "-A -t 10.96.0.1:443 -s rr"),
        (Service::new(key(UDP, "10.96.0.10", 53), "wrr"), "-A -u 10.96.0.10:53 -s wrr"),
        (Service::new(key(SCTP, "10.96.0.11", 9999), "lc"), "-A --sctp-service 10.96.0.11:9999 -s lc"),
        (Service::new(key(TCP, "fd00:96::1", 443), "wlc"), "-A -t [fd00:96::1]:443 -s wlc"),
        (Service::new(key(UDP, "fd00:96::a", 53), "sed"), "-A -u [fd00:96::a]:53 -s sed"),
        (Service::new(key(SCTP, "fd00:96::b", 9999), "nq"), "-A --sctp-service [fd00:96::b]:9999 -s nq"),
        (
            flagged(key(TCP, "10.96.0.2", 80), "rr", Flags::PERSISTENT, 10800),
            "-A -t 10.96.0.2:80 -s rr -p 10800",
        ),
        (
            Service {
                netmask: Netmask::V4("255.255.255.0".parse().unwrap()),
                ..flagged(key(TCP, "10.96.0.3", 80), "rr", Flags::PERSISTENT, 300)
            },
            "-A -t 10.96.0.3:80 -s rr -p 300 -M 255.255.255.0",
        ),
        (
            Service {
                netmask: Netmask::V6(64),
                ..flagged(key(TCP, "fd00:96::2", 80), "rr", Flags::PERSISTENT, 300)
            },
            "-A -t [fd00:96::2]:80 -s rr -p 300 -M 64",
        ),
        (flagged(key(UDP, "10.96.0.4", 53), "rr", Flags::ONE_PACKET, 0), "-A -u 10.96.0.4:53 -s rr -o"),
        (
            flagged(key(TCP, "10.96.0.5", 80), "sh", Flags::SCHED1 | Flags::SCHED2, 0),
            "-A -t 10.96.0.5:80 -s sh -b sh-fallback,sh-port",
        ),
        (
            flagged(key(TCP, "10.96.0.6", 80), "mh", Flags::SCHED1, 0),
            "-A -t 10.96.0.6:80 -s mh -b mh-fallback",
        ),
        (
            flagged(key(TCP, "10.96.0.7", 80), "rr", Flags::SCHED1 | Flags::SCHED2 | Flags::SCHED3, 0),
            "-A -t 10.96.0.7:80 -s rr -b flag-1,flag-2,flag-3",
        ),
        (Service::new(marked(Family::V4, 7), "rr"), "-A -f 7 -s rr"),
        (Service::new(marked(Family::V6, 8), "rr"), "-A -f 8 -6 -s rr"),
        (
            Service {
                persistence_engine: Some("sip".to_owned()),
                ..flagged(key(UDP, "10.96.0.8", 5060), "rr", Flags::PERSISTENT, 60)
            },
            "-A -u 10.96.0.8:5060 -s rr -p 60 --pe sip",
        ),
    ]
}

/// What the kernel reports: our service with the flag that the kernel sets by itself.
fn reported(service: &Service) -> Service {
    Service { flags: service.flags | Flags::HASHED, ..service.clone() }
}

fn sorted(mut services: Vec<Service>) -> Vec<Service> {
    services.sort_by_key(|service| service.key);
    services
}

#[test]
fn ipvsadm_sees_our_services_as_its_own() {
    with_ipvs(|mut client| {
        for (_, words) in examples() {
            ipvsadm(words);
        }
        let witness = saved();
        assert_eq!(witness.len(), examples().len());
        let wanted = sorted(examples().iter().map(|(service, _)| reported(service)).collect());
        assert_eq!(sorted(client.services().unwrap()), wanted, "we see ipvsadm's services");
        client.flush().unwrap();
        assert_eq!(client.services().unwrap(), []);

        let changes = examples().into_iter().map(|(service, _)| Change::NewService(service));
        for result in client.apply(&changes.collect::<Vec<_>>()) {
            result.unwrap();
        }
        assert_eq!(saved(), witness, "ipvsadm sees our services");
        assert_eq!(sorted(client.services().unwrap()), wanted);
        for service in &wanted {
            assert_eq!(client.service(&service.key).unwrap().as_ref(), Some(service));
        }
        let deletions = wanted.iter().map(|service| Change::DeleteService(service.key));
        for result in client.apply(&deletions.collect::<Vec<_>>()) {
            result.unwrap();
        }
        assert_eq!(saved(), Vec::<String>::new());
    });
}

#[test]
fn a_service_is_changed_in_place() {
    with_ipvs(|mut client| {
        let before = flagged(key(TCP, "10.96.0.1", 443), "sh", Flags::SCHED1 | Flags::PERSISTENT, 300);
        let after = flagged(before.key, "rr", Flags::default(), 0);
        let results = client.apply(&[Change::NewService(before), Change::SetService(after.clone())]);
        assert_eq!(results, [Ok(()), Ok(())]);
        assert_eq!(saved(), ["-A -t 10.96.0.1:443 -s rr"]);
        let service = client.service(&after.key).unwrap().unwrap();
        assert_eq!(service.flags.without(Flags::HASHED), Flags::default());
    });
}

#[test]
fn a_refused_change_does_not_stop_the_others() {
    with_ipvs(|mut client| {
        let good = Service::new(key(TCP, "10.96.0.1", 443), "rr");
        let unknown = Service::new(key(TCP, "10.96.0.2", 443), "nonesuch");
        let last = Service::new(key(TCP, "10.96.0.3", 443), "rr");
        let results = client.apply(&[
            Change::NewService(good.clone()),
            Change::NewService(good.clone()),
            Change::NewService(unknown.clone()),
            Change::SetService(unknown.clone()),
            Change::DeleteService(unknown.key),
            Change::NewService(last),
        ]);
        let numbers =
            results.iter().map(|result| result.as_ref().err().and_then(|error| error.refused_with()));
        let wanted =
            [None, Some(Errno::EEXIST), Some(Errno::ENOENT), Some(Errno::ESRCH), Some(Errno::ESRCH), None];
        assert_eq!(numbers.collect::<Vec<_>>(), wanted);
        assert_eq!(saved(), ["-A -t 10.96.0.1:443 -s rr", "-A -t 10.96.0.3:443 -s rr"]);
        assert_eq!(client.service(&unknown.key).unwrap(), None);
        assert_eq!(client.destinations(&unknown.key).unwrap(), []);
    });
}

#[test]
fn a_batch_costs_one_receive_per_send() {
    with_ipvs(|mut client| {
        let services = (0..1000_u32)
            .map(|number| {
                let address = std::net::Ipv4Addr::from(0x0a60_0000 + number).into();
                Service::new(ServiceKey::Address { protocol: TCP, address, port: 80 }, "rr")
            })
            .collect::<Vec<_>>();
        let before = client.counters();
        let changes = services.iter().cloned().map(Change::NewService).collect::<Vec<_>>();
        assert!(client.apply(&changes).iter().all(Result::is_ok));
        let spent = client.counters() - before;
        assert_eq!((spent.messages, spent.sends, spent.receives), (1000, 8, 8));
        let listed = sorted(client.services().unwrap());
        assert_eq!(listed, services.iter().map(reported).collect::<Vec<_>>());
    });
}

#[test]
fn refusals_of_a_whole_batch_all_arrive() {
    with_ipvs(|mut client| {
        let changes =
            (1..=1000).map(|port| Change::DeleteService(key(TCP, "10.96.0.1", port))).collect::<Vec<_>>();
        let before = client.counters();
        for result in client.apply(&changes) {
            assert_eq!(result.unwrap_err().refused_with(), Some(Errno::ESRCH));
        }
        let spent = client.counters() - before;
        assert_eq!((spent.messages, spent.sends, spent.receives), (1000, 8, 1000));
    });
}

#[test]
fn timeouts_are_those_of_ipvsadm() {
    with_ipvs(|mut client| {
        let first = client.timeouts().unwrap();
        client.set_timeouts(&Timeouts { tcp: 901, tcp_fin: 0, udp: 301 }).unwrap();
        let expected = Timeouts { tcp: 901, tcp_fin: first.tcp_fin, udp: 301 };
        assert_eq!(client.timeouts().unwrap(), expected, "0 keeps a value");
        let printed = output("ipvsadm", &["-l", "--timeout"]);
        assert!(printed.contains(&format!("901 {} 301", first.tcp_fin)), "{printed}");
    });
}

#[test]
fn information_is_that_of_ipvsadm() {
    with_ipvs(|mut client| {
        let information = client.information().unwrap();
        let [_, major, minor, patch] = information.version.to_be_bytes();
        let size = information.connection_table_size;
        let printed = output("ipvsadm", &["-Ln"]);
        let wanted = format!("IP Virtual Server version {major}.{minor}.{patch} (size={size})");
        assert!(printed.starts_with(&wanted), "{printed}");
    });
}

#[test]
fn an_address_belongs_to_its_family() {
    with_ipvs(|mut client| {
        let mapped = Service::new(
            ServiceKey::Address { protocol: TCP, address: ip("::ffff:10.0.0.1"), port: 80 },
            "rr",
        );
        assert_eq!(client.apply(&[Change::NewService(mapped.clone())]), [Ok(())]);
        assert_eq!(client.services().unwrap(), [reported(&mapped)]);
    });
}
