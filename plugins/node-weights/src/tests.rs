use weir_plugin_sdk::serde_json::{self, json};
use weir_plugin_sdk::{Weights, testing};

use super::*;

/// Endpoints as (node, zone), all ready and used.
fn ask(configuration: serde_json::Value, nodes: serde_json::Value, endpoints: &[(&str, &str)]) -> Schedule {
    let endpoints: Vec<serde_json::Value> = endpoints
        .iter()
        .enumerate()
        .map(|(i, (node, zone))| {
            json!({
                "address": format!("10.{}.{}.1:80", i / 250, i % 250), "ready": true, "internal": true,
                "node": node, "zone": zone
            })
        })
        .collect();
    let service =
        json!({"namespace": "shop", "name": "web", "ports": [{"port": 80, "endpoints": endpoints}]});
    let service: Service = serde_json::from_value(service).unwrap();
    let context = json!({"node": "n1", "zone": "a", "default-scheduler": "rr", "nodes": nodes});
    let context: Context = serde_json::from_value(context).unwrap();
    let plugin: NodeWeights = testing::plugin(&configuration);
    plugin.schedule(&service, &Schedule::keep(), &context).unwrap()
}

fn weights(schedule: &Schedule) -> &[u16] {
    match schedule.ports.first().map(|port| &port.weights) {
        Some(Weights::Each(weights)) => weights,
        _ => &[],
    }
}

#[test]
fn endpoints_count_what_their_nodes_can_do() {
    let nodes = json!([
        {"name": "n1", "cpu-millis": 4000, "memory-bytes": 8589934592u64},
        {"name": "n2", "cpu-millis": 16000, "memory-bytes": 8589934592u64},
        {"name": "n3"},
        {"name": "n4", "labels": {"example.com/weight": "1000"}},
        {"name": "n5", "labels": {"example.com/weight": "a lot"}, "cpu-millis": 4000}
    ]);
    let cpu = json!({"capacity": "cpu"});
    let answer = ask(cpu.clone(), nodes.clone(), &[("n1", "a"), ("n2", "a")]);
    assert_eq!((weights(&answer), answer.ports[0].scheduler.as_deref()), (&[1, 4][..], Some("wrr")));
    let answer = ask(json!({"capacity": "memory"}), nodes.clone(), &[("n1", "a"), ("n2", "a")]);
    assert_eq!(answer, nothing_to_weigh(), "equal nodes need no weights");
    let answer = ask(cpu, nodes.clone(), &[("n1", "a"), ("n2", "a"), ("n3", "a"), ("unseen", "a")]);
    assert_eq!(weights(&answer), [2, 8, 5, 5], "nodes without a value count as the average");
    let label = json!({"weight-label": "example.com/weight", "capacity": "cpu"});
    assert_eq!(weights(&ask(label, nodes, &[("n1", "a"), ("n4", "a"), ("n5", "a")])), [4, 1, 4]);
}

/// No weights, but already the scheduler that later weights need: the kernel refuses connections while it changes.
fn nothing_to_weigh() -> Schedule {
    Schedule::each(1, |_| Scheduling::scheduler("wrr"))
}

