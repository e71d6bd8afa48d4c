use std::cell::Cell;

use serde_json::json;

use super::*;
use crate::{Context, Error, Scheduling};

/// Reports everything it sees in its reason; its configuration is its needs.
struct Witness(Vec<String>);

impl Plugin for Witness {
    const NAME: &'static str = "witness";
    const VERSION: &'static str = "1";

    fn configure(text: &str) -> Result<Witness, Vec<String>> {
        crate::configuration::parse(text).map(Witness)
    }

    fn needs(&self) -> Vec<String> {
        self.0.clone()
    }
}

impl Scheduler for Witness {
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error> {
        crate::log::info!("asked"; service = service.name);
        let prior = prior.ports.first().and_then(|port| port.scheduler.clone());
        let seen = json!({"service": service, "context": context, "prior": prior});
        Ok(Schedule::each(1, |_| Scheduling::scheduler("mh")).because(seen.to_string()))
    }
}

fn golden(needs: &[&str]) -> Golden {
    let golden = json!({
        "configuration": needs,
        "context": {
            "node": "n1", "seed": 1, "now": 1000, "default-scheduler": "rr", "host-addresses": ["192.0.2.1"],
            "nodes": [{"name": "n1", "labels": {"a": "1", "b": "2"}, "annotations": {"c": "3"}}]
        },
        "services": [{
            "namespace": "shop", "name": "web", "service-type": "ClusterIP",
            "labels": {"l": "1"}, "annotations": {"x/1": "1", "x/2": "2", "y": "3"},
            "namespace-labels": {"n": "1"}, "namespace-annotations": {"m": "1"},
            "slices": [{"name": "web-1", "labels": {"s": "1"}, "annotations": {"t": "1"}}],
            "ports": [{"port": 80, "endpoints-total": 1, "endpoints": [
                {"address": "10.0.0.1:80", "zone": "z", "node": "n1", "slice": "web-1", "ready-since": 9}
            ]}]
        }],
        "prior-schedules": [{"ports": [{"scheduler": "sh"}]}]
    });
    serde_json::from_value(golden).unwrap()
}

fn seen(needs: &[&str]) -> Value {
    let answers = golden(needs).schedule::<Witness>();
    serde_json::from_str(&answers[0].reason).unwrap()
}

#[test]
fn a_plugin_sees_nothing_that_it_did_not_declare() {
    let seen = seen(&[]);
    assert_eq!(seen["prior"], "sh");
    assert_eq!(seen["context"], json!({"node": "n1", "seed": 1, "default-scheduler": "rr"}));
    let port = json!({
        "name": "", "family": "ipv4", "protocol": "tcp", "port": 80, "vips": [], "endpoints-total": 1, "endpoints-local": 0
    });
    let service = json!({"namespace": "shop", "name": "web", "service-type": "ClusterIP", "ports": [port]});
    assert_eq!(seen["service"], service);
}

#[test]
fn each_need_opens_what_it_names() {
    let attribute = |need: &str, place: &str, expected: Value| {
        let seen = seen(&[need]);
        assert_eq!(seen.pointer(place), Some(&expected), "{need}");
    };
    attribute("annotation:x/*", "/service/annotations", json!({"x/1": "1", "x/2": "2"}));
    attribute("label:l", "/service/labels", json!({"l": "1"}));
    attribute("namespace-label:n", "/service/namespace-labels", json!({"n": "1"}));
    attribute("namespace-annotation:*", "/service/namespace-annotations", json!({"m": "1"}));
    attribute("slices", "/service/slices", json!([{"name": "web-1"}]));
    attribute("slice-label:s", "/service/slices/0/labels", json!({"s": "1"}));
    attribute("slice-annotation:t", "/service/slices/0/annotations", json!({"t": "1"}));
    attribute("nodes", "/context/nodes", json!([{"name": "n1"}]));
    attribute("node-label:a", "/context/nodes/0/labels", json!({"a": "1"}));
    attribute("node-annotation:c", "/context/nodes/0/annotations", json!({"c": "3"}));
    attribute("host-addresses", "/context/host-addresses", json!(["192.0.2.1"]));
    attribute("time", "/context/now", json!(1000));
    attribute("endpoints", "/service/ports/0/endpoints", json!([{"address": "10.0.0.1:80", "zone": "z"}]));
    let all = seen(&["endpoints", "nodes", "slices", "ready-since"]);
    let endpoint =
        json!({"address": "10.0.0.1:80", "zone": "z", "node": "n1", "slice": "web-1", "ready-since": 9});
    assert_eq!(all["service"]["ports"][0]["endpoints"], json!([endpoint]));
}

