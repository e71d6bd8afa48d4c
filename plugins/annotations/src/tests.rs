use weir_plugin_sdk::serde_json::json;
use weir_plugin_sdk::{Attributes, Endpoint, Port, Slice, Weights, serde_json, testing};

use super::*;

fn plugin(configuration: serde_json::Value) -> Annotations {
    testing::plugin(&configuration)
}

fn all() -> Annotations {
    plugin(json!({"dialects": ["weir", "kube-router", "cilium"]}))
}

fn service(annotations: &[(&str, &str)]) -> Service {
    let port = serde_json::from_value::<Port>(json!({"port": 80})).unwrap();
    Service {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        annotations: annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ports: vec![port],
        ..Service::default()
    }
}

fn schedule(annotations: &[(&str, &str)]) -> Schedule {
    all().schedule(&service(annotations), &Schedule::keep(), &Context::default()).unwrap()
}

#[test]
fn the_first_dialect_with_a_value_wins() {
    let everyone = [
        ("policy.weir/scheduler", "wlc"),
        ("kube-router.io/service.scheduler", "sh"),
        ("service.cilium.io/lb-algorithm", "maglev"),
    ];
    for (skip, expected) in ["wlc", "sh", "mh"].into_iter().enumerate() {
        assert_eq!(schedule(&everyone[skip..]).ports[0].scheduler.as_deref(), Some(expected));
    }
}

#[test]
fn kube_routers_maglev_hashes_no_port_unless_told() {
    let flags = |annotations: &[(&str, &str)]| schedule(annotations).ports[0].scheduler_flags.clone();
    let mh = ("kube-router.io/service.scheduler", "mh");
    let key = "kube-router.io/service.schedflags";
    assert_eq!(flags(&[mh]), Some(vec!["fallback".to_owned()]));
    assert_eq!(flags(&[mh, (key, "")]), Some(Vec::new()));
    assert_eq!(flags(&[mh, (key, "flag-1, flag-2")]), Some(vec!["fallback".to_owned(), "port".to_owned()]));
    let with_sh = schedule(&[("kube-router.io/service.scheduler", "sh"), (key, "flag-1")]);
    assert_eq!(with_sh.ports[0].scheduler_flags, None);
    assert!(with_sh.reason.contains("applies only to the scheduler mh"), "{}", with_sh.reason);
    assert!(schedule(&[mh, (key, "flag-3")]).reason.contains("schedflags is `flag-3`"));
}

#[test]
fn garbage_keeps_the_default_and_is_named() {
    let keys = [
        "policy.weir/scheduler",
        "policy.weir/scheduler-flags",
        "policy.weir/weights",
        "policy.weir/persistence",
        "policy.weir/drain",
        "service.cilium.io/lb-algorithm",
    ];
    for key in keys {
        for garbage in ["\u{0}\n", "RR; reboot", "💥", "-1", "a,b,,", &"x".repeat(100_000)] {
            let answer = schedule(&[(key, garbage)]);
            assert_eq!((&answer.ports[..], &answer.drain), (&[][..], &None), "{key}: {garbage:?}");
            assert!(answer.reason.starts_with(&format!("{key} is `")), "{key}: {}", answer.reason);
            assert!(answer.reason.len() < 400, "{key}: {} bytes", answer.reason.len());
        }
    }
    for key in ["policy.weir/vip-kinds", "policy.weir/deny-sources", "service.cilium.io/type"] {
        let verdict = all().select(&service(&[(key, "10.0/8")]), &Context::default()).unwrap();
        assert_eq!((&verdict.kinds, &verdict.sources[..]), (&None, &[][..]), "{key}");
        assert!(verdict.reason.starts_with(&format!("{key} is `")), "{}", verdict.reason);
    }
    for key in ["policy.weir/masquerade", "policy.weir/masquerade-except"] {
        let answer = all().treat(&service(&[(key, "10.0/8")]), &Treatments::keep(), &Context::default());
        let answer = answer.unwrap();
        assert!(answer.reason.starts_with(&format!("{key} is `")), "{}", answer.reason);
        assert_eq!(answer.because(""), Treatments::keep(), "{key}");
    }
}

