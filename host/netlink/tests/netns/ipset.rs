use std::net::IpAddr;

use weir_netlink::ipset::{
    Action, Client, Code, Definition, Element, ElementChange, Existing, Listing, SetError, SetType, Size,
};
use weir_netlink::{Family, TransportProtocol};

use crate::namespace::{isolated, output};

const TCP: TransportProtocol = TransportProtocol::TCP;
const HASH: Size = Size::Hash { buckets: 1024, elements: 65536 };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn define(name: &str, set_type: SetType, family: Option<Family>) -> Definition {
    let size = match set_type {
        SetType::BitmapPort => Size::Ports { from: 0, to: 65535 },
        _ => HASH,
    };
    Definition { name: name.to_owned(), set_type, family, size }
}

/// A set, the arguments that create the same one with `ipset create`, and elements with what `ipset` prints.
type Example = (Definition, &'static str, Vec<(Element, &'static str)>);

/// A set of every type and family.
fn examples() -> Vec<Example> {
    let four = |name, set_type| define(name, set_type, Some(Family::V4));
    let six = |name, set_type| define(name, set_type, Some(Family::V6));
    let net = |address, prefix| Element::Net { address: ip(address), prefix };
    let ip_port = |address, protocol, port| Element::IpPort { address: ip(address), protocol, port };
    let ip_port_ip = |address, port, second| Element::IpPortIp {
        address: ip(address),
        protocol: TCP,
        port,
        second: ip(second),
    };
    let ip_port_net = |address, port, network, prefix| Element::IpPortNet {
        address: ip(address),
        protocol: TCP,
        port,
        network: ip(network),
        prefix,
    };
    vec![
        (
            four("ip4", SetType::HashIp),
            "hash:ip family inet hashsize 1024 maxelem 65536",
            vec![(Element::Ip(ip("10.0.0.1")), "10.0.0.1"), (Element::Ip(ip("10.0.0.2")), "10.0.0.2")],
        ),
        (
            six("ip6", SetType::HashIp),
            "hash:ip family inet6 hashsize 1024 maxelem 65536",
            vec![(Element::Ip(ip("fd00::1")), "fd00::1")],
        ),
        (
            four("net4", SetType::HashNet),
            "hash:net family inet hashsize 1024 maxelem 65536",
            vec![(net("10.0.0.0", 8), "10.0.0.0/8"), (net("10.1.2.3", 32), "10.1.2.3")],
        ),
        (
            six("net6", SetType::HashNet),
            "hash:net family inet6 hashsize 1024 maxelem 65536",
            vec![(net("fd00:1::", 64), "fd00:1::/64")],
        ),
        (
            four("ipport4", SetType::HashIpPort),
            "hash:ip,port family inet hashsize 1024 maxelem 65536",
            vec![
                (ip_port("10.96.0.10", TCP, 53), "10.96.0.10,tcp:53"),
                (ip_port("10.96.0.10", TransportProtocol::UDP, 53), "10.96.0.10,udp:53"),
                (ip_port("10.96.0.11", TransportProtocol::SCTP, 9999), "10.96.0.11,sctp:9999"),
            ],
        ),
        (
            six("ipport6", SetType::HashIpPort),
            "hash:ip,port family inet6 hashsize 1024 maxelem 65536",
            vec![(ip_port("fd00:96::a", TransportProtocol::UDP, 53), "fd00:96::a,udp:53")],
        ),
        (
            four("ipportip4", SetType::HashIpPortIp),
            "hash:ip,port,ip family inet hashsize 1024 maxelem 65536",
            vec![(ip_port_ip("10.0.1.4", 8080, "10.0.1.4"), "10.0.1.4,tcp:8080,10.0.1.4")],
        ),
        (
            six("ipportip6", SetType::HashIpPortIp),
            "hash:ip,port,ip family inet6 hashsize 1024 maxelem 65536",
            vec![(ip_port_ip("fd00::4", 8080, "fd00::4"), "fd00::4,tcp:8080,fd00::4")],
        ),
        (
            four("ipportnet4", SetType::HashIpPortNet),
            "hash:ip,port,net family inet hashsize 1024 maxelem 65536",
            vec![
                (ip_port_net("192.0.2.1", 80, "203.0.113.0", 24), "192.0.2.1,tcp:80,203.0.113.0/24"),
                (ip_port_net("192.0.2.1", 80, "198.51.100.7", 32), "192.0.2.1,tcp:80,198.51.100.7"),
            ],
        ),
        (
            six("ipportnet6", SetType::HashIpPortNet),
            "hash:ip,port,net family inet6 hashsize 1024 maxelem 65536",
            vec![(ip_port_net("fd00::1", 80, "2001:db8::", 32), "fd00::1,tcp:80,2001:db8::/32")],
        ),
        (
            define("ports", SetType::BitmapPort, None),
            "bitmap:port range 0-65535",
            vec![(Element::Port(0), "0"), (Element::Port(30080), "30080"), (Element::Port(65535), "65535")],
        ),
    ]
}

