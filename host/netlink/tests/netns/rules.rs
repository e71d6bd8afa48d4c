use weir_netlink::Family;
use weir_netlink::rules::{Chain, Client, legacy};

use crate::namespace::{isolated, output};

#[test]
fn every_transaction_has_another_generation() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        let first = client.generation().unwrap().unwrap();
        assert_eq!(client.generation().unwrap(), Some(first), "reading changes nothing");
        output("iptables-nft", &["-t", "nat", "-N", "OURS"]);
        assert_ne!(client.generation().unwrap(), Some(first));
    });
}

#[test]
fn chains_are_listed_with_their_table() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        assert_eq!(client.chains(Family::V4).unwrap(), Some(Vec::new()));
        output("iptables-nft", &["-t", "nat", "-N", "OURS"]);
        let chains = client.chains(Family::V4).unwrap().unwrap();
        assert!(chains.contains(&Chain { table: "nat".to_owned(), name: "OURS".to_owned() }), "{chains:?}");
        assert_eq!(client.chains(Family::V6).unwrap(), Some(Vec::new()));
    });
}

#[test]
fn a_legacy_table_is_not_made_by_asking_for_it() {
    isolated(|| {
        for family in [Family::V4, Family::V6] {
            assert_eq!(legacy::table(family, "nat").unwrap(), None);
            assert_eq!(legacy::table(family, "nat").unwrap(), None);
        }
    });
}

#[test]
fn a_legacy_table_shows_changes_but_not_counters() {
    isolated(|| {
        output("ip", &["link", "set", "lo", "up"]);
        for (family, program) in [(Family::V4, "iptables-legacy"), (Family::V6, "ip6tables-legacy")] {
            let run = |arguments: &str| {
                let mut words = vec!["-t", "mangle"];
                words.extend(arguments.split(' '));
                output(program, &words)
            };
            let read = || legacy::table(family, "mangle").unwrap().unwrap();
            run("-N OURS");
            run("-A OURS -p udp --dport 53 -j ACCEPT");
            run("-A OUTPUT -j OURS");
            let first = read();
            assert_eq!(first.chains, ["OURS"]);

            let address = match family {
                Family::V4 => "127.0.0.1:53",
                Family::V6 => "[::1]:53",
            };
            let bind = if family == Family::V4 { "127.0.0.1:0" } else { "[::1]:0" };
            std::net::UdpSocket::bind(bind).unwrap().send_to(b"counted", address).unwrap();
            assert!(run("-L OURS -v -x -n").contains(" 1 "), "the packet was counted");
            assert_eq!(read(), first, "counters do not count");

            run("-A OURS -j DROP");
            let second = read();
            assert_ne!(second.fingerprint, first.fingerprint);
            run("-D OURS -j DROP");
            assert_eq!(read(), first);
            run("-N MORE");
            assert_eq!(read().chains, ["MORE", "OURS"]);
        }
    });
}
