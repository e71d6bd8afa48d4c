use weir_plugin_sdk::serde_json::{self, json};
use weir_plugin_sdk::{Drain, Persistence, Scheduling, Treatment, VipKind, Weights, testing};

use super::*;

fn guard(rule: serde_json::Value) -> NamespaceGuard {
    testing::plugin(&json!({"rules": [rule]}))
}

fn service(ports: serde_json::Value) -> Service {
    serde_json::from_value(json!({"namespace": "tenant-a", "name": "web", "ports": ports})).unwrap()
}

fn context(default_scheduler: &str) -> Context {
    Context { default_scheduler: default_scheduler.to_owned(), ..Context::default() }
}

fn schedule(rule: serde_json::Value, prior: &Schedule) -> Schedule {
    guard(rule).schedule(&service(json!([{"port": 80}])), prior, &context("rr")).unwrap()
}

fn said(scheduling: Scheduling) -> Schedule {
    Schedule { ports: vec![scheduling], ..Schedule::keep() }
}

#[test]
fn what_is_allowed_stays_and_what_is_not_goes_back() {
    let rule = json!({"schedulers": ["lc"]});
    assert_eq!(schedule(rule.clone(), &said(Scheduling::scheduler("lc"))), Schedule::keep());
    assert_eq!(schedule(rule.clone(), &said(Scheduling::scheduler("rr"))), Schedule::keep(), "the default");
    assert_eq!(schedule(rule.clone(), &Schedule::keep()), Schedule::keep());
    let answer = schedule(rule.clone(), &said(Scheduling::scheduler("mh")));
    assert_eq!(answer.ports[0].scheduler.as_deref(), Some("default"));
    assert_eq!(answer.ports[0].scheduler_flags, Some(Vec::new()));
    assert_eq!(answer.reason, "not allowed in namespace tenant-a: scheduler mh");
    let answer = guard(rule)
        .schedule(&service(json!([])), &said(Scheduling::scheduler("sh")), &context("mh"))
        .unwrap();
    assert_eq!(
        answer.ports[0].scheduler_flags,
        Some(vec!["port".to_owned()]),
        "the default scheduler's flags"
    );
}

