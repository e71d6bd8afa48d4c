//! L6: printed values can be parsed back.

use std::borrow::Cow;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use weir_core::net::{Family, Protocol};
use weir_core::rule::{Chain, ConnectionState, Match, Ports, Rule, Sense, Side, Target};
use weir_core::set::{SetEntry, SetKind, SetType};

use super::differences::found;

fn sense() -> impl Strategy<Value = Sense> {
    select(&[Sense::Is, Sense::Not][..])
}

fn side() -> impl Strategy<Value = Side> {
    select(&[Side::Source, Side::Destination][..])
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp][..])
}

fn net() -> impl Strategy<Value = IpNet> {
    (any::<std::net::IpAddr>(), 0..=128u8)
        .prop_filter_map("a prefix of the family", |(ip, bits)| IpNet::new(ip.to_canonical(), bits).ok())
}

fn test() -> impl Strategy<Value = Match> {
    let states = [ConnectionState::New, ConnectionState::Related, ConnectionState::Established];
    prop_oneof![
        (sense(), net()).prop_map(|(sense, net)| Match::Source(sense, net)),
        (sense(), "[a-z0-9.]{1,14}\\+?").prop_map(|(sense, name)| Match::InInterface(sense, name)),
        protocol().prop_map(Match::Protocol),
        // Everything a comment may contain on one line.
        "[ -~é]{0,40}".prop_map(|text| Match::Comment(Cow::Owned(text))),
        (sense(), "[A-Z0-9-]{1,31}", prop::collection::vec(side(), 1..4))
            .prop_map(|(sense, name, sides)| Match::Set(sense, name, sides)),
        (sense(), any::<u32>(), any::<u32>())
            .prop_map(|(sense, value, mask)| Match::Mark(sense, value, mask)),
        (sense(), side()).prop_map(|(sense, side)| Match::LocalAddress(sense, side)),
        sense().prop_map(Match::BridgedIn),
        subsequence(states.to_vec(), 1..=3).prop_map(Match::ConnectionState),
        (protocol(), any::<std::net::IpAddr>(), any::<u16>())
            .prop_map(|(protocol, ip, port)| Match::VirtualServer(protocol, ip.to_canonical(), port)),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Accept),
        Just(Target::Drop),
        Just(Target::Return),
        select(&Family::BOTH[..]).prop_map(Target::Reject),
        select(&[Ports::Kept, Ports::Random][..]).prop_map(Target::Masquerade),
        (any::<u32>(), any::<u32>()).prop_map(|(value, mask)| Target::SetMark(value, mask)),
        select(Chain::ALL).prop_map(Target::Jump),
        select(Chain::ALL).prop_map(Target::Goto),
        (any::<std::net::IpAddr>(), select(&[Ports::Kept, Ports::Random][..]))
            .prop_map(|(ip, ports)| Target::Snat(ip.to_canonical(), ports)),
    ]
}

/// Words of rules in random order.
fn babble() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "-s",
        "!",
        "-p",
        "tcp",
        "-m",
        "set",
        "--match-set",
        "KUBE-CLUSTER-IP",
        "dst,dst",
        "comment",
        "--comment",
        "\"a b\"",
        "\"",
        "\\",
        "mark",
        "--mark",
        "0x4000/0x4000",
        "-j",
        "ACCEPT",
        "MARK",
        "--set-xmark",
        "REJECT",
        "--reject-with",
        "10.0.0.1",
        "10.0.0.0/8",
        "conntrack",
        "--ctstate",
        "NEW",
        "ipvs",
        "--vproto",
        "6",
        "--vaddr",
        "--vport",
        "-i",
        "eth0",
        "KUBE-SERVICES",
        "-g",
        "",
    ];
    prop::collection::vec(select(WORDS), 0..8).prop_map(|words| words.join(" "))
}

fn kind() -> impl Strategy<Value = SetKind> {
    let hash = (select(&SetType::ALL[..]), select(&Family::BOTH[..]), any::<u32>())
        .prop_filter("bitmaps are no hashes", |(set_type, ..)| *set_type != SetType::BitmapPort)
        .prop_map(|(set_type, family, max_elements)| SetKind::Hash { set_type, family, max_elements });
    prop_oneof![hash, Just(SetKind::Bitmap), "hash:[a-z]{1,4}( [a-z]{1,5}){0,4}".prop_map(SetKind::Foreign)]
}

fn entry() -> impl Strategy<Value = SetEntry> {
    let ip = || any::<std::net::IpAddr>();
    prop_oneof![
        ip().prop_map(SetEntry::Ip),
        (ip(), protocol(), any::<u16>()).prop_map(|(ip, of, port)| SetEntry::IpPort(ip, of, port)),
        (ip(), protocol(), any::<u16>(), ip())
            .prop_map(|(ip, of, port, second)| SetEntry::IpPortIp(ip, of, port, second)),
        (ip(), protocol(), any::<u16>(), net()).prop_map(|(ip, of, port, net)| SetEntry::IpPortNet(
            ip,
            of,
            port,
            net.trunc()
        )),
        any::<u16>().prop_map(SetEntry::Port),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn rules_are_read_back(tests in prop::collection::vec(test(), 0..5), target in target()) {
        let rule = Rule::Known(tests, target);
        prop_assert_eq!(Rule::parse(&rule.to_string()), rule);
    }

    /// Any rule in a chain is either understood or kept unchanged.
    #[test]
    fn other_rules_are_kept(text in prop_oneof![babble(), "[ -~]{0,60}"]) {
        let rule = Rule::parse(&text);
        match &rule {
            Rule::Known(..) => prop_assert_eq!(Rule::parse(&rule.to_string()), rule),
            Rule::Foreign(kept) => prop_assert_eq!(kept, &text),
        }
    }

    #[test]
    fn kinds_and_entries_are_read_back(kind in kind(), entry in entry()) {
        prop_assert_eq!(kind.to_string().parse(), Ok(kind));
        prop_assert_eq!(entry.to_string().parse(), Ok(entry));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn states_are_read_back(state in found()) {
        prop_assert_eq!(state.to_string().parse(), Ok(state));
    }
}