fn add<'a>(set: &'a str, element: &'a Element) -> ElementChange<'a> {
    ElementChange { set, action: Action::Add, element }
}

fn delete<'a>(set: &'a str, element: &'a Element) -> ElementChange<'a> {
    ElementChange { set, action: Action::Delete, element }
}

/// `ipset list -t` of one set without its name and the random seed of its hash.
fn described(name: &str) -> String {
    let text = output("ipset", &["list", "-t", name]);
    let words = text.lines().filter(|line| !line.starts_with("Name:")).collect::<Vec<_>>().join("\n");
    match words.split_once(" initval 0x") {
        Some((before, after)) => {
            before.to_owned() + after.trim_start_matches(|c: char| c.is_ascii_hexdigit())
        }
        None => words,
    }
}

fn saved_elements(name: &str) -> Vec<String> {
    let text = output("ipset", &["save", name]);
    let prefix = format!("add {name} ");
    let mut elements =
        text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect::<Vec<_>>();
    elements.sort();
    elements
}

#[test]
fn sets_are_made_as_the_ipset_program_makes_them() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        for (definition, words, _) in examples() {
            client.create(&definition, Existing::Refuse).unwrap();
            let mut arguments = vec!["create", "witness"];
            arguments.extend(words.split(' '));
            output("ipset", &arguments);
            assert_eq!(described(&definition.name), described("witness"), "{}", definition.name);
            client.destroy("witness").unwrap();
        }
    });
}

#[test]
fn elements_are_seen_by_the_ipset_program_and_back() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        for (definition, _, elements) in examples() {
            let name = &definition.name;
            client.create(&definition, Existing::Refuse).unwrap();
            let changes = elements.iter().map(|(element, _)| add(name, element)).collect::<Vec<_>>();
            for result in client.apply(&changes, Existing::Refuse) {
                result.unwrap();
            }
            let mut printed = elements.iter().map(|(_, text)| text.to_string()).collect::<Vec<_>>();
            printed.sort();
            assert_eq!(saved_elements(name), printed);

            let Listing { set, elements: mut listed } = client.list_one(name).unwrap().unwrap();
            let mut wanted = elements.into_iter().map(|(element, _)| element).collect::<Vec<_>>();
            listed.sort();
            wanted.sort();
            assert_eq!(listed, wanted);
            assert_eq!(set.name, *name);
            assert_eq!(set.set_type, definition.set_type);
            assert_eq!(set.family, definition.family);
            assert_eq!(set.parameters.references, Some(0));
            assert_eq!(set.parameters.elements, Some(wanted.len() as u32));
            match definition.size {
                Size::Hash { buckets, elements } => {
                    assert_eq!(set.parameters.hash_size, Some(buckets));
                    assert_eq!(set.parameters.max_elements, Some(elements));
                }
                Size::Ports { from, to } => assert_eq!(set.parameters.ports, Some((from, to))),
            }

            let changes = wanted.iter().map(|element| delete(name, element)).collect::<Vec<_>>();
            for result in client.apply(&changes, Existing::Refuse) {
                result.unwrap();
            }
            assert_eq!(saved_elements(name), Vec::<String>::new());
        }
        assert_eq!(client.list().unwrap().len(), examples().len());
        assert_eq!(client.headers().unwrap().len(), examples().len());
    });
}