#[test]
fn only_the_dialects_and_keys_that_are_configured_count() {
    let web = service(&[("kube-router.io/service.scheduler", "lc"), ("policy.weir/drain", "at-once")]);
    let asked = |configuration| {
        let answer = plugin(configuration).schedule(&web, &Schedule::keep(), &Context::default()).unwrap();
        (answer.ports.first().and_then(|port| port.scheduler.clone()), answer.drain.is_some())
    };
    assert_eq!(asked(json!(null)), (None, true));
    assert_eq!(asked(json!({"dialects": ["kube-router"]})), (Some("lc".to_owned()), false));
    let narrow = json!({"dialects": ["weir", "kube-router"], "keys": ["*scheduler"]});
    assert_eq!(asked(narrow), (Some("lc".to_owned()), false));
}

#[test]
fn it_reads_no_more_than_it_may_use() {
    let needs = plugin(json!({"keys": ["policy.weir/scheduler*"]})).needs();
    assert_eq!(needs, ["annotation:policy.weir/scheduler", "annotation:policy.weir/scheduler-flags"]);
    let needs = plugin(json!({"dialects": ["cilium"], "keys": ["service.cilium.io/weight"]})).needs();
    assert_eq!(needs, ["slice-annotation:service.cilium.io/weight", "endpoints"]);
}

#[test]
fn every_mistake_of_a_configuration_is_named() {
    let refusals = testing::refusals::<Annotations>(&json!({
        "dialects": ["weir", "calico"], "keys": ["policy.weir/schedular"], "allow": true
    }));
    let expected = [
        "dialects names `calico`: write any of weir, kube-router, cilium",
        "keys has `policy.weir/schedular`, which matches no key of the configured dialects",
        "allow is an unknown field: use one of dialects, keys",
    ];
    assert_eq!(refusals, expected);
}

fn weighed(annotation: &str, groups: &[(&str, usize)]) -> Schedule {
    let mut web = service(&[("policy.weir/weights", annotation)]);
    for (group, count) in groups {
        let labels = Attributes::from([("policy.weir/group".to_owned(), (*group).to_owned())]);
        web.slices.push(Slice { name: format!("web-{group}"), labels, annotations: Attributes::new() });
        for _ in 0..*count {
            let number = u16::try_from(web.ports[0].endpoints.len()).unwrap();
            web.ports[0].endpoints.push(Endpoint {
                address: ([10, 0, 0, 1], number + 1).into(),
                ready: true,
                serving: true,
                terminating: false,
                local: false,
                internal: true,
                external: true,
                zone: None,
                node: None,
                slice: Some(format!("web-{group}").into()),
                ready_since: None,
            });
        }
    }
    let context = Context { default_scheduler: "rr".to_owned(), ..Context::default() };
    all().schedule(&web, &Schedule::keep(), &context).unwrap()
}

#[test]
fn groups_get_their_shares() {
    let weights = |answer: &Schedule| answer.ports[0].weights.clone();
    let answer = weighed("stable=90,canary=10", &[("stable", 3), ("canary", 1)]);
    assert_eq!(weights(&answer), Weights::Each(vec![3, 3, 3, 1]));
    assert_eq!(answer.ports[0].scheduler.as_deref(), Some("wrr"));
    let answer = weighed("blue=1, green=0", &[("blue", 2), ("green", 2)]);
    assert_eq!(weights(&answer), Weights::Each(vec![1, 1, 0, 0]));
    assert_eq!(
        answer.ports[0].scheduler.as_deref(),
        Some("wrr"),
        "later changes of weights must not change it"
    );
    let answer = weighed("blue=0,*=1", &[("blue", 1)]);
    assert_eq!(weights(&answer), Weights::Each(vec![1]));
    assert!(answer.reason.contains("leave no endpoint for port 80"), "{}", answer.reason);
    assert_eq!(weights(&weighed("blue=1", &[])), Weights::Each(Vec::new()));
}

#[test]
fn thousands_of_endpoints_are_weighed() {
    let answer = weighed("stable=99,canary=1", &[("stable", 10_000), ("canary", 10)]);
    let Weights::Each(weights) = &answer.ports[0].weights else { panic!("no weights") };
    let sum = |weights: &[u16]| weights.iter().map(|weight| u64::from(*weight)).sum::<u64>();
    let (stable, canary) = weights.split_at(10_000);
    let share = sum(canary) as f64 / (sum(stable) + sum(canary)) as f64;
    assert!((0.0099..0.0101).contains(&share), "{share}");
}
