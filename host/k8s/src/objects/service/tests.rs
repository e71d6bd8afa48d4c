use serde_json::json;
use weir_core::net::Protocol;
use weir_core::objects::PROXY_NAME_LABEL;
use weir_world::build;

use super::*;

fn service(spec: Value) -> (Decoded<Service>, Vec<Problem>) {
    decode(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}))
}

fn here(spec: Value) -> (Service, Vec<String>) {
    match service(spec) {
        (Decoded::Here(service), problems) => (service, fields(problems)),
        other => panic!("{other:?}"),
    }
}

fn fields(problems: Vec<Problem>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.field).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(v4: Option<&str>, v6: Option<&str>) -> PerFamily<Option<IpAddr>> {
    PerFamily { v4: v4.map(ip), v6: v6.map(ip) }
}

#[test]
fn absent_fields_have_their_defaults() {
    let (service, problems) = here(json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}));
    assert_eq!(problems, [""; 0]);
    assert_eq!(service, build::service("web").cluster_ip("10.96.0.1").port(80).build());
}

#[test]
fn everything_that_is_written_is_kept() {
    let (service, problems) = decode(&json!({
        "metadata": {
            "name": "web", "namespace": "shop", "creationTimestamp": "1970-01-01T00:01:00Z",
            "labels": {PROXY_NAME_LABEL: ""}, "annotations": {"a": "b"}, "managedFields": [{}],
        },
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"],
            "ipFamilies": ["IPv4", "IPv6"], "externalIPs": ["203.0.113.5"],
            "ports": [{
                "name": "dns", "protocol": "UDP", "port": 53, "nodePort": 30053, "targetPort": "dns",
                "appProtocol": "example.com/dns",
            }],
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 120}},
            "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local",
            "loadBalancerSourceRanges": [" 10.0.0.5/8 ", "fd00::1/8"], "healthCheckNodePort": 31000,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}},
    }));
    assert_eq!(problems, []);
    let Decoded::Here(service) = service else { panic!("{service:?}") };
    assert_eq!((service.name.to_string().as_str(), service.created), ("shop/web", Some(60)));
    assert!(!service.is_ours());
    assert_eq!(service.annotations["a"], "b");
    assert_eq!(service.service_type, ServiceType::LoadBalancer);
    assert_eq!(service.cluster_ips, ips(Some("10.96.0.1"), Some("fd00::1")));
    assert_eq!(service.external_ips, [ip("203.0.113.5")]);
    assert_eq!(service.load_balancer_ips, [ip("198.51.100.1")]);
    let port = &service.ports[0];
    assert_eq!((port.name.as_str(), port.protocol, port.port), ("dns", Protocol::Udp, 53));
    assert_eq!(port.node_port.map(|p| p.get()), Some(30053));
    assert_eq!(port.app_protocol, "example.com/dns");
    assert_eq!(service.client_ip_affinity, Some(120));
    assert_eq!(
        (service.internal_policy, service.external_policy),
        (TrafficPolicy::Local, TrafficPolicy::Local)
    );
    assert_eq!(service.source_ranges, ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    assert_eq!(service.health_check_node_port.map(|p| p.get()), Some(31000));
}

#[test]
fn cluster_ips_go_to_their_families() {
    for (spec, v4, v6, problem) in [
        (json!({"clusterIP": "fd00::1"}), None, Some("fd00::1"), None),
        (json!({"clusterIP": "010.96.0.01"}), Some("10.96.0.1"), None, None),
        (json!({"clusterIPs": ["fd00::1", "10.96.0.1"]}), Some("10.96.0.1"), Some("fd00::1"), None),
        (
            json!({"clusterIPs": ["fd00::1", "10.96.0.1"], "ipFamilies": ["IPv6", "IPv4"]}),
            Some("10.96.0.1"),
            Some("fd00::1"),
            None,
        ),
        (
            json!({"clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilies": ["IPv4"]}),
            Some("10.96.0.1"),
            None,
            None,
        ),
        (
            json!({"clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv6"]}),
            None,
            None,
            Some("spec.clusterIPs[0]"),
        ),
        (
            json!({"clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv5"]}),
            Some("10.96.0.1"),
            None,
            Some("spec.ipFamilies[0]"),
        ),
        (
            json!({"clusterIPs": ["10.96.0.1", "10.96.0.2"]}),
            Some("10.96.0.1"),
            None,
            Some("spec.clusterIPs[1]"),
        ),
        (
            json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.1"]}),
            Some("10.96.0.1"),
            None,
            Some("spec.clusterIP"),
        ),
    ] {
        let (service, problems) = here(spec.clone());
        assert_eq!(service.cluster_ips, ips(v4, v6), "{spec}");
        assert_eq!(problems, problem.into_iter().collect::<Vec<_>>(), "{spec}");
    }
}

