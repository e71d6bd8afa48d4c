//! One test per deliberate difference from kube-proxy (the table in `host/README.md`) that weir-core decides. The
//! numbers are those of the table.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use weir_core::cluster::Event;
use weir_core::diff::{Change, diff};
use weir_core::net::{Family, PerFamily, Protocol};
use weir_core::node::{
    Capabilities, DetectLocal, HostAddress, InternalLocal, NodePortAddress, NodeView, OtherNodes, ProxyConfig,
};
use weir_core::objects::{Endpoint, EndpointSlice, Node, ObjectName, Service, ServiceType, TrafficPolicy};
use weir_core::planner::{Plan, Planner};
use weir_core::policy::BuiltIn;
use weir_core::report::Reason;
use weir_core::rule::Extension;
use weir_core::set::{MAX_ELEMENTS, Set, SetEntry, SetKind, SetName};
use weir_core::simulated::Simulated;
use weir_core::state::{KernelState, RealServer, VirtualServer, Weight};
use weir_core::sync::Syncer;
use weir_core::trace::{Origin, Packet, Source, Verdict, trace};
use weir_world::build::{self, endpoint, ip};

fn service(name: &str, cluster_ip: &str) -> Service {
    build::service(name).cluster_ip(cluster_ip).port(80).build()
}

fn slice(name: &str, service: &str, endpoints: &[(&str, &str)]) -> EndpointSlice {
    let endpoint =
        |(address, node): &(&str, &str)| Endpoint { node: Some((*node).into()), ..endpoint(address) };
    build::slice(service).named(name).port(8080).endpoints(endpoints.iter().map(endpoint)).build()
}

fn planner(config: ProxyConfig, capabilities: Capabilities) -> Planner {
    let addresses = ["10.0.2.15"]
        .map(|address| HostAddress { interface: "eth0".to_owned(), address: ip(address), prefix: 24 })
        .to_vec();
    let view = NodeView::new("node1", None, None, addresses, config, capabilities);
    Planner::new(view, Box::new(BuiltIn))
}

fn planned(events: impl IntoIterator<Item = Event>) -> Planner {
    let mut planner = planner(ProxyConfig::default(), Capabilities::assumed());
    events.into_iter().for_each(|event| {
        planner.apply(event);
    });
    planner
}

fn plan(events: impl IntoIterator<Item = Event>) -> Plan {
    planned(events).plan()
}

fn added(service: Service) -> Event {
    Event::Service(Box::new(service))
}

fn listed(slice: EndpointSlice) -> Event {
    Event::Slice(Box::new(slice))
}

fn server(address: &str) -> VirtualServer {
    VirtualServer { protocol: Protocol::Tcp, address: address.parse().unwrap() }
}

/// The changes of a first round in a kernel with this state.
fn changes(mut planner: Planner, actual: &KernelState) -> Vec<Change> {
    planner.update(0);
    let mut syncer = Syncer::new(Simulated::new(actual.clone()), Duration::from_secs(30));
    let round = syncer.round(planner.desired(), Duration::ZERO).unwrap();
    assert!(round.succeeded() && round.waiting.is_empty());
    round.changes.into_iter().map(|(change, _)| change).collect()
}

/// Quiesces all real servers.
fn quiesce(state: &mut KernelState) {
    let behind = state.virtual_servers.values_mut().flat_map(|server| server.real_servers.values_mut());
    behind.for_each(|weight| *weight = Weight::QUIESCED);
}

fn reals(state: &KernelState, of: &str) -> Vec<String> {
    state.real_servers_of(server(of)).map(|(real, _)| real.to_string()).collect()
}

#[test]
fn q5_a_source_range_of_one_address_is_not_written_again() {
    let mut service = service("web", "10.96.0.10");
    service.load_balancer_ips = vec![ip("198.51.100.1")];
    service.source_ranges = vec!["10.1.2.3/32".parse().unwrap()];
    let plan = plan([added(service)]);
    // The kernel reports the network without its prefix length; values are compared, not text.
    let name = SetName::new(Family::V4, Set::LoadBalancerSourceCidr);
    let entries: Vec<SetEntry> = plan.state.entries_of(name).collect();
    assert_eq!(entries.len(), 1);
    assert!(diff(&plan.state, &plan.state).is_empty());
}

