use std::sync::Arc;

use super::*;
use crate::build;
use crate::net::Family;
use crate::objects::Conditions;
use crate::view::{EndpointView, Location, PortView, Selection};

const READY: Conditions = Conditions::READY;
const UNREADY: Conditions = Conditions { ready: false, serving: false, terminating: false };
const ENDING: Conditions = Conditions { ready: false, serving: true, terminating: true };

fn name(service: &str) -> ObjectName {
    ObjectName::new("default", service)
}

fn key(n: u8) -> EndpointKey {
    (Protocol::Tcp, SocketAddr::from(([10, 244, 0, n], 8080)))
}

/// A service with one port and the endpoints 0, 1, 2 and so on.
fn view(service: &str, endpoints: &[Conditions]) -> ServiceView {
    let service = build::service(service).cluster_ip("10.96.0.10").port(80).build();
    let endpoint = |(n, conditions): (u8, &Conditions)| EndpointView {
        address: key(n).1,
        conditions: *conditions,
        location: Location::Remote,
        node: None,
        zone: None,
        hints: None,
        slice: 0,
        ready_since: None,
    };
    ServiceView {
        namespace: None,
        slices: Vec::new(),
        external_local: false,
        ports: vec![PortView {
            family: Family::V4,
            port: service.ports[0].clone(),
            cluster_ip: build::ip("10.96.0.10"),
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            endpoints: (0..).zip(endpoints).map(endpoint).collect(),
            selection: Selection { internal: Vec::new(), external: Vec::new() },
        }],
        encounters: Default::default(),
        service: Arc::new(service),
    }
}

/// What is known about the endpoints 0, 1 and 2 of a service.
fn since(readiness: &Readiness, service: &str) -> [Option<u64>; 3] {
    [0, 1, 2].map(|n| readiness.since(&name(service), key(n)))
}

/// The state after first seeing `web` with these endpoints.
fn running(endpoints: &[Conditions]) -> Readiness {
    let mut readiness = Readiness::default();
    readiness.observe(&view("web", endpoints), 100);
    readiness.settle();
    readiness
}

#[test]
fn what_is_ready_at_the_first_look_is_no_newcomer() {
    let readiness = running(&[READY, UNREADY]);
    assert_eq!(since(&readiness, "web"), [None; 3]);
    assert_eq!(readiness.known().count(), 1, "the one that is ready is remembered");
}

#[test]
fn what_becomes_ready_later_is_new_and_stays_as_old_as_it_is() {
    let mut readiness = running(&[READY, UNREADY]);
    readiness.observe(&view("web", &[READY, READY]), 200);
    assert_eq!(since(&readiness, "web"), [None, Some(200), None]);
    readiness.observe(&view("web", &[READY, READY, READY]), 300);
    assert_eq!(since(&readiness, "web"), [None, Some(200), Some(300)]);
}

#[test]
fn a_service_that_comes_later_has_newcomers_only() {
    let mut readiness = running(&[READY]);
    readiness.observe(&view("cart", &[READY]), 200);
    assert_eq!(since(&readiness, "cart"), [Some(200), None, None]);
    assert_eq!(since(&readiness, "web"), [None; 3], "nothing changed for the other service");
}

#[test]
fn becoming_ready_again_counts_from_then() {
    for away in [UNREADY, ENDING] {
        let mut readiness = running(&[READY, READY]);
        readiness.observe(&view("web", &[away, READY]), 200);
        assert_eq!(since(&readiness, "web"), [None; 3]);
        readiness.observe(&view("web", &[READY, READY]), 300);
        assert_eq!(since(&readiness, "web"), [Some(300), None, None]);
    }
}

/// For example, the only endpoint of a service during a rollout.
#[test]
fn a_service_that_had_no_ready_endpoint_for_a_while_has_newcomers() {
    let mut readiness = running(&[READY]);
    readiness.observe(&view("web", &[UNREADY]), 200);
    assert_eq!(readiness.known().count(), 0);
    readiness.observe(&view("web", &[READY]), 300);
    assert_eq!(since(&readiness, "web"), [Some(300), None, None]);
}

#[test]
fn a_service_that_is_gone_is_forgotten() {
    let mut readiness = running(&[READY]);
    readiness.observe(&view("cart", &[READY]), 200);
    readiness.forget(&name("cart"));
    assert_eq!(since(&readiness, "cart"), [None; 3]);
    assert_eq!(readiness.known().map(|(service, ..)| service).collect::<Vec<_>>(), [&name("web")]);
    readiness.observe(&view("cart", &[READY]), 300);
    assert_eq!(since(&readiness, "cart"), [Some(300), None, None]);
}

/// Known times are kept, endpoints that became ready while no process ran are newcomers from now on, and a service
/// unknown to the earlier process is treated as seen for the first time.
#[test]
fn a_restart_goes_on_with_what_was_known() {
    let mut earlier = running(&[READY]);
    earlier.observe(&view("web", &[READY, READY]), 200);
    let known = earlier.known().map(|(service, endpoint, since)| (service.clone(), endpoint, since));
    let mut later = Readiness::restored(known);
    assert_eq!(since(&later, "web"), [None, Some(200), None]);
    later.observe(&view("web", &[READY, READY, READY]), 900);
    later.observe(&view("cart", &[READY]), 900);
    later.settle();
    assert_eq!(since(&later, "web"), [None, Some(200), Some(900)]);
    assert_eq!(since(&later, "cart"), [None; 3]);
    later.observe(&view("cart", &[READY, READY]), 1000);
    assert_eq!(since(&later, "cart"), [None, Some(1000), None]);
}

#[test]
fn a_pause_is_like_a_restart() {
    let mut paused = running(&[READY]);
    paused.observe(&view("web", &[READY, READY]), 200);
    let known = paused.known().map(|(service, endpoint, since)| (service.clone(), endpoint, since));
    let restored = Readiness::restored(known);
    paused.pause();
    assert_eq!(paused, restored);
}

/// One address may serve two protocols, and be ready for only one.
#[test]
fn protocols_are_distinguished() {
    let mut readiness = running(&[READY]);
    let mut both = view("web", &[READY]);
    let mut udp = both.ports[0].clone();
    udp.port.protocol = Protocol::Udp;
    both.ports.push(udp);
    readiness.observe(&both, 200);
    assert_eq!(readiness.since(&name("web"), (Protocol::Udp, key(0).1)), Some(200));
    assert_eq!(since(&readiness, "web"), [None; 3]);
}