#[test]
#[should_panic(expected = "unknown need `pod-label:a`")]
fn a_need_that_weir_would_refuse_is_refused() {
    golden(&["pod-label:a"]).schedule::<Witness>();
}

#[test]
fn lines_of_the_log_can_be_looked_at() {
    let (_, lines) = logged(|| golden(&[]).schedule::<Witness>());
    let expected = (Level::Info, r#"asked service="web""#.to_owned());
    assert_eq!(lines, [expected.clone(), expected], "once in the batch, once alone");
}

/// Keeps state between calls, which it must not.
struct Moody;

thread_local! {
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

impl Plugin for Moody {
    const NAME: &'static str = "moody";
    const VERSION: &'static str = "1";

    fn configure(_: &str) -> Result<Moody, Vec<String>> {
        Ok(Moody)
    }

    fn needs(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Scheduler for Moody {
    fn schedule(&self, _: &Service, _: &Schedule, _: &Context) -> Result<Schedule, Error> {
        ASKED.set(ASKED.get() + 1);
        Ok(Schedule::keep().because(format!("question {}", ASKED.get())))
    }
}

#[test]
#[should_panic(expected = "the answer for shop/web depends on the other services in the call")]
fn an_answer_that_depends_on_the_batch_is_a_failure() {
    golden(&[]).schedule::<Moody>();
}

/// Returns the message of a failing test.
fn failure(run: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(run).unwrap_err();
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

const THREE: &str = r#"{
  "configuration": [],
  "context": {"node": "n1"},
  "services": [{"namespace": "shop", "name": "web", "ports": [{"port": 80}]}, {"namespace": "shop", "name": "db", "ports": []}],
  "schedules": [
    {"ports": [{"scheduler": "sh"}]}, {}
  ]
}
"#;

/// Chooses `mh` for everything.
struct Constant;

impl Plugin for Constant {
    const NAME: &'static str = "constant";
    const VERSION: &'static str = "1";

    fn configure(_: &str) -> Result<Constant, Vec<String>> {
        Ok(Constant)
    }

    fn needs(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Scheduler for Constant {
    fn schedule(&self, service: &Service, _: &Schedule, _: &Context) -> Result<Schedule, Error> {
        Ok(Schedule::each(service.ports.len(), |_| Scheduling::scheduler("mh")))
    }
}

#[test]
fn a_difference_is_reported_with_file_service_and_the_way_to_accept_it() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.json", "b.json"] {
        fs::write(folder.path().join(name), THREE).unwrap();
    }
    let path = folder.path().to_owned();
    let said = failure(move || crate::check_goldens!(path, Constant: scheduler));
    assert!(said.contains("a.json:") && said.contains("b.json:"), "every file is reported: {said}");
    let difference = "  shop/web, schedules[0]:\n    expected {\"ports\": [{\"scheduler\": \"sh\"}]}\n    answered \
                      {\"ports\": [{\"scheduler\": \"mh\"}]}\n";
    assert!(said.contains(difference) && said.contains("UPDATE_EXPECTED=1"), "{said}");
    assert!(!said.contains("shop/db"), "{said}");
}

#[test]
fn an_update_writes_the_answers_and_nothing_else() {
    let golden: Golden = serde_json::from_str(THREE).unwrap();
    let actual = Golden { schedules: Some(golden.schedule::<Constant>()), ..golden.clone() };
    let expected = THREE.replace(
        "{\"ports\": [{\"scheduler\": \"sh\"}]}, {}",
        "{\"ports\": [{\"scheduler\": \"mh\"}]},\n    {}",
    );
    assert_eq!(compare::updated(THREE.to_owned(), &golden, &actual), expected);
}

#[test]
fn answers_that_no_one_asks_for_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let text = THREE.replace("\"schedules\"", "\"verdicts\": [{}, {}], \"schedules\"");
    fs::write(folder.path().join("a.json"), text).unwrap();
    let path = folder.path().to_owned();
    let said = failure(move || crate::check_goldens!(path, Constant: scheduler));
    assert!(said.contains("name filter in check_goldens!"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_reported_with_its_line_and_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let said = |text: &str| {
        fs::write(folder.path().join("a.json"), text).unwrap();
        let path = folder.path().to_owned();
        failure(move || drop(goldens(&path)))
    };
    let port = r#"{"port": 80, "endpoints": [{"address": "10.0.1.4"}]}"#;
    let address = said(&THREE.replace(r#"{"port": 80}"#, port));
    assert!(address.contains("a.json:4:") && address.contains(r#""10.0.1.4:8080""#), "{address}");
    assert!(address.ends_with(r#"{"address": "10.0.1.4""#), "{address}");
    let field = said(&THREE.replace("\"node\"", "\"nod\""));
    assert!(field.contains("a.json:3:") && field.contains("`node`"), "{field}");
    let weights = said(&THREE.replace(r#"{"scheduler": "sh"}"#, r#"{"weights": [1, 2]}"#));
    assert!(weights.contains(r#"{"each": [3, 1]}"#), "{weights}");
    let kept = said(&THREE.replace(r#"{"scheduler": "sh"}"#, r#"{"weights": "same"}"#));
    assert!(kept.contains(r#"{"each": [3, 1]}"#), "{kept}");
}

#[test]
fn what_a_file_gives_and_the_plugin_does_not_see_is_remarked() {
    let remarks = golden(&[]).remarks(&["annotation:x/*".to_owned()]).join("\n");
    for word in ["annotation:y", "label:l", "endpoints", "nodes", "slices", "time", "host-addresses"] {
        assert!(remarks.contains(&format!("`{word}`")), "{word}: {remarks}");
    }
    assert!(!remarks.contains("annotation:x/1"), "{remarks}");
}

#[test]
fn a_file_that_contradicts_itself_is_remarked() {
    let mut golden = golden(&[]);
    let needs = ["endpoints", "nodes", "slices", "ready-since"].map(str::to_owned);
    golden.services[0].ports[0].endpoints_total = 7;
    golden.services[0].ports[0].endpoints[0].node = Some("n9".into());
    let remarks = golden.remarks(&needs).join("\n");
    assert!(remarks.contains("`endpoints-total` is 7, but the file has 1"), "{remarks}");
    assert!(remarks.contains("`n9`, which is not in `context.nodes`"), "{remarks}");
    golden.services[0].ports[0].endpoints[0].node = Some("n1".into());
    assert!(golden.remarks(&needs).join("\n").contains("`local` must be true, not false"));
}

#[test]
fn nodes_are_found_in_whatever_order_a_file_has_them() {
    let mut golden = golden(&["nodes"]);
    golden.context.nodes.insert(0, crate::Node { name: "z".to_owned(), ..crate::Node::default() });
    let context = golden.reduced(&["nodes".to_owned(), "endpoints".to_owned()]).context;
    assert!(context.node_of(&golden.services[0].ports[0].endpoints[0]).is_some_and(|node| node.name == "n1"));
}