#[test]
fn q6_internal_traffic_policy_is_enforced_on_demand() {
    let mut service = service("web", "10.96.0.10");
    service.service_type = ServiceType::NodePort;
    service.ports[0].node_port = std::num::NonZeroU16::new(30080);
    service.internal_policy = TrafficPolicy::Local;
    let remote = slice("web-1", "web", &[("10.244.1.10", "node2")]);
    for (internal_local, expected) in
        [(InternalLocal::AsUpstream, vec!["10.244.1.10:8080"]), (InternalLocal::Enforced, vec![])]
    {
        let config = ProxyConfig { internal_local, ..ProxyConfig::default() };
        let mut planner = planner(config, Capabilities::assumed());
        planner.apply(added(service.clone()));
        planner.apply(listed(remote.clone()));
        assert_eq!(reals(&planner.plan().state, "10.96.0.10:80"), expected);
    }
}

#[test]
fn q10_a_drained_server_is_forgotten_with_its_virtual_server() {
    let before = plan([
        added(service("web", "10.96.0.10")),
        listed(slice("web-1", "web", &[("10.244.0.10", "node1")])),
    ]);
    let mut draining = before.state.clone();
    quiesce(&mut draining);
    assert!(changes(planned([]), &draining).contains(&Change::DeleteVirtualServer(server("10.96.0.10:80"))));
}

#[test]
fn q11_a_weight_that_someone_changed_is_repaired() {
    let wanted = plan([
        added(service("web", "10.96.0.10")),
        listed(slice("web-1", "web", &[("10.244.0.10", "node1")])),
    ]);
    let mut tampered = wanted.state.clone();
    quiesce(&mut tampered);
    let real = RealServer("10.244.0.10:8080".parse().unwrap());
    assert_eq!(
        diff(&wanted.state, &tampered).0,
        [Change::SetWeight(server("10.96.0.10:80"), real, Weight::DEFAULT)]
    );
}

#[test]
fn q13_two_services_on_one_address_the_older_one_has_it() {
    let with_external_ip = |name: &str, cluster_ip: &str, created| {
        let mut service = service(name, cluster_ip);
        service.created = Some(created);
        service.external_ips = vec![ip("203.0.113.5")];
        service
    };
    let events = [
        added(with_external_ip("a-young", "10.96.0.10", 200)),
        added(with_external_ip("b-old", "10.96.0.11", 100)),
        listed(slice("young", "a-young", &[("10.244.0.10", "node1")])),
        listed(slice("old", "b-old", &[("10.244.0.11", "node1")])),
    ];
    let forwards = plan(events.clone());
    assert_eq!(reals(&forwards.state, "203.0.113.5:80"), ["10.244.0.11:8080"]);
    assert_eq!(reals(&forwards.state, "10.96.0.10:80"), ["10.244.0.10:8080"]);
    let report = forwards.reports.iter().find(|r| r.reason == Reason::VirtualServerConflict).unwrap();
    assert_eq!(report.service, ObjectName::new("default", "a-young"));
    assert!(report.message.contains("default/b-old"), "{}", report.message);
    assert_eq!(plan(events.into_iter().rev()), forwards);
}

#[test]
fn q18_a_set_that_overflows_grows_and_shrinks_back() {
    let many: Vec<(String, &str)> = (0..=MAX_ELEMENTS)
        .map(|n| (format!("10.{}.{}.{}", 100 + (n >> 16), (n >> 8) & 255, n & 255), "node1"))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(address, node)| (address.as_str(), *node)).collect();
    let name = SetName::new(Family::V4, Set::LoopBack);
    let full = plan([added(service("web", "10.96.0.10")), listed(slice("web-1", "web", &many))]);
    assert_eq!(full.state.entries_of(name).count(), 65537);
    let SetKind::Hash { max_elements, .. } = full.state.sets[&name] else { panic!("a hash set") };
    assert_eq!(max_elements, 131_072);
    let fits = plan([added(service("web", "10.96.0.10")), listed(slice("web-1", "web", &many[1..]))]);
    assert_eq!(fits.state.sets[&name], name.kind());
    for (desired, actual) in [(&full.state, &fits.state), (&fits.state, &full.state)] {
        let replaced = diff(desired, actual)
            .0
            .iter()
            .any(|change| matches!(change, Change::ReplaceSet(set, ..) if *set == name));
        assert!(replaced, "the set is swapped, so that rules never miss it");
    }
}