#[test]
fn a_zone_keeps_its_traffic_while_it_has_enough() {
    let keep = json!({"zone": {"keep-percent": 90, "enough": 2}});
    let answer = ask(keep.clone(), json!([]), &[("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "b")]);
    assert_eq!(
        (weights(&answer), answer.reason.as_str()),
        (&[9, 9, 1, 1][..], "90 % of the traffic stays in zone a")
    );
    let answer = ask(keep.clone(), json!([]), &[("n1", "a"), ("n3", "b"), ("n4", "b")]);
    assert_eq!(answer, nothing_to_weigh(), "one is not enough");
    let all = ask(json!({"zone": {}}), json!([]), &[("n1", "a"), ("n3", "b")]);
    assert_eq!(weights(&all), [1, 0]);
    let mostly_here: Vec<_> = (0..19).map(|_| ("n1", "a")).chain([("n3", "b")]).collect();
    assert_eq!(ask(keep, json!([]), &mostly_here), nothing_to_weigh(), "the zone would get less");
}

#[test]
fn nodes_in_maintenance_get_nothing_unless_they_are_all() {
    let signs = json!({"maintenance": {
        "unschedulable": true, "taints": ["example.com/repair"], "annotations": ["example.com/out"]
    }});
    let nodes = json!([
        {"name": "n1"},
        {"name": "n2", "unschedulable": true},
        {"name": "n3", "taints": ["example.com/repair:NoSchedule"]},
        {"name": "n4", "taints": ["example.com/repair=disk:NoExecute"]},
        {"name": "n5", "annotations": {"example.com/out": "since monday"}},
        {"name": "n6", "annotations": {"example.com/out": "false"}},
        {"name": "n7", "taints": ["example.com/repaired:NoSchedule"]}
    ]);
    let answer =
        ask(signs.clone(), nodes.clone(), &["n1", "n2", "n3", "n4", "n5", "n6", "n7"].map(|n| (n, "a")));
    assert_eq!(weights(&answer), [1, 0, 0, 0, 0, 1, 1]);
    assert_eq!(answer.reason, "nodes in maintenance get no new connections");
    let answer = ask(signs.clone(), nodes.clone(), &[("n2", "a"), ("n3", "a")]);
    assert_eq!(weights(&answer), [0u16; 0], "nothing changes when all are out: {answer:?}");
    assert_eq!(ask(json!({}), nodes, &[("n2", "a"), ("n3", "a")]), Schedule::keep());
}

#[test]
fn a_zone_that_is_in_maintenance_keeps_nothing() {
    let configuration = json!({"zone": {"keep-percent": 100}, "maintenance": {"unschedulable": true}});
    let nodes = json!([{"name": "n1", "unschedulable": true}, {"name": "n2"}]);
    let answer = ask(configuration, nodes, &[("n1", "a"), ("n2", "b")]);
    assert_eq!(weights(&answer), [0, 1]);
}

#[test]
fn nothing_and_very_much_are_no_matter() {
    let everything =
        json!({"capacity": "cpu", "zone": {"keep-percent": 80}, "maintenance": {"unschedulable": true}});
    assert_eq!(ask(everything.clone(), json!([]), &[]), nothing_to_weigh());
    let nodes = json!([{"name": "n1", "cpu-millis": u64::MAX >> 20}, {"name": "n2", "cpu-millis": 1}]);
    let many: Vec<_> = (0..10_000).map(|i| if i % 2 == 0 { ("n1", "a") } else { ("n2", "b") }).collect();
    let answer = ask(everything, nodes, &many);
    assert_eq!(weights(&answer)[..4], [4, 1, 4, 1]);
}

#[test]
fn what_is_not_declared_is_not_needed() {
    let needs = |configuration| testing::plugin::<NodeWeights>(&configuration).needs().join(" ");
    assert_eq!(needs(json!({"zone": {}})), "endpoints");
    assert_eq!(needs(json!({"capacity": "cpu"})), "endpoints nodes");
    assert_eq!(
        needs(json!({"weight-label": "w", "maintenance": {"annotations": ["out"]}})),
        "endpoints node-label:w node-annotation:out"
    );
}

#[test]
fn every_mistake_of_a_configuration_is_named() {
    let refusals = testing::refusals::<NodeWeights>(&json!({
        "capacity": "disk", "weight-label": "", "zone": {"keep-percent": 0, "enough": 0, "spill": 1},
        "maintenance": {"unschedulable": "yes", "taints": "x"}
    }));
    let places: Vec<&str> = refusals.iter().filter_map(|refusal| refusal.split(' ').next()).collect();
    let expected = [
        "capacity",
        "weight-label",
        "zone.keep-percent",
        "zone.enough",
        "zone.spill",
        "maintenance.unschedulable",
        "maintenance.taints",
    ];
    assert_eq!(places, expected, "{refusals:#?}");
}
