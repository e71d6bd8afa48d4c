use std::net::IpAddr;

use weir_netlink::ipset::{
    Action, Client, Code, Definition, Element, ElementChange, Existing, SetError, SetType, Size,
};
use weir_netlink::socket::{Socket, Transport};
use weir_netlink::{Family, TransportProtocol};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A set of every type and family with one element.
fn examples() -> Vec<(Definition, Element)> {
    let protocol = TransportProtocol::TCP;
    let mut examples = Vec::new();
    for (family, suffix, address, network) in [
        (Family::V4, "4", ip("10.96.0.10"), ip("203.0.113.0")),
        (Family::V6, "6", ip("fd00:96::a"), ip("2001:d00::")),
    ] {
        let elements = [
            ("ip", Element::Ip(address)),
            ("net", Element::Net { address: network, prefix: 24 }),
            ("ip-port", Element::IpPort { address, protocol, port: 53 }),
            ("ip-port-ip", Element::IpPortIp { address, protocol, port: 53, second: address }),
            ("ip-port-net", Element::IpPortNet { address, protocol, port: 53, network, prefix: 24 }),
        ];
        for (name, element) in elements {
            let size = Size::Hash { buckets: 1024, elements: 65536 };
            let name = format!("{name}-{suffix}");
            let set_type = element.set_type().unwrap();
            examples.push((Definition { name, set_type, family: Some(family), size }, element));
        }
    }
    let size = Size::Ports { from: 0, to: 65535 };
    let ports = Definition { name: "ports".to_owned(), set_type: SetType::BitmapPort, family: None, size };
    examples.push((ports, Element::Port(30080)));
    examples
}

/// Sends every ipset message once and checks the kernel's answers.
pub(crate) fn run<T: Transport>(socket: Socket<T>) {
    let mut client = Client::over(socket).unwrap();
    assert_eq!(client.protocol(), 7);
    let examples = examples();
    for (definition, _) in &examples {
        client.create(definition, Existing::Refuse).unwrap();
    }
    assert!(client.create(&examples[0].0, Existing::Refuse).unwrap_err().is_existing());
    let change = |action| {
        move |(definition, element)| {
            let definition: &Definition = definition;
            ElementChange { set: &definition.name, action, element }
        }
    };
    let pairs = examples.iter().map(|(definition, element)| (definition, element));
    let additions = pairs.clone().map(change(Action::Add)).collect::<Vec<_>>();
    assert!(client.apply(&additions, Existing::Refuse).iter().all(Result::is_ok));

    let others = [Element::Ip(ip("10.96.0.11")), examples[0].1.clone(), Element::Ip(ip("10.96.0.12"))];
    let some = others.iter().map(|element| ElementChange { element, ..additions[0] }).collect::<Vec<_>>();
    let results = client.apply(&some, Existing::Refuse);
    let codes = results.iter().map(|result| result.as_ref().err().and_then(SetError::code));
    assert_eq!(codes.collect::<Vec<_>>(), [None, Some(Code::Exist), None]);

    let listings = client.list().unwrap();
    assert_eq!(listings.len(), examples.len());
    for (definition, element) in &examples {
        let listing = listings.iter().find(|listing| listing.set.name == definition.name).unwrap();
        assert!(listing.elements.contains(element), "{listing:?}");
        assert_eq!(listing.set.set_type, definition.set_type);
        assert_eq!(listing.set.family, definition.family);
    }
    assert_eq!(client.headers().unwrap().len(), examples.len());
    assert_eq!(client.list_one("ip-4").unwrap().unwrap().elements.len(), 3);
    assert_eq!(client.list_one("absent").unwrap(), None);
    assert_eq!(client.header("ports").unwrap().unwrap().set_type, SetType::BitmapPort);
    assert_eq!(client.header("absent").unwrap(), None);
    assert_eq!(client.swap("ip-4", "ports").unwrap_err().code(), Some(Code::TypeMismatch));
    assert_eq!(client.swap("ip-4", "ip-6").unwrap_err().code(), Some(Code::TypeMismatch));
    let next = Definition { name: "next".to_owned(), ..examples[0].0.clone() };
    client.create(&next, Existing::Accept).unwrap();
    client.swap("ip-4", "next").unwrap();
    client.rename("next", "renamed").unwrap();
    client.flush("renamed").unwrap();

    let deletions = pairs.map(change(Action::Delete)).collect::<Vec<_>>();
    assert!(client.apply(&deletions, Existing::Accept).iter().all(Result::is_ok));
    client.destroy("renamed").unwrap();
    assert!(client.destroy("renamed").unwrap_err().is_absent());
}