/// A node's object.
fn node(name: &str, addresses: &[&str]) -> Box<Node> {
    Box::new(build::node(name, addresses))
}

/// A LoadBalancer service with these VIPs and a node port.
fn balanced(vips: &[&str]) -> Service {
    let service = build::service("web").of_type(ServiceType::LoadBalancer).cluster_ip("10.96.0.10");
    let service = vips.iter().fold(service, |service, vip| service.load_balancer_ip(vip));
    service.port(80).node_port(30080).build()
}

fn reasons(plan: &Plan) -> Vec<Reason> {
    plan.reports.iter().map(|report| report.reason).collect()
}

#[test]
fn an_address_that_no_service_may_have_is_left_out_and_taken_off_the_kernel() {
    let mut service = balanced(&["127.0.0.5", "198.51.100.1"]);
    service.external_ips = vec![ip("0.0.0.0")];
    let plan = plan([added(service.clone())]);
    assert_eq!(reasons(&plan), [Reason::AddressUnusable]);
    for told in ["127.0.0.5 (loopback)", "0.0.0.0 (unspecified)"] {
        assert!(plan.reports[0].message.contains(told), "{}", plan.reports[0].message);
    }
    service.external_ips.clear();
    service.load_balancer_ips = vec![ip("198.51.100.1")];
    assert_eq!(plan.state, self::plan([added(service)]).state, "the rest stays");
    // What kube-proxy created from it.
    let mut found = plan.state.clone();
    found.addresses.insert(ip("127.0.0.5"), ());
    let caught = server("127.0.0.5:80");
    found.virtual_servers.insert(caught, plan.state.virtual_servers[&server("198.51.100.1:80")].clone());
    let expected = [Change::DeleteAddress(ip("127.0.0.5")), Change::DeleteVirtualServer(caught)];
    assert_eq!(diff(&plan.state, &found).0, expected);
}

/// The external traffic policy of a ClusterIP service applies if it has an external IP. The node's broadcast
/// address is not a usable one.
#[test]
fn a_broadcast_address_does_not_make_the_external_policy_count() {
    let local = |external: &[&str]| {
        let mut service = service("web", "10.96.0.10");
        service.load_balancer_ips = vec![ip("198.51.100.1")];
        service.external_ips = external.iter().map(ip).collect();
        service.external_policy = TrafficPolicy::Local;
        let state = plan([added(service)]).state;
        state.entries.keys().any(|(name, _)| name.to_string() == "KUBE-LOAD-BALANCER-LOCAL")
    };
    assert_eq!([local(&[]), local(&["10.0.2.255"]), local(&["10.0.3.255"])], [false, false, true]);
}

