use std::time::Duration;

use super::*;
use crate::build;
use crate::decision::{Drain, VipKind};
use crate::net::Protocol;
use crate::node::{Capabilities, ProxyConfig};
use crate::state::{RealServer, Scheduling, Server, Weight};

const DEADLINE: Drain = Drain::UntilDeadline(Duration::from_secs(30));

/// A service created at a time in seconds.
fn service(name: &str, created: i64) -> Service {
    build::service(name).created(created).build()
}

fn vip(last: u8) -> VirtualServer {
    VirtualServer::new(Protocol::Tcp, [10, 96, 0, last].into(), 80)
}

fn wants(last: u8, drain: Drain) -> Wants {
    let scheduling = Scheduling { scheduler: "rr".to_owned(), flags: Default::default(), persistence: None };
    Wants {
        drain,
        servers: [(vip(last), Want::new(Server::new(scheduling)))].into_iter().collect(),
        ..Wants::default()
    }
}

/// A want whose clients' source is replaced by an address of the node.
fn from_address(last: u8, address: &str) -> Wants {
    let mut wants = wants(last, Drain::UntilIdle);
    wants
        .servers
        .iter_mut()
        .for_each(|(_, want)| want.treatment = Treatment::Address(address.parse().unwrap()));
    wants
}

fn node() -> NodeView {
    NodeView::new("node1", None, None, Vec::new(), ProxyConfig::default(), Capabilities::assumed())
}

/// The entries of policies' sets, and the SNAT rules, as lines.
fn slots(desired: &mut Desired) -> Vec<String> {
    desired.settle(&node());
    let lines = desired.state().lines().into_iter();
    let shown = |line: &String| line.contains("SNAT --to") || line.starts_with("entry WEIR-");
    lines.filter(shown).map(|line| line.replace("rule ip nat ", "")).collect()
}

#[test]
fn chosen_addresses_are_sorted_and_the_oldest_services_choose_first() {
    let services = [
        (service("d", 1), from_address(1, "192.0.2.30")),
        (service("c", 2), from_address(2, "192.0.2.20")),
        (service("b", 3), from_address(3, "192.0.2.10")),
        (service("a", 4), from_address(4, "192.0.2.30")),
    ];
    let expected = [
        "entry WEIR-MASQ-ALWAYS 10.96.0.3,tcp:80",
        "entry WEIR-SNAT-1 10.96.0.2,tcp:80",
        "entry WEIR-SNAT-2 10.96.0.1,tcp:80",
        "entry WEIR-SNAT-2 10.96.0.4,tcp:80",
    ];
    let mut desired = Desired::default();
    services.iter().for_each(|(service, wants)| desired.replace(service, wants.clone()));
    assert_eq!(
        slots(&mut desired)[4..8],
        expected,
        "apart from the entries that mark VIPs as decided by a policy"
    );
    let [report] = &desired.reports()[..] else { panic!("one report") };
    assert_eq!(report.service.name, "b");
    assert!(report.message.contains("already use 192.0.2.20 and 192.0.2.30"), "{report}");
    let mut backwards = Desired::default();
    services.iter().rev().for_each(|(service, wants)| backwards.replace(service, wants.clone()));
    assert_eq!(slots(&mut backwards), slots(&mut desired));
    desired.remove(&services[1].0.name);
    desired.settle(&node());
    assert!(desired.reports().is_empty(), "a slot is free again");
}

#[test]
fn a_virtual_server_ends_as_the_service_that_has_it_wants() {
    let mut desired = Desired::default();
    desired.replace(&service("old", 1), wants(1, Drain::UntilIdle));
    desired.replace(&service("young", 2), wants(1, Drain::AtOnce));
    desired.replace(&service("other", 3), wants(2, DEADLINE));
    assert_eq!([vip(1), vip(2)].map(|vip| desired.drain(vip)), [Drain::UntilIdle, DEADLINE]);
    desired.remove(&ObjectName::new("default", "old"));
    assert_eq!([vip(1), vip(2)].map(|vip| desired.drain(vip)), [Drain::AtOnce, DEADLINE]);
}

#[test]
fn a_change_touches_what_it_changes_and_nothing_else() {
    let mut desired = Desired::default();
    for last in 1..=100 {
        desired.replace(&service(&format!("s{last}"), 1), wants(last, Drain::UntilIdle));
    }
    desired.settle(&node());
    desired.follow();
    let mut other = wants(7, Drain::UntilIdle);
    let behind = other.servers.get_mut(&vip(7)).unwrap();
    behind
        .server
        .real_servers
        .insert(crate::state::RealServer("10.0.0.1:80".parse().unwrap()), Weight::DEFAULT);
    desired.replace(&service("s7", 1), other.clone());
    desired.replace(&service("s7", 1), other);
    desired.settle(&node());
    let before = wants(7, Drain::UntilIdle).servers.remove(&vip(7)).map(|want| want.server);
    let touched = Actual { servers: [(vip(7), before)].into(), ..Actual::default() };
    assert_eq!(desired.take_touched(), Some(touched));
    assert_eq!(desired.take_touched(), Some(Actual::default()));
}

/// A packet to a virtual server takes the same path through its excerpt as through the complete state.
#[test]
fn an_excerpt_is_enough_to_follow_a_packet() {
    use crate::trace::{example, trace};

    let mut desired = Desired::default();
    let real = |last: u8| RealServer(([10, 244, 0, last], 8080).into());
    for (name, last, kinds) in [("a", 1, VipKind::Cluster), ("b", 2, VipKind::LoadBalancer)] {
        let mut wants = wants(last, Drain::UntilIdle);
        let want = wants.servers.get_mut(&vip(last)).unwrap();
        want.kinds.insert(kinds);
        want.bound = true;
        want.server.real_servers = (0..last).map(|n| (real(10 * last + n), Weight(1))).collect();
        wants.hairpins = [(Protocol::Tcp, real(10 * last).0)].into_iter().collect();
        desired.replace(&service(name, 1), wants);
    }
    desired.settle(&node());
    let servers: Vec<_> = desired.servers().map(|(server, want)| (server, want.server.clone())).collect();
    let (server, packet) = example(servers.iter().map(|(server, behind)| (*server, behind))).unwrap();
    assert_eq!(server, vip(2), "the one with more real servers");
    assert_eq!(packet.to_string(), "tcp 10.244.0.10:40000 -> 10.96.0.2:80", "from an endpoint of another");
    let (excerpt, whole) = (desired.excerpt(server), desired.state());
    assert!(excerpt.virtual_servers.len() < whole.virtual_servers.len());
    let way = trace(&excerpt, &[], &packet);
    assert_eq!(way, trace(&whole, &[], &packet));
    assert!(way.to_string().contains("goes through virtual server tcp 10.96.0.2:80 to one of"), "{way}");
    assert_eq!(
        desired.excerpt(vip(9)),
        KernelState { ..desired.own().clone() },
        "empty for an unwanted virtual server"
    );
}
