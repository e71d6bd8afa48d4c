//! Laws of parsing: of repeated keys the last one is used, and a null is what the API server stores for it.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use weir_core::cluster::Event;
use weir_k8s::Problem;
use weir_k8s::manifests::{self, Inventory};

const REPEATED: &str = "occurs more than once; the last one is used";
/// Fields with arbitrary keys and text values.
const TEXT_MAPS: [&str; 2] = ["labels", "annotations"];

/// Objects with every field that is read.
fn objects() -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web", "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"service.kubernetes.io/service-proxy-name": "other", "app": "web"},
                "annotations": {"example.com/note": "a", "plain": "b"},
            },
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"],
                "ipFamilies": ["IPv4", "IPv6"], "externalIPs": ["192.0.2.7"],
                "ports": [
                    {"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080, "appProtocol": "http"},
                    {"name": "dns", "protocol": "UDP", "port": 53, "nodePort": 30053},
                ],
                "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
                "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local",
                "loadBalancerSourceRanges": ["10.0.0.0/8", "fd00::/8"], "healthCheckNodePort": 30100,
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7", "ipMode": "VIP"}]}},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "web-1", "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""},
                "annotations": {"a": "b"},
            },
            "addressType": "IPv4",
            "endpoints": [{
                "addresses": ["10.0.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true},
                "nodeName": "n", "zone": "z",
                "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n"}]},
            }],
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        }),
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z"}, "annotations": {"a": "b"}},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd01::/64"], "unschedulable": true},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
        }),
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shop", "labels": {"tier": "a"}, "annotations": {"a": "b"}},
        }),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b", "c": "d"}}),
    ]
}

/// Some of these objects, alone or in lists.
fn documents() -> impl Strategy<Value = Vec<Value>> {
    let document = prop_oneof![
        3 => select(objects()),
        1 => prop::collection::vec(select(objects()), 0..4)
            .prop_map(|items| json!({"apiVersion": "v1", "kind": "List", "items": items})),
    ];
    prop::collection::vec(document, 1..4)
}

fn anything() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z.: {}-]{0,8}".prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// What to do at each key and item of a tree, in traversal order; nothing after its end.
fn at_some<T: std::fmt::Debug>(what: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<Option<T>>> {
    prop::collection::vec(prop::option::weighted(0.15, what), 0..120)
}

/// Writes a value; a key that also has an earlier value is written twice. Counts those.
fn write(value: &Value, earlier: &mut impl Iterator<Item = Option<Value>>, twice: &mut usize) -> String {
    match value {
        Value::Object(fields) => {
            let mut parts = Vec::new();
            for (key, value) in fields {
                let key = Value::from(key.as_str());
                if let Some(other) = earlier.next().flatten() {
                    parts.push(format!("{key}: {other}"));
                    *twice += 1;
                }
                parts.push(format!("{key}: {}", write(value, earlier, twice)));
            }
            format!("{{{}}}", parts.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| write(item, earlier, twice)).collect();
            format!("[{}]", items.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// A value with nulls, and as the API server stores it.
fn with_nulls(value: &Value, in_texts: bool, is_null: &mut impl FnMut() -> bool) -> (Value, Value) {
    match value {
        Value::Object(fields) => {
            let (mut given, mut stored) = (Map::new(), Map::new());
            for (key, value) in fields {
                if is_null() {
                    given.insert(key.clone(), Value::Null);
                    stored.extend(in_texts.then(|| (key.clone(), "".into())));
                    continue;
                }
                let (a, b) = with_nulls(value, TEXT_MAPS.contains(&key.as_str()), is_null);
                given.insert(key.clone(), a);
                stored.insert(key.clone(), b);
            }
            (given.into(), stored.into())
        }
        Value::Array(items) => {
            let pairs = items.iter().map(|item| match item {
                Value::String(_) if is_null() => (Value::Null, "".into()),
                Value::Object(_) if is_null() => (Value::Null, json!({})),
                item => with_nulls(item, false, is_null),
            });
            let (given, stored): (Vec<Value>, Vec<Value>) = pairs.unzip();
            (given.into(), stored.into())
        }
        scalar => (scalar.clone(), scalar.clone()),
    }
}

fn read(documents: &[String]) -> (Vec<Event>, Vec<Problem>) {
    let (inventory, problems) = Inventory::parse(&documents.join("\n---\n"), "n");
    (Inventory::default().changes_to(&inventory), problems)
}

/// The same, through a JSON file.
fn read_json(documents: &[String]) -> (Vec<Event>, Vec<Problem>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.json");
    std::fs::write(&file, documents.join("\n")).unwrap();
    let (events, problems) = manifests::read(&file, "n");
    (events, problems.into_iter().map(|problem| Problem { file: None, ..problem }).collect())
}

proptest! {
    #[test]
    fn the_last_of_repeated_keys_counts_and_each_is_named(
        documents in documents(),
        earlier in at_some(anything()),
    ) {
        let plain: Vec<String> = documents.iter().map(Value::to_string).collect();
        let mut earlier = earlier.into_iter();
        let mut twice = 0;
        let texts: Vec<String> =
            documents.iter().map(|document| write(document, &mut earlier, &mut twice)).collect();
        for (read, plain) in [(read(&texts), read(&plain)), (read_json(&texts), read_json(&plain))] {
            let (repeated, others): (Vec<Problem>, Vec<Problem>) =
                read.1.into_iter().partition(|problem| problem.message == REPEATED);
            prop_assert_eq!(read.0, plain.0);
            prop_assert_eq!(others, plain.1);
            prop_assert_eq!(repeated.len(), twice);
            prop_assert!(repeated.iter().all(|problem| !problem.object.is_empty() && !problem.field.is_empty()));
        }
    }

    #[test]
    fn a_null_is_what_the_api_server_stores_for_it(
        documents in prop::collection::vec(select(objects()), 1..4),
        choice in at_some(Just(())),
    ) {
        let mut choice = choice.into_iter();
        let mut is_null = || choice.next().flatten().is_some();
        let pairs = documents.iter().map(|document| with_nulls(document, false, &mut is_null));
        let (given, stored): (Vec<String>, Vec<String>) =
            pairs.map(|(given, stored)| (given.to_string(), stored.to_string())).unzip();
        prop_assert_eq!(read(&given), read(&stored));
        prop_assert_eq!(read_json(&given), read_json(&stored));
    }
}