#[test]
fn flags_weights_and_persistence_have_limits() {
    let flags = |flags: &[&str]| Some(flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
    let prior = said(Scheduling {
        scheduler_flags: flags(&["fallback", "one-packet"]),
        persistence: Persistence::On(7200, 24),
        weights: Weights::Each(vec![1, 2]),
        ..Scheduling::default()
    });
    let answer = schedule(
        json!({"scheduler-flags": ["fallback", "port"], "weights": false, "longest-persistence": "1h"}),
        &prior,
    );
    let expected = Scheduling {
        scheduler_flags: flags(&["fallback"]),
        persistence: Persistence::On(3600, 24),
        weights: Weights::Equal,
        ..Scheduling::default()
    };
    assert_eq!(answer.ports, [expected]);
    assert!(answer.reason.ends_with("flag one-packet, persistence of 7200 s, weights"), "{}", answer.reason);
    let answer = schedule(json!({"longest-persistence": "0s"}), &prior);
    assert_eq!(answer.ports[0].persistence, Persistence::SessionAffinity);
    assert_eq!(schedule(json!({"weights": true, "longest-persistence": "2h"}), &prior), Schedule::keep());
}

#[test]
fn drains_have_limits() {
    let drained = |rule, drain| schedule(rule, &Schedule { drain: Some(drain), ..Schedule::keep() }).drain;
    let modes = json!({"drains": ["until-deadline"]});
    assert_eq!(drained(modes.clone(), Drain::AtOnce), Some(Drain::UntilIdle));
    assert_eq!(drained(modes.clone(), Drain::UntilDeadline(9)), None);
    assert_eq!(drained(modes.clone(), Drain::UntilIdle), None);
    assert_eq!(drained(modes, Drain::Other("by-moon".to_owned())), Some(Drain::UntilIdle));
    let longest = json!({"longest-drain": "1m"});
    assert_eq!(drained(longest.clone(), Drain::UntilDeadline(61)), Some(Drain::UntilDeadline(60)));
    assert_eq!(drained(longest.clone(), Drain::UntilIdle), None, "the default has no deadline");
    assert_eq!(drained(longest, Drain::AtOnce), None);
}

#[test]
fn masquerading_has_limits() {
    let networks = |texts: &[&str]| Some(texts.iter().map(|text| text.parse().unwrap()).collect());
    let prior = Treatments {
        except_sources: networks(&["10.1.0.0/16", "0.0.0.0/0"]),
        ..Treatments::keep()
            .treat(VipKind::Cluster, Treatment::Never)
            .treat(VipKind::NodePort, Treatment::Always)
            .treat(VipKind::External, Treatment::Default)
    };
    let rule = json!({"masquerade": ["always"], "except-sources": ["10.0.0.0/8"]});
    let answer = guard(rule).treat(&service(json!([])), &prior, &context("rr")).unwrap();
    let expected = Treatments { except_sources: networks(&["10.1.0.0/16"]), ..Treatments::keep() }
        .treat(VipKind::Cluster, Treatment::Default)
        .because("not allowed in namespace tenant-a: exception 0.0.0.0/0, masquerade never");
    assert_eq!(answer, expected);
    let answer = guard(json!({})).treat(&service(json!([])), &prior, &context("rr")).unwrap();
    assert_eq!(answer, Treatments::keep());
}

fn vips(vips: &[(&str, &str)]) -> Service {
    let vips: Vec<serde_json::Value> =
        vips.iter().map(|(kind, address)| json!({"kind": kind, "address": address})).collect();
    service(json!([{"port": 80, "vips": vips}, {"port": 443, "vips": vips}]))
}

fn refused(plugin: &NamespaceGuard, service: &Service, context: &Context) -> Vec<String> {
    let verdict = plugin.select(service, context).unwrap();
    verdict.refusals.into_iter().map(|refusal| format!("{}: {}", refusal.address, refusal.reason)).collect()
}

#[test]
fn vips_outside_the_networks_of_a_namespace_are_refused_once() {
    let plugin = guard(json!({"external-ips": [], "load-balancer-ips": ["203.0.113.0/24", "2001:db8::/64"]}));
    let service = vips(&[
        ("cluster", "10.96.0.1"),
        ("external", "203.0.113.1"),
        ("load-balancer", "203.0.113.1"),
        ("load-balancer", "198.51.100.1"),
        ("load-balancer", "2001:db8::1"),
    ]);
    let expected = [
        "203.0.113.1: VIPs of this kind are not allowed in namespace tenant-a",
        "198.51.100.1: it is outside the networks allowed in namespace tenant-a",
    ];
    assert_eq!(refused(&plugin, &service, &Context::default()), expected);
}

#[test]
fn a_nodes_address_is_refused_but_an_address_bound_on_this_node_is_not() {
    let context: Context = serde_json::from_value(json!({
        "node": "n1", "host-addresses": ["192.0.2.1", "192.0.2.9"],
        "nodes": [{"name": "n1", "addresses": ["192.0.2.1"]}, {"name": "n2", "addresses": ["192.0.2.2", "fd00::2"]}]
    }))
    .unwrap();
    let service =
        vips(&[("external", "192.0.2.2"), ("load-balancer", "192.0.2.9"), ("external", "192.0.2.3")]);
    let expected = ["192.0.2.2: it is the address of node n2"];
    assert_eq!(refused(&testing::plugin(&json!(null)), &service, &context), expected);
    let allowing: NamespaceGuard = testing::plugin(&json!({"node-addresses": "allow"}));
    assert_eq!(refused(&allowing, &service, &context), Vec::<String>::new());
}

#[test]
fn the_first_matching_rule_applies_and_without_one_there_is_no_limit() {
    let plugin: NamespaceGuard = testing::plugin(&json!({"rules": [
        {"namespaces": ["tenant-b"], "schedulers": []},
        {"namespace-labels": {"tier": "gold"}},
        {"namespaces": ["tenant-*"], "schedulers": []}
    ]}));
    let asked = |namespace: &str, tier: Option<&str>| {
        let labels = tier.map(|tier| ("tier".to_owned(), tier.to_owned()));
        let service = Service {
            namespace: namespace.to_owned(),
            namespace_labels: labels.into_iter().collect(),
            ..service(json!([{"port": 80}]))
        };
        let answer = plugin.schedule(&service, &said(Scheduling::scheduler("lc")), &context("rr")).unwrap();
        answer != Schedule::keep()
    };
    assert!(asked("tenant-a", None) && asked("tenant-b", Some("gold")));
    assert!(!asked("tenant-a", Some("gold")) && !asked("kube-system", None));
    assert_eq!(plugin.needs(), ["namespace-label:tier", "nodes"]);
}

#[test]
fn every_mistake_of_a_configuration_is_named() {
    let refusals = testing::refusals::<NamespaceGuard>(&json!({
        "node-addresses": "maybe",
        "rules": [{
            "scheduler-flags": ["flag-1"], "weights": "some", "longest-persistence": "25h", "longest-drain": "long",
            "drains": ["never"], "masquerade": ["snat"], "except-sources": ["lan"], "external-ips": "10.0.0.0/8",
            "load-balancer-ips": ["10.0.0.0/33"], "scheduler": ["rr"]
        }]
    }));
    let places: Vec<&str> = refusals.iter().filter_map(|refusal| refusal.split(' ').next()).collect();
    let expected = [
        "rules[0].scheduler-flags",
        "rules[0].weights",
        "rules[0].longest-persistence",
        "rules[0].longest-drain",
        "rules[0].drains",
        "rules[0].masquerade",
        "rules[0].except-sources[0]",
        "rules[0].external-ips",
        "rules[0].load-balancer-ips[0]",
        "rules[0].scheduler",
        "node-addresses",
    ];
    assert_eq!(places, expected, "{refusals:#?}");
}
