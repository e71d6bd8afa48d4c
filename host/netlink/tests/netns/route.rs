use std::net::IpAddr;
use std::time::Duration;

use weir_netlink::Errno;
use weir_netlink::route::{Change, Client, Event, Events, LinkFlags, LinkIndex, Scope};

use crate::namespace::{isolated, output};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pair of links stands in for a dummy link, which not every kernel has.
fn make_link() -> LinkIndex {
    output("ip", &["link", "add", "near", "type", "veth", "peer", "name", "far"]);
    output("ip", &["link", "set", "near", "arp", "off"]);
    Client::open().unwrap().link("near").unwrap().unwrap().index
}

#[test]
fn links_are_read_by_name_and_all() {
    isolated(|| {
        let index = make_link();
        let mut client = Client::open().unwrap();
        let near = client.link("near").unwrap().unwrap();
        assert_eq!((near.index, near.name.as_str(), near.kind.as_deref()), (index, "near", Some("veth")));
        assert_eq!(near.mtu, 1500);
        assert!(near.flags.contains(LinkFlags::NO_ARP));
        assert!(!near.flags.contains(LinkFlags::UP));
        let links = client.links().unwrap();
        let mut names = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>();
        names.sort_unstable();
        assert_eq!(names, ["far", "lo", "near"]);
        assert!(links.contains(&near));
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(lo.flags.contains(LinkFlags::LOOPBACK));
        assert_eq!(lo.kind, None);

        assert_eq!(client.link("absent").unwrap(), None);
        client.delete_link(index).unwrap();
        assert_eq!(client.link("far").unwrap(), None);
        assert_eq!(client.delete_link(index).unwrap_err().refused_with(), Some(Errno::ENODEV));
    });
}

#[test]
fn addresses_are_added_and_deleted_as_ip_shows_them() {
    isolated(|| {
        let index = make_link();
        let mut client = Client::open().unwrap();
        let addresses = ["10.96.0.1", "10.96.0.10", "fd00:96::a"].map(ip);
        let changes = addresses.map(|address| Change::Add(index, address));
        assert_eq!(client.apply(&changes), [Ok(()), Ok(()), Ok(())]);
        let shown = output("ip", &["-o", "address", "show", "dev", "near"]);
        let shown = shown
            .lines()
            .map(|line| line.split_whitespace().skip(2).take(4).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>();
        assert_eq!(
            shown,
            [
                "inet 10.96.0.1/32 scope global",
                "inet 10.96.0.10/32 scope global",
                "inet6 fd00:96::a/128 scope global"
            ]
        );
        assert!(
            !output("ip", &["address", "show", "dev", "near"]).contains("brd 10."),
            "no broadcast address"
        );
        let listed = client.addresses(Some(index)).unwrap();
        assert_eq!(listed.iter().map(|address| address.address).collect::<Vec<_>>(), addresses);
        assert!(listed.iter().all(|address| address.scope == Scope::GLOBAL));
        assert_eq!(listed.iter().map(|address| address.prefix).collect::<Vec<_>>(), [32, 32, 128]);

        let results = client.apply(&[
            Change::Add(index, addresses[0]),
            Change::Delete(index, addresses[1]),
            Change::Delete(index, addresses[1]),
            Change::Add(LinkIndex(4000), addresses[1]),
        ]);
        let errors = results.iter().map(|result| result.as_ref().err().and_then(|e| e.refused_with()));
        let wanted = [Some(Errno::EEXIST), None, Some(Errno::EADDRNOTAVAIL), Some(Errno::ENODEV)];
        assert_eq!(errors.collect::<Vec<_>>(), wanted);
        assert_eq!(client.addresses(Some(index)).unwrap().len(), 2);
    });
}

#[test]
fn addresses_of_one_link_or_of_all() {
    isolated(|| {
        let index = make_link();
        output("ip", &["link", "set", "lo", "up"]);
        output("ip", &["address", "add", "192.0.2.1/24", "dev", "near"]);
        output("ip", &["address", "add", "192.0.2.2", "peer", "192.0.2.9", "dev", "far"]);
        let mut client = Client::open().unwrap();
        let of = |link: Option<LinkIndex>, client: &mut Client| {
            client.addresses(link).unwrap().iter().map(|address| address.address).collect::<Vec<_>>()
        };
        assert_eq!(of(Some(index), &mut client), [ip("192.0.2.1")]);
        let mut all = of(None, &mut client);
        all.sort();
        assert_eq!(all, ["127.0.0.1", "192.0.2.1", "192.0.2.2", "::1"].map(ip));
    });
}

#[test]
fn a_thousand_addresses_take_few_calls() {
    isolated(|| {
        let index = make_link();
        let mut client = Client::open().unwrap();
        let changes = (0..1000_u32)
            .map(|number| Change::Add(index, IpAddr::V4((0x0a60_0000 + number).into())))
            .collect::<Vec<_>>();
        assert!(client.apply(&changes).iter().all(Result::is_ok));
        let spent = client.counters();
        // 128 per send, one acknowledgement each.
        assert_eq!((spent.messages, spent.sends, spent.receives), (1000, 8, 8));
        assert_eq!(client.addresses(Some(index)).unwrap().len(), 1000);
    });
}

#[test]
fn changes_are_reported_and_an_overflow_too() {
    isolated(|| {
        let index = make_link();
        let mut events = Events::open().unwrap();
        let mut client = Client::open().unwrap();
        assert_eq!(client.apply(&[Change::Add(index, ip("10.0.0.1"))]), [Ok(())]);
        let second = Duration::from_secs(1);
        assert_eq!(events.next(second).unwrap(), [Event::Address(index)]);
        output("ip", &["link", "set", "near", "mtu", "1400"]);
        assert_eq!(events.next(second).unwrap(), [Event::Link(index, "near".to_owned())]);
        while !events.next(Duration::ZERO).unwrap().is_empty() {}

        // Each event occupies about a kilobyte of the receive buffer, which has at most 2 MiB.
        for _ in 0..4 {
            for change in [Change::Add, Change::Delete] {
                let changes = (0..1000_u32)
                    .map(|number| change(index, IpAddr::V4((0x0a60_0000 + number).into())))
                    .collect::<Vec<_>>();
                assert!(client.apply(&changes).iter().all(Result::is_ok));
            }
        }
        let mut seen = Vec::new();
        while !seen.contains(&Event::Overflow) {
            let next = events.next(second).unwrap();
            assert!(!next.is_empty(), "no overflow was reported");
            seen.extend(next);
        }
    });
}

#[test]
fn a_dump_with_address_churn_is_whole_or_an_error() {
    isolated(|| {
        let index = make_link();
        let mut client = Client::open().unwrap();
        let fixed = (0..2000_u32)
            .map(|number| Change::Add(index, IpAddr::V4((0x0a60_0000 + number).into())))
            .collect::<Vec<_>>();
        assert!(client.apply(&fixed).iter().all(Result::is_ok));
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = Client::open().unwrap();
                let moving = ip("10.200.0.1");
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let results = client.apply(&[Change::Add(index, moving), Change::Delete(index, moving)]);
                    assert_eq!(results, [Ok(()), Ok(())]);
                }
            });
            let mut interrupted = 0;
            for _ in 0..200 {
                match client.addresses(Some(index)) {
                    Ok(addresses) => assert!((2000..=2001).contains(&addresses.len()), "{}", addresses.len()),
                    Err(weir_netlink::NetlinkError::Interrupted { .. }) => interrupted += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(interrupted > 0, "the churn did not interrupt any dump");
        });
    });
}