#[test]
fn headless_services_and_aliases_have_no_cluster_ip() {
    for spec in [
        json!({}),
        json!({"clusterIP": ""}),
        json!({"clusterIP": "None"}),
        json!({"clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": ["IPv4"]}),
        json!({"type": "ExternalName", "externalName": "example.org"}),
        json!({"type": "ExternalName", "clusterIP": "10.96.0.1"}),
    ] {
        let (service, problems) = here(spec.clone());
        assert_eq!(service.cluster_ips, ips(None, None), "{spec}");
        assert_eq!(problems, [""; 0], "{spec}");
    }
}

#[test]
fn what_has_no_harmless_reading_is_invalid() {
    for (spec, field) in [
        (json!({"type": "clusterip"}), "spec.type"),
        (json!({"clusterIP": "10.96.0"}), "spec.clusterIP"),
        (json!({"clusterIPs": ["10.96.0.1", "none"]}), "spec.clusterIPs[1]"),
        (json!({"sessionAffinity": "Cookie"}), "spec.sessionAffinity"),
        (json!({"internalTrafficPolicy": "local"}), "spec.internalTrafficPolicy"),
        (json!({"externalTrafficPolicy": "Global"}), "spec.externalTrafficPolicy"),
        (json!({"ports": [{"port": "http"}]}), "spec.ports[0].port"),
        (json!({"ports": [{"port": 80}, {"port": 81, "nodePort": []}]}), "spec.ports[1].nodePort"),
        (json!({"externalIPs": "203.0.113.5"}), "spec.externalIPs"),
        (json!("x"), "spec"),
    ] {
        let (service, problems) = service(spec);
        assert_eq!((service, fields(problems)), (Decoded::Invalid, vec![field.to_owned()]));
    }
    let (service, problems) = decode(&json!({"kind": "Service", "spec": {"clusterIP": "10.96.0.1"}}));
    assert_eq!((service, fields(problems)), (Decoded::Invalid, vec!["metadata.name".to_owned()]));
}

#[test]
fn all_problems_are_named_at_once() {
    let (_, problems) =
        service(json!({"type": "x", "clusterIP": "y", "sessionAffinity": "z", "ports": [{}]}));
    assert_eq!(
        fields(problems),
        ["spec.type", "spec.clusterIP", "spec.sessionAffinity", "spec.ports[0].port"]
    );
}

#[test]
fn affinity_without_a_timeout_lasts_three_hours() {
    for config in
        [json!(null), json!({}), json!({"clientIP": {}}), json!({"clientIP": {"timeoutSeconds": null}})]
    {
        let (service, _) = here(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}));
        assert_eq!(service.client_ip_affinity, Some(10_800));
    }
    let (service, _) = here(
        json!({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}),
    );
    assert_eq!(service.client_ip_affinity, None);
    for seconds in [-1, 0, 86_401, i64::MAX] {
        let config = json!({"clientIP": {"timeoutSeconds": seconds}});
        let (decoded, problems) =
            super::tests::service(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}));
        assert_eq!(decoded, Decoded::Invalid);
        assert_eq!(problems[0].field, "spec.sessionAffinityConfig.clientIP.timeoutSeconds");
    }
}

#[test]
fn single_bad_items_are_left_out() {
    let (service, problems) = here(json!({
        "ports": [
            {"port": 0}, {"port": 65536}, {"port": 80, "protocol": "tcp"}, {"port": 81, "nodePort": 70000},
            {"port": 82, "nodePort": 0}, {},
        ],
        "externalIPs": ["x", "10.0.0.256", "203.0.113.05"],
        "loadBalancerSourceRanges": ["10.0.0.0", "10.0.0.0/33", "", " 10.1.2.3/32"],
        "healthCheckNodePort": 99999,
    }));
    assert_eq!(
        service.ports.iter().map(|p| (p.port, p.node_port)).collect::<Vec<_>>(),
        [(81, None), (82, None)]
    );
    assert_eq!(service.external_ips, [ip("203.0.113.5")]);
    assert_eq!(service.source_ranges, ["10.1.2.3/32".parse().unwrap()]);
    assert_eq!(service.health_check_node_port, None);
    assert_eq!(
        problems,
        [
            "spec.externalIPs[0]",
            "spec.externalIPs[1]",
            "spec.ports[0].port",
            "spec.ports[1].port",
            "spec.ports[2].protocol",
            "spec.ports[3].nodePort",
            "spec.ports[5].port",
            "spec.ports[4].name",
            "spec.loadBalancerSourceRanges[0]",
            "spec.loadBalancerSourceRanges[1]",
            "spec.loadBalancerSourceRanges[2]",
            "spec.healthCheckNodePort",
        ]
    );
}

