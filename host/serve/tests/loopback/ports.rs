//! Health check ports of services.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weir_core::net::{Family, PerFamily};
use weir_core::objects::ObjectName;
use weir_core::standing::HealthCheck;
use weir_serve::{Health, HealthCheckPorts, ListenAddresses, Moment};

use crate::client::{Scene, ask, connect, eventually, exchange, get, options, parse, rest};

fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn check(port: u16, v4: Option<usize>, v6: Option<usize>) -> HealthCheck {
    HealthCheck { port, local_endpoints: PerFamily { v4, v6 } }
}

fn wanted(checks: &[(&str, HealthCheck)]) -> BTreeMap<ObjectName, HealthCheck> {
    checks.iter().map(|(service, check)| (name(service), *check)).collect()
}

fn sync(ports: &mut HealthCheckPorts, checks: &[(&str, HealthCheck)]) {
    let failures = ports.sync(&ListenAddresses::All, &wanted(checks));
    assert!(failures.is_empty(), "{failures:?}");
}

fn local(address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = if address.is_ipv4() { [127, 0, 0, 1].into() } else { "::1".parse().unwrap() };
    SocketAddr::new(loopback, address.port())
}

fn only(addresses: &[&str]) -> ListenAddresses {
    ListenAddresses::Only(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

#[test]
fn a_service_with_local_endpoints_is_available() {
    let scene = Scene::new();
    let mut ports = scene.server.health_check_ports();
    sync(&mut ports, &[("web", check(0, Some(2), None))]);
    let addresses = ports.addresses(&name("web"));
    assert_eq!(addresses.len(), 1);
    let address = local(addresses[0]);
    let reply = get(address, "/");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("x-load-balancing-endpoint-weight"), "2");
    assert_eq!(
        reply.body,
        "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\
         \t\"serviceProxyHealthy\": true\n}"
    );
    assert_eq!(ask(address, "POST", "/any/path?at=all").status, 200);

    sync(&mut ports, &[("web", check(0, Some(0), None))]);
    assert_eq!(ports.addresses(&name("web")), addresses);
    let empty = get(address, "/");
    assert_eq!((empty.status, empty.header("x-load-balancing-endpoint-weight")), (503, "0"));
    assert!(empty.body.contains("\"localEndpoints\": 0,\n\t\"serviceProxyHealthy\": true"));
}

#[test]
fn a_node_that_is_late_is_not_available_and_says_how_many_it_would_have() {
    let scene = Scene::with(options(), Health::new(Duration::ZERO));
    let mut ports = scene.server.health_check_ports();
    sync(&mut ports, &[("web", check(0, Some(3), None))]);
    let address = local(ports.addresses(&name("web"))[0]);
    // An unknown Node is no reason to fail.
    assert_eq!(get(address, "/").status, 200);
    scene.health.updated(Family::V6, Moment::now());
    scene.health.queued(Family::V6, Moment::now());
    let late = get(address, "/");
    assert_eq!((late.status, late.header("x-load-balancing-endpoint-weight")), (503, "3"));
    assert!(late.body.contains("\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": false"));
}

/// Each family has separate sockets and counts, on the same port.
#[test]
fn families_are_apart() {
    let scene = Scene::new();
    let mut ports = scene.server.health_check_ports();
    sync(&mut ports, &[("web", check(0, Some(1), None))]);
    let port = ports.addresses(&name("web"))[0].port();
    let (v4, v6) = (([127, 0, 0, 1], port).into(), format!("[::1]:{port}").parse().unwrap());
    assert!(TcpStream::connect::<SocketAddr>(v6).is_err());

    sync(&mut ports, &[("web", check(port, Some(1), Some(0)))]);
    assert_eq!(
        ports.addresses(&name("web")),
        [([0, 0, 0, 0], port).into(), format!("[::]:{port}").parse().unwrap()]
    );
    assert_eq!((get(v4, "/").status, get(v6, "/").status), (200, 503));
    sync(&mut ports, &[("web", check(port, None, Some(1)))]);
    assert!(TcpStream::connect::<SocketAddr>(v4).is_err());
    assert_eq!(get(v6, "/").status, 200);
}

/// An open connection also stays, with the new count.
#[test]
fn what_stays_is_not_interrupted() {
    let scene = Scene::new();
    let mut ports = scene.server.health_check_ports();
    sync(&mut ports, &[("web", check(0, Some(1), None)), ("old", check(0, Some(1), None))]);
    let mut kept = connect(local(ports.addresses(&name("web"))[0]));
    let mut closed = connect(local(ports.addresses(&name("old"))[0]));
    let ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for stream in [&mut kept, &mut closed] {
        stream.write_all(ask).unwrap();
        let mut first = [0; 12];
        std::io::Read::read_exact(stream, &mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    let gone = local(ports.addresses(&name("old"))[0]);
    sync(&mut ports, &[("web", check(0, Some(5), None)), ("new", check(0, Some(1), None))]);
    assert_eq!(ports.addresses(&name("old")), []);
    assert!(TcpStream::connect(gone).is_err());
    rest(&mut closed);
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(&mut kept).contains("\"localEndpoints\": 5"));
}

/// The port is free for its next owner within the same call.
#[test]
fn a_port_moves_from_one_service_to_another() {
    let scene = Scene::new();
    let mut ports = scene.server.health_check_ports();
    sync(&mut ports, &[("a", check(0, Some(1), Some(1)))]);
    let port = ports.addresses(&name("a"))[0].port();
    sync(&mut ports, &[("a", check(port, Some(1), None))]);
    for round in 0..20 {
        let (owner, other) = if round % 2 == 0 { ("b", "a") } else { ("a", "b") };
        sync(&mut ports, &[(owner, check(port, Some(1), None))]);
        assert_eq!(ports.addresses(&name(other)), []);
        let reply = get(([127, 0, 0, 1], port).into(), "/");
        assert!(reply.body.contains(&format!("\"name\": \"{owner}\"")), "{}", reply.body);
    }
}

#[test]
fn a_port_that_is_taken_is_reported_and_opened_when_it_is_free() {
    let scene = Scene::new();
    let mut ports = scene.server.health_check_ports();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    // ::1 would work, but if one address of a family fails, none is opened.
    let addresses = only(&["127.0.0.2", "127.0.0.1", "::1"]);
    let checks = wanted(&[("web", check(port, Some(1), Some(1))), ("fine", check(0, Some(1), None))]);
    let failures = ports.sync(&addresses, &checks);
    assert_eq!(failures.len(), 1);
    assert_eq!((&failures[0].service, failures[0].family), (&name("web"), Family::V4));
    assert_eq!(failures[0].source.address, other.local_addr().unwrap());
    assert_eq!(failures[0].source.source.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(failures[0].to_string(), "the health check port of service shop/web is not served over IPv4");
    assert_eq!(ports.addresses(&name("web")), [format!("[::1]:{port}").parse().unwrap()]);
    assert!(TcpStream::connect(("127.0.0.2", port)).is_err());
    assert_eq!(ports.addresses(&name("fine")).len(), 2);

    drop(other);
    assert!(ports.sync(&addresses, &checks).is_empty());
    assert_eq!(get(([127, 0, 0, 2], port).into(), "/").status, 200);
}

/// kube-proxy reads the addresses once, at its start.
#[test]
fn addresses_may_change() {
    let scene = Scene::new();
    let mut ports = scene.server.health_check_ports();
    let port = {
        sync(&mut ports, &[("web", check(0, Some(1), None))]);
        let port = ports.addresses(&name("web"))[0].port();
        sync(&mut ports, &[]);
        port
    };
    let checks = wanted(&[("web", check(port, Some(1), None))]);
    let [first, second]: [SocketAddr; 2] = [([127, 0, 0, 1], port).into(), ([127, 0, 0, 2], port).into()];
    assert!(ports.sync(&only(&["127.0.0.1"]), &checks).is_empty());
    assert_eq!(ports.addresses(&name("web")), [first]);
    assert!(ports.sync(&only(&["127.0.0.1", "127.0.0.2", "::1"]), &checks).is_empty());
    assert_eq!(ports.addresses(&name("web")), [first, second]);
    assert!(ports.sync(&only(&["127.0.0.2"]), &checks).is_empty());
    assert_eq!(ports.addresses(&name("web")), [second]);
    assert!(TcpStream::connect(first).is_err());
    assert_eq!(get(second, "/").status, 200);
    assert!(ports.sync(&ListenAddresses::All, &checks).is_empty());
    assert_eq!(get(first, "/").status, 200);
}

#[test]
fn hundreds_of_services() {
    let scene = Scene::new();
    let mut ports = scene.server.health_check_ports();
    let all: BTreeMap<_, _> = (0..300).map(|i| (name(&format!("s{i}")), check(0, Some(i), None))).collect();
    assert!(ports.sync(&ListenAddresses::All, &all).is_empty());
    for i in [0, 150, 299] {
        let reply = get(local(ports.addresses(&name(&format!("s{i}")))[0]), "/");
        assert_eq!(reply.header("x-load-balancing-endpoint-weight"), i.to_string());
    }
    let open = ports.addresses(&name("s299"))[0];
    assert!(ports.sync(&ListenAddresses::All, &BTreeMap::new()).is_empty());
    eventually("the port is closed", || TcpStream::connect(local(open)).is_err());
}

#[test]
fn old_clients_are_answered_too() {
    let scene = Scene::new();
    let mut ports = scene.server.health_check_ports();
    sync(&mut ports, &[("web", check(0, Some(1), None))]);
    let address = local(ports.addresses(&name("web"))[0]);
    let reply = parse(&exchange(address, b"GET / HTTP/1.0\r\n\r\n"));
    assert_eq!((reply.status, reply.header("x-load-balancing-endpoint-weight")), (200, "1"));
}
