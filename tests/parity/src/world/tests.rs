use std::collections::BTreeSet;
use std::fmt::Debug;

use weir_core::net::unusable;
use weir_k8s::Problem;
use weir_k8s::objects::{self, Decoded};

use super::*;

/// The kinds of mutations.
const DEEDS: &str = "Affinity Conditions EndpointAdded EndpointGone EndpointMoves EndpointShared ExternalIps \
                     ExternalPolicy Follows Hints InternalPolicy LoadBalancerIps OtherProxy PortAdded PortGone \
                     PortRenamed Ports ServiceGone SliceGone SliceRenamed SourceRanges Type Zone extras news";

#[test]
fn a_seed_means_the_same_every_time() {
    let run = || {
        let mut seed = Seed::new(7);
        let mut world = World::random(&mut seed);
        let deeds: Vec<String> = (0..50).map(|_| world.mutate(&mut seed)).collect();
        (deeds, world.objects())
    };
    assert_eq!(run(), run());
    assert_ne!(World::random(&mut Seed::new(7)).objects(), World::random(&mut Seed::new(8)).objects());
}

#[test]
fn every_mutation_changes_some_object_and_all_objects_are_acceptable() {
    let mut deeds = BTreeSet::new();
    for number in 0..200 {
        let mut seed = Seed::new(number);
        let mut world = World::random(&mut seed);
        let mut before = world.objects();
        for _ in 0..6 {
            let deed = world.mutate(&mut seed);
            let after = world.objects();
            assert_ne!(before, after, "seed {number}: {deed}");
            check(&after, &format!("seed {number}: {deed}"));
            before = after;
            deeds.extend(deed.split(':').next().map(str::to_owned));
        }
    }
    assert_eq!(deeds.into_iter().collect::<Vec<_>>().join(" "), DEEDS);
}

/// What an API server demands, and what makes kube-proxy's result certain.
fn check(all: &[(Key, Value)], when: &str) {
    let (mut claims, mut endpoints) = (BTreeSet::new(), BTreeMap::new());
    let mut claim = |what: String| assert!(claims.insert(what.clone()), "{when}: {what} twice");
    for (_, object) in all {
        let spec = &object["spec"];
        match object["kind"].as_str().unwrap() {
            "Service" => {
                let service = decoded(objects::service(object), when);
                let ips = service.cluster_ips;
                ips.v4.into_iter().chain(ips.v6).for_each(|ip| claim(format!("cluster IP {ip}")));
                let vips = service.external_ips.iter().chain(&service.load_balancer_ips);
                vips.for_each(|ip| assert_eq!(unusable(*ip), None, "{when}: {ip}"));
                assert!(!service.ports.is_empty(), "{when}: {object}");
                for port in &service.ports {
                    assert!(port.name.len() <= 15, "{when}: {}", port.name);
                    claim(format!("port {}", port.port));
                }
                let names: BTreeSet<&str> = service.ports.iter().map(|port| port.name.as_str()).collect();
                assert_eq!(names.len(), service.ports.len(), "{when}: {object}");
                let node_ports = service.ports.iter().filter_map(|port| port.node_port);
                for port in node_ports.chain(service.health_check_node_port) {
                    assert!((30_000..=32_767).contains(&port.get()), "{when}: {port}");
                    claim(format!("node port {port}"));
                }
                for list in ["externalIPs", "loadBalancerSourceRanges", "clusterIPs", "ipFamilies"] {
                    let items: Vec<&Value> = spec[list].as_array().into_iter().flatten().collect();
                    let texts: BTreeSet<String> = items.iter().map(ToString::to_string).collect();
                    assert_eq!(texts.len(), items.len(), "{when}: {object}");
                }
                let is = |types: &[&str]| types.iter().any(|name| spec["type"] == *name);
                let (is_alias, is_balanced) = (is(&["ExternalName"]), is(&["LoadBalancer"]));
                assert!(spec["clusterIP"] != "None" || is(&["ClusterIP"]), "{when}: {object}");
                for (field, is_allowed) in [
                    ("loadBalancerSourceRanges", is_balanced),
                    ("allocateLoadBalancerNodePorts", is_balanced),
                    ("healthCheckNodePort", is_balanced && spec["externalTrafficPolicy"] == "Local"),
                    (
                        "externalTrafficPolicy",
                        is(&["NodePort"]) || is_balanced || !spec["externalIPs"].is_null(),
                    ),
                    ("sessionAffinity", !is_alias),
                    ("internalTrafficPolicy", !is_alias),
                    ("clusterIP", !is_alias),
                    ("externalName", is_alias),
                ] {
                    assert!(is_allowed || spec[field].is_null(), "{when}: {field}: {object}");
                }
            }
            "EndpointSlice" => {
                let slice = decoded(objects::endpoint_slice(object), when);
                slice.ports.iter().for_each(|port| claim(format!("{} {}", slice.name, port.name)));
                for endpoint in slice.endpoints {
                    claim(format!("{} {}", slice.name, endpoint.address));
                    let key = (slice.service.clone(), endpoint.address);
                    let first = endpoints.entry(key).or_insert_with(|| endpoint.clone());
                    assert_eq!(*first, endpoint, "{when}: two conditions for one endpoint");
                }
            }
            _ => drop(decoded(objects::node(object), when)),
        }
    }
}

fn decoded<T: Debug>((object, problems): (Decoded<T>, Vec<Problem>), when: &str) -> T {
    match object {
        Decoded::Here(object) if problems.is_empty() => object,
        other => panic!("{when}: {other:?} {problems:?}"),
    }
}

#[test]
fn only_one_state_is_marked_with_its_step() {
    let world = World::empty(3);
    let lines = |port: u16| {
        [
            format!("-A -t 10.96.255.1:{port} -s rr"),
            format!("-a -t 10.96.255.1:{port} -r 10.244.99.1:{port} -m -w 1"),
            format!("-A -t [fd00:96::ff01]:{port} -s rr"),
            format!("-a -t [fd00:96::ff01]:{port} -r [fd00:10:244:99::1]:{port} -m -w 1"),
        ]
    };
    assert!(world.is_marked(&lines(20_003)));
    assert!(!world.is_marked(&lines(20_004)));
    assert!(!world.is_marked(&lines(20_003)[..3]));
    assert!(!world.is_marked(&[lines(20_003), lines(20_002)].concat()), "an older one still exists");
}