#[test]
fn q14_the_address_of_another_node_is_not_bound() {
    let mut planner = planner(ProxyConfig::default(), Capabilities::assumed());
    assert!(!planner.asks_for_nodes());
    planner.apply(added(balanced(&["10.0.2.15", "10.0.2.16", "10.0.2.99"])));
    assert!(planner.asks_for_nodes(), "10.0.2.16 may be the address of a node");
    // Until that is known, nothing that may be a node's address is bound.
    planner.set_other_nodes(OtherNodes::Awaited);
    assert_eq!(planner.plan().state.addresses.keys().collect::<Vec<_>>(), [&ip("10.96.0.10")]);
    planner.apply(Event::AnyNode(node("node1", &["10.0.2.15"])));
    planner.apply(Event::AnyNode(node("node2", &["10.0.2.16"])));
    planner.set_other_nodes(OtherNodes::Known);
    let plan = planner.plan();
    let bound: Vec<String> = plan.state.addresses.keys().map(ToString::to_string).collect();
    assert_eq!(bound, ["10.0.2.99", "10.96.0.10"]);
    let served = |plan: &Plan| {
        ["10.0.2.15:80", "10.0.2.16:80", "10.0.2.99:80", "10.0.2.15:30080"]
            .iter()
            .all(|vip| plan.state.virtual_servers.contains_key(&server(vip)))
    };
    assert!(served(&plan));
    assert_eq!(reasons(&plan), [Reason::NodeAddress]);
    assert!(plan.reports[0].message.contains("10.0.2.16 (node node2)"), "{}", plan.reports[0].message);
    // One node takes over an address later, and another one leaves.
    planner.apply(Event::AnyNodeGone("node2".to_owned()));
    planner.apply(Event::AnyNode(node("node3", &["10.0.2.99"])));
    let plan = planner.plan();
    let bound: Vec<String> = plan.state.addresses.keys().map(ToString::to_string).collect();
    assert_eq!((bound, served(&plan)), (vec!["10.0.2.16".to_owned(), "10.96.0.10".to_owned()], true));
}

#[test]
fn q19_a_node_port_with_the_number_of_another_services_port_hides_no_client_of_that() {
    let config = || ProxyConfig {
        detect_local: DetectLocal::ClusterCidr(vec!["10.244.0.0/16".parse().unwrap()]),
        ..ProxyConfig::default()
    };
    let mut internal = service("internal", "10.96.0.11");
    internal.ports[0].port = 30080;
    let listed = [
        listed(slice("internal-1", "internal", &[("10.244.1.11", "node2")])),
        listed(slice("web-1", "web", &[("10.244.1.12", "node2")])),
    ];
    let source = |planner: &mut Planner, from: &str, to: &str| {
        let origin = Origin::Interface("cni0".to_owned());
        let (from, to) = (SocketAddr::new(ip(from), 40_000), to.parse().unwrap());
        let packet = Packet::new(Protocol::Tcp, from, to, origin).unwrap();
        let state = planner.plan().state;
        match trace(&state, &planner.node().host_addresses, &packet).verdict {
            Verdict::Delivered(_, ways) => ways[0].source == Source::Kept,
            other => panic!("{other}"),
        }
    };
    let mut planner = planner(config(), Capabilities::assumed());
    for event in listed {
        planner.apply(event);
    }
    planner.apply(added(internal));
    let alone = planner.plan();
    planner.apply(added(balanced(&["198.51.100.1"])));
    let plan = planner.plan();
    assert_eq!(reasons(&plan), [Reason::NodePortIsPort]);
    let report = &plan.reports[0];
    assert!(report.service.name == "internal" && report.message.contains("30080/tcp (of default/web)"));
    assert!(source(&mut planner, "10.244.0.9", "10.96.0.11:30080"), "a pod keeps its address");
    assert!(!source(&mut planner, "192.0.2.9", "10.96.0.11:30080"), "other clients do not, as before");
    assert!(!source(&mut planner, "192.0.2.9", "10.0.2.15:30080"), "nor at the node port");
    planner.apply(Event::ServiceGone(ObjectName::new("default", "web")));
    assert_eq!(planner.plan(), alone, "and none of its rules remain");
}

/// masqueradeAll hides all clients of cluster IPs, but not those of a load balancer with the policy Local.
#[test]
fn q19_with_masquerade_all_a_local_load_balancer_keeps_its_clients_addresses() {
    let config = ProxyConfig { masquerade_all: true, ..ProxyConfig::default() };
    let mut planner = planner(config, Capabilities::assumed());
    let local = build::service("local").of_type(ServiceType::LoadBalancer).external_local();
    let local = local.cluster_ip("10.96.0.11").load_balancer_ip("198.51.100.2").port(30080);
    let events = [
        added(balanced(&["198.51.100.1"])),
        local.event(),
        listed(slice("local-1", "local", &[("10.244.0.11", "node1")])),
    ];
    for event in events {
        planner.apply(event);
    }
    let plan = planner.plan();
    assert_eq!(reasons(&plan), [Reason::NodePortIsPort]);
    let sources = |to: &str| {
        let origin = Origin::Interface("eth0".to_owned());
        let from = SocketAddr::new(ip("192.0.2.9"), 40_000);
        let packet = Packet::new(Protocol::Tcp, from, to.parse().unwrap(), origin).unwrap();
        match trace(&plan.state, &planner.node().host_addresses, &packet).verdict {
            Verdict::Delivered(_, ways) => ways[0].source.clone(),
            other => panic!("{other}"),
        }
    };
    assert_eq!(sources("198.51.100.2:30080"), Source::Kept);
    assert_ne!(sources("10.96.0.11:30080"), Source::Kept);
}

