use super::*;
use crate::build;
use crate::cluster::{Cluster, Event};
use crate::decision::SourceAction::{Allow, Deny};
use crate::decision::VipKinds;
use crate::node::{Capabilities, DetectLocal, HostAddress, ProxyConfig};
use crate::objects::{Service, ServiceType};

const CLUSTER_IP: &str = "10.96.0.10";
const OWN: [&str; 4] = ["192.0.2.10", "2001:db8::10", "169.254.20.10", "127.0.0.1"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nets(count: u32) -> Vec<IpNet> {
    // Every other /32, so that no two can be aggregated.
    (0..count).map(|n| IpNet::from(IpAddr::from((0x0a00_0000 + 2 * n).to_be_bytes()))).collect()
}

/// A node that knows the pod networks of one family, with some schedulers.
fn node() -> NodeView {
    let host = OWN.map(|a| HostAddress { interface: "eth0".to_owned(), address: ip(a), prefix: 24 }).to_vec();
    let detect_local = DetectLocal::ClusterCidr(vec!["10.244.0.0/16".parse().unwrap()]);
    let config = ProxyConfig { detect_local, ..ProxyConfig::default() };
    let schedulers = Some(["rr", "wrr", "lc", "dh", "sh", "mh"].map(str::to_owned).to_vec());
    NodeView::new("node1", None, None, host, config, Capabilities { schedulers, ..Capabilities::assumed() })
}

fn service(name: &str, protocol: Protocol) -> Service {
    let service = build::service(name).of_type(ServiceType::NodePort);
    let service = service.cluster_ip(CLUSTER_IP).cluster_ip("fd00::10");
    service.port(80).protocol(protocol).node_port(30080).build()
}

/// A service in both families, with three IPv4 endpoints.
fn view_of(service: Service) -> ServiceView {
    let endpoints = [1, 2, 3].map(|n| build::endpoint(format!("10.244.0.{n}")));
    let slice = build::slice(&service.name.to_string()).port(8080).protocol(service.ports[0].protocol);
    let (mut cluster, name) = (Cluster::default(), service.name.clone());
    cluster.apply(Event::Service(Box::new(service)));
    cluster.apply(slice.endpoints(endpoints).event());
    ServiceView::new(&cluster, &name, &node()).unwrap()
}

/// The built-in decision after an edit and the guard, and the reports.
fn clamped(view: &ServiceView, edit: impl FnOnce(&mut Decision)) -> (Decision, Vec<String>) {
    let mut decision = Decision::upstream(view, &node());
    edit(&mut decision);
    let (clamped, reports) = clamp(view, decision, &node());
    assert_eq!(clamp(view, clamped.clone(), &node()).0, clamped, "clamping is idempotent");
    (clamped, reports.iter().map(|report| format!("{}: {}", report.reason, report.message)).collect())
}

fn web(edit: impl FnOnce(&mut Decision)) -> (Decision, Vec<String>) {
    clamped(&view_of(service("web", Protocol::Tcp)), edit)
}

fn scheduled(name: &'static str, weights: [u16; 3]) -> (Decision, Vec<String>) {
    web(|decision| {
        decision.ports[0].scheduling.scheduler = name.to_owned();
        decision.ports[0].weights = weights.map(Weight).to_vec();
    })
}

fn flagged(protocol: Protocol, scheduler: &str, flags: SchedulerFlags) -> (u32, Vec<String>) {
    let view = view_of(service("web", protocol));
    let (decision, said) = clamped(&view, |decision| {
        let scheduling = &mut decision.ports[0].scheduling;
        (scheduling.scheduler, scheduling.flags) = (scheduler.to_owned(), flags);
    });
    (decision.ports[0].scheduling.flags.0, said)
}

#[test]
fn the_built_in_decision_is_not_touched() {
    let (_, said) = web(|_| {});
    assert_eq!(said, [""; 0]);
}

#[test]
fn the_api_server_is_kept_whatever_is_said() {
    let view = view_of(service("kubernetes", Protocol::Tcp));
    let upstream = Decision::upstream(&view, &node());
    let (decision, said) = clamped(&view, |decision| {
        decision.handling = Handling::Ignore("tired\n".to_owned());
        decision.vips.kinds = VipKinds::default();
        decision.sources.push(SourceFilter { kinds: VipKinds::ALL, action: Allow, ranges: Vec::new() });
        decision.masquerade.treatments.cluster = Treatment::Never;
        decision.drain = Drain::AtOnce;
        decision.ports[0].dropped.insert(0);
        decision.ports[0].weights[0] = Weight(5);
    });
    assert_eq!(decision.ports[0].weights[0], Weight(5), "scheduling may be decided");
    assert_eq!(Decision { ports: upstream.ports.clone(), ..decision.clone() }, upstream);
    assert!(decision.ports[0].dropped.is_empty());
    assert!(said[0].ends_with("although a policy decided to ignore it: tired\\n"), "{said:?}");
}

#[test]
fn what_is_not_served_is_reported_with_the_policys_words() {
    let (decision, said) = web(|decision| {
        let refuse = |kind, address: &str, reason: &str| RefusedVip {
            kind,
            address: ip(address),
            reason: reason.to_owned(),
        };
        decision.vips.refused = vec![
            refuse(VipKind::NodePort, "192.0.2.10", "no\u{7}"),
            refuse(VipKind::NodePort, "8.8.8.8", "not here"),
            refuse(VipKind::Cluster, CLUSTER_IP, &"x".repeat(300)),
            refuse(VipKind::Cluster, CLUSTER_IP, "again"),
            refuse(VipKind::External, "8.8.8.8", "not there"),
        ];
    });
    let long = format!("VipRefused: cluster VIP {CLUSTER_IP} is not served: {}", "x".repeat(253) + "…");
    assert_eq!(said, [long, "VipRefused: node-port VIP 192.0.2.10 is not served: no\\u{7}".to_owned()]);
    assert_eq!(decision.vips.refused.len(), 2);
    assert_eq!(
        web(|decision| decision.handling = Handling::Ignore("a\nb".to_owned())).1,
        ["ServiceIgnored: a\\nb"]
    );
}

#[test]
fn lists_of_networks_are_bounded() {
    let filter = |action, ranges| SourceFilter { kinds: VipKinds::ALL, action, ranges };
    let (decision, said) = web(|decision| {
        decision.sources = vec![filter(Deny, nets(300)), filter(Allow, nets(256))];
        decision.masquerade.except = nets(257);
        decision.vips.node_port_networks = Some(nets(258));
    });
    assert_eq!(decision.sources[0].ranges.len(), 256);
    assert_eq!(
        said,
        [
            "DecisionClamped: a policy gave 258 networks for node ports; only the first 256 are used, and node ports \
             are not served in the other networks",
            "DecisionClamped: a policy gave 300 denied networks; only the first 256 are used, and sources in the \
             other networks may connect",
            "DecisionClamped: a policy gave 257 networks to exempt from masquerading; only the first 256 are used, \
             and sources in the other networks are not exempt",
        ]
    );
    let (_, said) = web(|decision| decision.sources = vec![filter(Deny, Vec::new()); 17]);
    assert!(said[0].contains("gave 17 source filters; only the first 16 are used"), "{said:?}");
}

#[test]
fn a_long_list_is_summed_up_before_any_of_it_is_lost() {
    let neighbours: Vec<IpNet> = (0..512u32).map(|n| IpNet::from(IpAddr::from(n.to_be_bytes()))).collect();
    let (decision, said) = web(|decision| decision.masquerade.except = neighbours);
    assert_eq!(said, [""; 0]);
    assert_eq!(decision.masquerade.except, ["0.0.0.0/23".parse::<IpNet>().unwrap()]);
}

#[test]
fn host_bits_do_not_count() {
    let (decision, _) = web(|decision| decision.masquerade.except = vec!["10.1.2.3/8".parse().unwrap()]);
    assert_eq!(decision.masquerade.except, ["10.0.0.0/8".parse::<IpNet>().unwrap()]);
}

#[test]
fn sources_become_addresses_of_this_node_only() {
    let treat = |address: &str| {
        let address = ip(address);
        web(|decision| decision.masquerade.treatments.node_port = Treatment::Address(address))
    };
    for (address, other) in [("192.0.2.10", "IPv6"), ("2001:db8::10", "IPv4")] {
        let (decision, said) = treat(address);
        assert_eq!(decision.masquerade.treatments.node_port, Treatment::Address(ip(address)));
        assert_eq!(said.len(), 1);
        let expected = format!("node-port VIPs ({other}): the source address cannot be {address}");
        assert!(said[0].contains(&expected), "{said:?}");
    }
    for address in ["8.8.8.8", "169.254.20.10", "127.0.0.1", "0.0.0.0", "::", CLUSTER_IP] {
        let (decision, said) = treat(address);
        assert_eq!(decision.masquerade.treatments.node_port, Treatment::Default);
        assert!(
            said[0].contains(&format!("node-port VIPs: the source address cannot be {address}")),
            "{said:?}"
        );
    }
}

#[test]
fn of_vips_that_a_service_does_not_have_nothing_is_said() {
    for treatment in [Treatment::Address(ip("8.8.8.8")), Treatment::OffCluster, Treatment::Always] {
        let (decision, said) = web(|decision| decision.masquerade.treatments.external = treatment);
        assert_eq!(decision.masquerade.treatments.external, Treatment::Default);
        assert_eq!(said, [""; 0]);
    }
}

#[test]
fn what_cannot_tell_the_cluster_from_others_is_named() {
    let off_cluster =
        |decision: &mut Decision| decision.masquerade.treatments.cluster = Treatment::OffCluster;
    let (decision, said) = web(off_cluster);
    assert_eq!(decision.masquerade.treatments.cluster, Treatment::OffCluster, "it applies to IPv4");
    assert!(
        said[0].contains("cluster VIPs (IPv6): sources outside the cluster cannot be recognized"),
        "{said:?}"
    );
    let mut only_v6 = service("web", Protocol::Tcp);
    only_v6.cluster_ips.v4 = None;
    let (decision, said) = clamped(&view_of(only_v6), off_cluster);
    assert_eq!(decision.masquerade.treatments.cluster, Treatment::Default);
    assert_eq!(said.len(), 1);
    let mut only_v4 = service("web", Protocol::Tcp);
    only_v4.cluster_ips.v6 = None;
    assert_eq!(clamped(&view_of(only_v4), off_cluster).1, [""; 0]);
}

#[test]
fn a_deadline_is_at_most_a_day() {
    let (decision, said) = web(|decision| decision.drain = Drain::UntilDeadline(Duration::MAX));
    assert_eq!(decision.drain, Drain::UntilDeadline(Duration::from_secs(86_400)));
    assert!(said[0].contains("deadline"), "{said:?}");
}

#[test]
fn not_every_endpoint_can_be_left_out() {
    let (decision, said) = web(|decision| decision.ports[0].dropped = [0, 1, 2].into());
    assert!(decision.ports[0].dropped.is_empty());
    assert!(said[0].contains("to serve nothing, let the policy ignore the service"), "{said:?}");
    let (decision, said) = web(|decision| decision.ports[0].dropped = [0, 1, 7].into());
    assert_eq!(decision.ports[0].dropped, [0, 1].into());
    assert_eq!(said, [""; 0]);
}

#[test]
fn weights_of_endpoints_that_are_left_out_do_not_count() {
    let (decision, said) = web(|decision| {
        decision.ports[0].dropped = [0].into();
        decision.ports[0].weights = vec![Weight(9), Weight::QUIESCED, Weight::QUIESCED];
    });
    assert_eq!(decision.ports[0].weights, [Weight::DEFAULT; 3]);
    assert!(said[0].contains("every endpoint that a VIP uses has weight 0"), "{said:?}");
    let (_, said) = web(|decision| decision.ports[0].weights.truncate(1));
    assert!(said[0].contains("1 weight for 3 endpoints"), "{said:?}");
}

#[test]
fn weights_need_a_scheduler_that_heeds_them() {
    let (decision, said) = scheduled("rr", [1, 2, 3]);
    assert_eq!(decision.ports[0].scheduling.scheduler, "wrr");
    assert!(said[0].contains("`rr` ignores weights; using `wrr`"), "{said:?}");
    // This kernel has no `wlc`.
    for name in ["lc", "dh"] {
        let (decision, said) = scheduled(name, [0, 2, 3]);
        assert_eq!(decision.ports[0].scheduling.scheduler, name);
        assert_eq!(decision.ports[0].weights, [Weight::QUIESCED, Weight::DEFAULT, Weight::DEFAULT]);
        assert!(said[0].contains("every weight except 0 counts as 1"), "{said:?}");
    }
    for (name, weights) in [("rr", [0, 5, 5]), ("sh", [1, 2, 3]), ("dh", [7, 7, 7])] {
        let (decision, said) = scheduled(name, weights);
        assert_eq!(decision.ports[0].scheduling.scheduler, name);
        assert_eq!(decision.ports[0].weights, weights.map(Weight));
        assert_eq!(said, [""; 0]);
    }
    let (decision, said) = scheduled("nonsense", [1, 1, 1]);
    assert_eq!(decision.ports[0].scheduling.scheduler, "rr");
    assert!(said[0].contains("modprobe ip_vs_nonsense"), "{said:?}");
}

#[test]
fn flags_are_for_whom_they_mean_something() {
    let hashing = SchedulerFlags(SchedulerFlags::FALLBACK.0 | SchedulerFlags::PORT.0);
    assert_eq!(flagged(Protocol::Tcp, "sh", hashing), (hashing.0, vec![]));
    let (flags, said) = flagged(Protocol::Tcp, "rr", hashing);
    assert_eq!(flags, 0);
    assert!(said[0].contains("to the schedulers sh and mh, not to `rr`"), "{said:?}");
    let (flags, said) = flagged(Protocol::Tcp, "rr", SchedulerFlags::ONE_PACKET);
    assert_eq!(flags, 0);
    assert!(said[0].contains("one-packet scheduling applies only to UDP"), "{said:?}");
    let (flags, said) = flagged(Protocol::Udp, "rr", SchedulerFlags::ONE_PACKET);
    assert_eq!(flags, SchedulerFlags::ONE_PACKET.0);
    assert!(said[0].starts_with("OnePacket: "), "{said:?}");
    let (flags, said) = flagged(Protocol::Udp, "rr", SchedulerFlags(0x1000));
    assert_eq!(flags, 0);
    assert!(said[0].contains("the scheduler flags 0x1000 contain unknown flags"), "{said:?}");
}

#[test]
fn persistence_has_its_ranges_and_every_port_its_decision() {
    let persist = |timeout, prefix| {
        web(|decision| {
            decision.ports[0].scheduling.persistence = Some(Persistence { timeout, prefix });
        })
    };
    let (decision, said) = persist(0, 33);
    let clamped = Persistence { timeout: 1, prefix: 32 };
    assert_eq!(decision.ports[0].scheduling.persistence, Some(clamped));
    assert!(
        said[0].contains(
            "persistence of 0 s with prefix length 33 is out of range; using 1 s and prefix length 32"
        ),
        "{said:?}"
    );
    assert_eq!(persist(86_400, 24).1, [""; 0]);
    let (decision, said) = web(|decision| decision.ports.truncate(1));
    assert_eq!(decision.ports.len(), 2);
    assert!(said[0].contains("answer covers 1 port, but the service has 2"), "{said:?}");
}

#[test]
fn what_cannot_be_a_name_is_shown_so_that_it_harms_no_terminal_and_no_shell() {
    let told = |name: &'static str| {
        let (decision, told) = scheduled(name, [1, 1, 1]);
        assert_eq!(decision.ports[0].scheduling.scheduler, "rr");
        told.concat()
    };
    let odd = told("no such; rm -rf\n\u{1b}[31m\u{202e}");
    assert!(odd.contains(r#""no such; rm -rf\n\u{1b}[31m\u{202e}" is not a valid scheduler name"#), "{odd}");
    assert!(!odd.contains("modprobe") && !odd.contains(char::is_control), "{odd}");
    assert!(told("").contains(r#""" is not a valid scheduler name"#));
    assert!(told("sixteen_letters_").contains("is not a valid scheduler name"));
    assert!(told("nope").contains("modprobe ip_vs_nope"));
}