#[test]
fn a_large_set_takes_few_messages_and_is_listed_whole() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        let definition = define("large", SetType::HashIpPort, Some(Family::V6));
        client.create(&definition, Existing::Refuse).unwrap();
        let elements = (0..10_000_u32)
            .map(|number| Element::IpPort {
                address: IpAddr::V6((u128::from(number) | (0xfd00 << 112)).into()),
                protocol: TCP,
                port: 80,
            })
            .collect::<Vec<_>>();
        let changes = elements.iter().map(|element| add("large", element)).collect::<Vec<_>>();
        let before = client.counters();
        assert!(client.apply(&changes, Existing::Refuse).iter().all(Result::is_ok));
        let spent = client.counters() - before;
        // 52 bytes each, 60 KiB per message.
        assert_eq!((spent.messages, spent.sends, spent.receives), (9, 9, 9));

        let mut listed = client.list_one("large").unwrap().unwrap().elements;
        listed.sort();
        assert_eq!(listed, elements);
        assert_eq!(saved_elements("large").len(), elements.len());
    });
}

#[test]
fn the_refused_element_is_named_and_the_others_are_carried_out() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        client.create(&define("set", SetType::HashIp, Some(Family::V4)), Existing::Refuse).unwrap();
        let elements = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|text| Element::Ip(ip(text)));
        client.apply(&[add("set", &elements[1]), add("set", &elements[2])], Existing::Refuse);

        let changes = elements.iter().map(|element| add("set", element)).collect::<Vec<_>>();
        let results = client.apply(&changes, Existing::Refuse);
        let codes = results.iter().map(|result| result.as_ref().err().and_then(SetError::code));
        assert_eq!(codes.collect::<Vec<_>>(), [None, Some(Code::Exist), Some(Code::Exist), None]);
        assert_eq!(saved_elements("set").len(), 4);

        let results = client.apply(&changes, Existing::Accept);
        assert!(results.iter().all(Result::is_ok));
    });
}

#[test]
fn a_full_set_an_absent_set_and_a_wrong_family_are_distinguished() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        let definition = Definition {
            size: Size::Hash { buckets: 64, elements: 2 },
            ..define("small", SetType::HashIp, Some(Family::V4))
        };
        client.create(&definition, Existing::Refuse).unwrap();
        let elements = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|text| Element::Ip(ip(text)));
        let six = Element::Ip(ip("fd00::1"));
        let mut changes = elements.iter().map(|element| add("small", element)).collect::<Vec<_>>();
        changes.push(add("absent", &elements[0]));
        changes.push(add("small", &six));
        let results = client.apply(&changes, Existing::Accept);
        let codes = results.iter().map(|result| result.as_ref().err().and_then(SetError::code));
        assert_eq!(
            codes.collect::<Vec<_>>(),
            [None, None, Some(Code::HashFull), Some(Code::HashFull), None, Some(Code::Protocol)]
        );
        assert!(results[4].as_ref().unwrap_err().is_absent());
        assert_eq!(saved_elements("small").len(), 2);
    });
}