#[test]
fn q20_an_address_that_is_only_a_vip_has_no_node_ports_whatever_device_it_is_on() {
    let mut addresses =
        vec![HostAddress { interface: "eth0".to_owned(), address: ip("10.0.2.15"), prefix: 24 }];
    // As kube-router, the node-local DNS cache and keepalived do.
    for (interface, address) in
        [("kube-dummy-if", "10.96.0.10"), ("nodelocaldns", "10.96.0.53"), ("eth0", "198.51.100.1")]
    {
        addresses.push(HostAddress { interface: interface.to_owned(), address: ip(address), prefix: 24 });
    }
    let view = |object: Option<&Node>| {
        let (config, capabilities) = (ProxyConfig::default(), Capabilities::assumed());
        NodeView::new("node1", object, None, addresses.clone(), config, capabilities)
    };
    let own = node("node1", &["10.0.2.15"]);
    let mut planner = Planner::new(view(Some(&own)), Box::new(BuiltIn));
    let node_ports = |planner: &mut Planner| -> Vec<String> {
        let servers = planner.plan().state.virtual_servers;
        let at = servers.into_keys().filter(|server| server.address.port() == 30080);
        at.map(|server| server.address.ip().to_string()).collect()
    };
    planner.apply(added(balanced(&["198.51.100.1", "10.0.2.15"])));
    // An address that no Service claims is a node address, and so is one in the node's object.
    assert_eq!(node_ports(&mut planner), ["10.0.2.15", "10.96.0.53"]);
    planner.apply(added(service("dns", "10.96.0.53")));
    assert_eq!(node_ports(&mut planner), ["10.0.2.15"]);
    planner.apply(Event::ServiceGone(ObjectName::new("default", "dns")));
    assert_eq!(node_ports(&mut planner), ["10.0.2.15", "10.96.0.53"]);
    // Without the object, any address may be the node's own.
    planner.set_node(view(None));
    assert_eq!(node_ports(&mut planner).len(), 4);
}

#[test]
fn q20_node_ports_are_not_served_on_vips() {
    let mut service = service("web", "10.96.0.10");
    service.service_type = ServiceType::LoadBalancer;
    service.load_balancer_ips = vec![ip("198.51.100.1")];
    service.ports[0].node_port = std::num::NonZeroU16::new(30080);
    let config = ProxyConfig {
        node_port_addresses: vec![NodePortAddress::Net("198.51.100.0/24".parse().unwrap())],
        ..ProxyConfig::default()
    };
    let mut planner = planner(config, Capabilities::assumed());
    planner.apply(added(service));
    let servers: Vec<u16> = planner.plan().state.virtual_servers.keys().map(|s| s.address.port()).collect();
    assert_eq!(servers, [80, 80]);
}

#[test]
fn q23_without_the_ipvs_match_its_rule_is_left_out_and_reported() {
    let mut service = service("web", "10.96.0.10");
    service.load_balancer_ips = vec![ip("198.51.100.1")];
    service.source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    let rules_about_ipvs = |missing: &[Extension]| {
        let missing = PerFamily { v4: missing.iter().copied().collect(), ..PerFamily::default() };
        let capabilities = Capabilities { missing, ..Capabilities::assumed() };
        let mut planner = planner(ProxyConfig::default(), capabilities);
        planner.apply(added(service.clone()));
        let plan = planner.plan();
        let rules = plan.state.to_string().matches("-m ipvs").count();
        (rules, plan.reports.iter().filter(|r| r.reason == Reason::RuleLeftOut).count())
    };
    assert_eq!(rules_about_ipvs(&[]), (1, 0));
    assert_eq!(rules_about_ipvs(&[Extension::Ipvs]), (0, 1));
}

