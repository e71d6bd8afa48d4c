use std::time::Duration;

use super::*;
use crate::net::Protocol;
use crate::node::{Capabilities, ProxyConfig};
use crate::objects::{ServiceType, TrafficPolicy};
use crate::state::Scheduling;

const DEADLINE: Drain = Drain::UntilDeadline(Duration::from_secs(30));

/// A service that was created at a time, in seconds.
fn service(name: &str, created: i64) -> Service {
    Service {
        name: ObjectName::new("default", name),
        created: Some(created),
        labels: Default::default(),
        annotations: Default::default(),
        service_type: ServiceType::ClusterIp,
        cluster_ips: PerFamily::default(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        ports: Vec::new(),
        client_ip_affinity: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
        health_check_node_port: None,
    }
}

fn vip(last: u8) -> VirtualServer {
    VirtualServer::new(Protocol::Tcp, [10, 96, 0, last].into(), 80)
}

fn fragment(last: u8, drain: Drain) -> Fragment {
    let mut fragment = Fragment { drain, ..Fragment::default() };
    let scheduling = Scheduling { scheduler: "rr".to_owned(), flags: Default::default(), persistence: None };
    fragment.state.virtual_servers.insert(vip(last), scheduling);
    fragment
}

/// One whose clients' source becomes an address of the node.
fn from_address(last: u8, address: &str) -> Fragment {
    let snat = BTreeMap::from([(vip(last), address.parse().unwrap())]);
    Fragment { snat, ..fragment(last, Drain::UntilIdle) }
}

fn node() -> NodeView {
    NodeView::new("node1", None, None, Vec::new(), ProxyConfig::default(), Capabilities::assumed())
}

/// The sets of policies with their entries, and where sources go, by the chains.
fn slots(desired: &Desired) -> Vec<String> {
    let Wanted { state, .. } = desired.wanted(&node());
    let lines = state.lines().into_iter();
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
    services.iter().for_each(|(service, fragment)| desired.replace(service, fragment.clone()));
    assert_eq!(slots(&desired)[..4], expected);
    let [report] = &desired.wanted(&node()).reports[..] else { panic!("one report") };
    assert_eq!(report.service.name, "b");
    assert!(report.message.contains("taken the 2 places with 192.0.2.20 and 192.0.2.30"), "{report}");
    let mut backwards = Desired::default();
    services.iter().rev().for_each(|(service, fragment)| backwards.replace(service, fragment.clone()));
    assert_eq!(slots(&backwards), slots(&desired));
    desired.remove(&services[1].0.name);
    assert!(desired.wanted(&node()).reports.is_empty(), "a place is free again");
}

#[test]
fn a_virtual_server_ends_as_the_service_that_has_it_wants() {
    let mut desired = Desired::default();
    desired.replace(&service("old", 1), fragment(1, Drain::UntilIdle));
    desired.replace(&service("young", 2), fragment(1, Drain::AtOnce));
    desired.replace(&service("other", 3), fragment(2, DEADLINE));
    assert_eq!(desired.wanted(&node()).drains, BTreeMap::from([(vip(2), DEADLINE)]));
    desired.remove(&ObjectName::new("default", "old"));
    let drains = BTreeMap::from([(vip(1), Drain::AtOnce), (vip(2), DEADLINE)]);
    assert_eq!(desired.wanted(&node()).drains, drains);
}