#[test]
fn a_set_is_replaced_by_swapping() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        let old = Element::Ip(ip("10.0.0.1"));
        let new = Element::Ip(ip("10.0.0.2"));
        for (name, element) in [("live", &old), ("next", &new)] {
            client.create(&define(name, SetType::HashIp, Some(Family::V4)), Existing::Refuse).unwrap();
            assert!(client.apply(&[add(name, element)], Existing::Refuse)[0].is_ok());
        }
        client.swap("live", "next").unwrap();
        assert_eq!(saved_elements("live"), ["10.0.0.2"]);
        assert_eq!(saved_elements("next"), ["10.0.0.1"]);
        client.flush("next").unwrap();
        assert_eq!(saved_elements("next"), Vec::<String>::new());
        client.rename("next", "renamed").unwrap();
        assert!(client.header("next").unwrap().is_none());
        assert_eq!(client.header("renamed").unwrap().unwrap().set_type, SetType::HashIp);
        client.destroy("renamed").unwrap();
        assert!(client.list_one("renamed").unwrap().is_none());
        assert!(client.destroy("renamed").unwrap_err().is_absent());
    });
}

#[test]
fn a_set_that_exists_otherwise_is_not_made() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        let definition = define("set", SetType::HashIpPort, Some(Family::V4));
        client.create(&definition, Existing::Refuse).unwrap();
        client.create(&definition, Existing::Accept).unwrap();
        assert!(client.create(&definition, Existing::Refuse).unwrap_err().is_existing());
        let other = define("set", SetType::HashIp, Some(Family::V4));
        assert!(client.create(&other, Existing::Accept).unwrap_err().is_existing());
        assert!(client.rename("set", "set").unwrap_err().is_existing());
        let next = define("next", SetType::HashIp, Some(Family::V4));
        client.create(&next, Existing::Refuse).unwrap();
        assert_eq!(client.swap("set", "next").unwrap_err().code(), Some(Code::TypeMismatch));
    });
}

#[test]
fn a_set_that_a_rule_uses_stays() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        client.create(&define("used", SetType::HashIp, Some(Family::V4)), Existing::Refuse).unwrap();
        output("iptables", &["-A", "INPUT", "-m", "set", "--match-set", "used", "src", "-j", "ACCEPT"]);
        let set = &client.headers().unwrap()[0];
        assert_eq!(set.parameters.references, Some(1));
        assert_eq!(client.destroy("used").unwrap_err().code(), Some(Code::Busy));
    });
}

#[test]
fn sets_of_others_are_listed_with_what_is_not_understood() {
    isolated(|| {
        output("ipset", &["create", "lists", "list:set"]);
        output("ipset", &["create", "counted", "hash:ip", "counters", "comment", "timeout", "300"]);
        output("ipset", &["add", "counted", "10.0.0.1", "comment", "ours"]);
        output("ipset", &["add", "lists", "counted"]);
        output("ipset", &["create", "except", "hash:net"]);
        output("ipset", &["add", "except", "10.0.0.0/8", "nomatch"]);
        let listings = Client::open().unwrap().list().unwrap();
        let find = |name: &str| listings.iter().find(|listing| listing.set.name == name).unwrap();

        assert_eq!(find("lists").set.set_type, SetType::Other("list:set".to_owned()));
        assert!(matches!(find("lists").elements[..], [Element::Opaque(_)]));
        let counted = find("counted");
        assert_eq!(counted.elements, [Element::Ip(ip("10.0.0.1"))]);
        assert_eq!(counted.set.parameters.timeout, Some(300));
        use weir_netlink::ipset::CreateFlags;
        assert!(counted.set.parameters.flags.contains(CreateFlags::COUNTERS));
        assert!(counted.set.parameters.flags.contains(CreateFlags::COMMENT));
        assert!(matches!(find("except").elements[..], [Element::Opaque(_)]));
    });
}

#[test]
fn the_kernel_offers_revisions_that_are_known() {
    isolated(|| {
        let mut client = Client::open().unwrap();
        for set_type in SetType::KNOWN {
            let family = (set_type != SetType::BitmapPort).then_some(Family::V4);
            let offered = client.revisions(&set_type, family).unwrap();
            assert!(offered.oldest <= offered.newest);
        }
        let unknown = SetType::Other("hash:unheard".to_owned());
        assert_eq!(client.revisions(&unknown, None).unwrap_err().code(), Some(Code::FindType));
    });
}