#[test]
fn only_ingresses_of_this_node_count() {
    let (service, problems) = decode(&json!({
        "metadata": {"name": "web"},
        "status": {"loadBalancer": {"ingress": [
            {"ip": "198.51.100.1"}, {"ip": "198.51.100.2", "ipMode": "VIP"}, {"ip": "198.51.100.3", "ipMode": "Proxy"},
            {"hostname": "example.org"}, {"ip": "x"}, {"ip": "198.51.100.4", "ipMode": "Magic"}, {"ip": "2001:db8::1"},
        ]}},
    }));
    let Decoded::Here(service) = service else { panic!("{service:?}") };
    assert_eq!(service.load_balancer_ips, [ip("198.51.100.1"), ip("198.51.100.2"), ip("2001:db8::1")]);
    assert_eq!(
        fields(problems),
        ["status.loadBalancer.ingress[4].ip", "status.loadBalancer.ingress[5].ipMode"]
    );
}

#[test]
fn a_bad_creation_time_is_named_and_ignored() {
    let (service, problems) = decode(&json!({"metadata": {"name": "web", "creationTimestamp": "yesterday"}}));
    assert!(matches!(service, Decoded::Here(Service { created: None, .. })));
    assert_eq!(
        problems[0].to_string(),
        "Service default/web: metadata.creationTimestamp: `yesterday`: must be a time such as \
         `2006-01-02T15:04:05Z`; the object is treated as just created"
    );
}

#[test]
fn a_null_among_cluster_ips_is_as_if_it_were_not_there() {
    for cluster_ips in [json!([null]), json!([null, "10.96.0.1"]), json!([""]), json!([])] {
        let (service, problems) = here(json!({"clusterIP": "10.96.0.1", "clusterIPs": cluster_ips}));
        assert_eq!((service.cluster_ips, problems), (ips(Some("10.96.0.1"), None), vec![]));
    }
}

#[test]
fn ports_that_meet_inside_a_service_are_named() {
    let met = |ports: Value| {
        let (service, problems) = here(json!({"clusterIP": "10.96.0.1", "ports": ports}));
        assert_eq!(service.ports.len(), 2);
        problems
    };
    let a = json!({"name": "a", "port": 80, "nodePort": 30001});
    for (b, fields) in [
        (json!({"name": "a", "port": 81, "nodePort": 30002}), vec!["spec.ports[1].name"]),
        (json!({"name": "b", "port": 80, "nodePort": 30002}), vec!["spec.ports[1].port"]),
        (json!({"name": "b", "port": 81, "nodePort": 30001}), vec!["spec.ports[1].nodePort"]),
        (
            json!({"name": "b", "port": 80, "nodePort": 30001}),
            vec!["spec.ports[1].port", "spec.ports[1].nodePort"],
        ),
        (json!({"name": "a", "port": 80, "nodePort": 30001, "protocol": "UDP"}), vec![]),
    ] {
        assert_eq!(met(json!([a, b])), fields, "{b}");
    }
}

#[test]
fn only_a_service_that_would_get_a_cluster_ip_lacks_one() {
    let lacks = |spec: Value| {
        let value = json!({"metadata": {"name": "web"}, "spec": spec});
        let Decoded::Here(service) = decode(&value).0 else { panic!("{value}") };
        hint(&value, &service).is_some()
    };
    for spec in [json!({}), json!({"type": "NodePort"}), json!({"clusterIP": "", "clusterIPs": [null]})] {
        assert!(lacks(spec.clone()), "{spec}");
    }
    for spec in [
        json!({"clusterIP": "None"}),
        json!({"clusterIPs": ["10.96.0.1"]}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
    ] {
        assert!(!lacks(spec.clone()), "{spec}");
    }
}