#[test]
fn q31_a_slice_that_changes_its_service_leaves_nothing_behind() {
    let plan = plan([
        added(service("a", "10.96.0.10")),
        added(service("b", "10.96.0.11")),
        listed(slice("x", "a", &[("10.244.0.10", "node1")])),
        listed(slice("x", "b", &[("10.244.0.10", "node1")])),
    ]);
    assert!(reals(&plan.state, "10.96.0.10:80").is_empty());
    assert_eq!(reals(&plan.state, "10.96.0.11:80"), ["10.244.0.10:8080"]);
}

#[test]
fn q32_masquerading_works_before_anything_answers_and_the_api_server_comes_first() {
    let planner = planned([
        added(service("a-first-by-name", "10.96.0.5")),
        added(service("kubernetes", "10.96.0.1")),
        listed(slice("k", "kubernetes", &[("192.0.2.1", "node2")])),
    ]);
    let changes = changes(planner, &KernelState::default());
    let place = |wanted: &dyn Fn(&Change) -> bool| changes.iter().position(wanted).unwrap();
    let api = server("10.96.0.1:80");
    let rules = place(&|c| matches!(c, Change::WriteRules(_)));
    let entry = place(&|c| matches!(c, Change::AddEntry(n, _) if n.set == Set::ClusterIp));
    let created = place(&|c| matches!(c, Change::CreateVirtualServer(s, _) if *s == api));
    let filled = place(&|c| matches!(c, Change::AddRealServer(s, ..) if *s == api));
    let bound = place(&|c| *c == Change::AddAddress(ip("10.96.0.1")));
    let other = place(&|c| matches!(c, Change::CreateVirtualServer(s, _) if *s != api));
    assert!(entry < created && rules < created && created < filled && filled < bound && bound < other);
}

#[test]
fn q33_q34_flows_of_removed_addresses_are_forgotten() {
    let mut udp = service("dns", "10.96.0.10");
    udp.service_type = ServiceType::NodePort;
    udp.ports[0].protocol = Protocol::Udp;
    udp.ports[0].node_port = std::num::NonZeroU16::new(30053);
    let mut endpoints = slice("dns-1", "dns", &[("10.244.0.10", "node1")]);
    endpoints.ports[0].protocol = Protocol::Udp;
    let there = plan([added(udp.clone()), listed(endpoints)]).state;
    let forgotten = |desired: Planner| -> Vec<(String, BTreeSet<RealServer>)> {
        let forget = |change| match change {
            Change::ForgetFlows(server, kept) => Some((server.to_string(), kept)),
            _ => None,
        };
        changes(desired, &there).into_iter().filter_map(forget).collect()
    };
    let both = ["udp 10.0.2.15:30053", "udp 10.96.0.10:80"].map(|s| (s.to_owned(), BTreeSet::new()));
    assert_eq!(forgotten(planned([added(udp)])), both, "the last endpoint is gone");
    assert_eq!(forgotten(planned([])), both, "the service is gone");
}

#[test]
fn q42_a_set_of_the_wrong_family_is_made_anew() {
    let wanted = plan([added(service("web", "10.96.0.10"))]).state;
    let name = SetName::new(Family::V4, Set::ClusterIp);
    let mut actual = wanted.clone();
    actual.sets.insert(name, SetName::new(Family::V6, Set::ClusterIp).kind());
    actual.entries.retain(|(of, _), ()| *of != name);
    let changes = diff(&wanted, &actual).0;
    let place = |wanted: &dyn Fn(&Change) -> bool| changes.iter().position(wanted).unwrap();
    let detached = place(&|c| matches!(c, Change::WriteRules(_)));
    let destroyed = place(&|c| *c == Change::DestroySet(name));
    let created = place(&|c| matches!(c, Change::CreateSet(n, _) if *n == name));
    let attached = changes.iter().rposition(|c| matches!(c, Change::WriteRules(_))).unwrap();
    assert!(detached < destroyed && destroyed < created && created < attached);
}
