use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::load::loads;
use crate::traffic::Traffic;

fn played(policy: &str, rate: &str) -> Played {
    let text = format!(
        "seeds: [1, 2, 3]\nclient-nodes: 5\nservices: [{{service: a/b, loads: [{rate}], endpoints: [{{time: 1s}}]}}]"
    );
    let traffic = Traffic::parse(&text).unwrap();
    let addresses: Vec<SocketAddr> = (1..=2).map(|i| SocketAddr::from(([10, 0, 0, i], 80))).collect();
    let load = loads(&traffic, &traffic.services[0], &addresses).unwrap().remove(0);
    let outcome = |seed: u64| Outcome {
        seed,
        latencies: (1..=1000).map(|i| i * 1_000_000 * seed).collect(),
        failed: seed,
        connections: vec![750, 250],
        timeline: vec![
            Slice {
                until: Duration::from_secs(1),
                weights: vec![Some(100.0), Some(100.0)],
                connections: vec![1, 1],
                p99: Some(9.0),
            },
            Slice {
                until: Duration::from_secs(2),
                weights: vec![Some(150.4), None],
                connections: vec![3, 1],
                p99: None,
            },
        ],
    };
    Played { policy: policy.to_owned(), load, outcomes: vec![outcome(1), outcome(2), outcome(3)] }
}

#[test]
fn text_has_the_median_of_all_seeds() {
    let text = text(&[played("rr", "50%"), played("x", "50%"), played("rr", "75%"), played("x", "75%")]);
    assert!(
        text.starts_with("a/b: 2 endpoints, 5 client nodes, 1m0s after 1m0s of warm-up, 3 seeds\n"),
        "{text}"
    );
    let row: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row, ["50%", "rr", "1002", "1982", "2000", "2", "50.0%"]);
    assert!(text.contains("at a load of 75%\n") && !text.contains("at a load of 50%"), "{text}");
    let row: Vec<&str> =
        text.lines().last().map_or("", |_| text.lines().rev().nth(1).unwrap()).split_whitespace().collect();
    assert_eq!(row, ["2s", "-", "150", "-"]);
}

#[test]
fn json_lines_have_the_documented_fields() {
    let lines = json_lines(&[played("rr", "50%")]);
    assert_eq!(lines.lines().count(), 3);
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    for (field, expected) in [
        ("policy", json!("rr")),
        ("service", json!("a/b")),
        ("load", json!("50%")),
        ("seed", json!(1)),
        ("p50_ms", json!(501.0)),
        ("p99_ms", json!(991.0)),
        ("p999_ms", json!(1000.0)),
        ("failed", json!(1)),
        ("spread", json!(50.0)),
        ("share", json!({"10.0.0.1:80": 75.0, "10.0.0.2:80": 25.0})),
    ] {
        assert_eq!(line[field], expected, "{field}");
    }
    let point = &line["timeline"][1];
    assert_eq!((&point["until_s"], &point["p99_ms"]), (&json!(2.0), &Value::Null));
    assert_eq!(point["weight"], json!({"10.0.0.1:80": 150.4, "10.0.0.2:80": null}));
}

#[test]
fn svg_has_a_panel_for_latency_and_one_for_moving_weights() {
    let one = svg(&[played("rr", "50%")]).unwrap();
    assert!(one.starts_with("<svg ") && one.contains("a/b: p99 over time"), "{one}");
    let more = svg(&[played("rr", "50%"), played("rr", "75%")]).unwrap();
    assert!(more.contains("a/b: p99 against load"));
    assert!(more.contains("a/b: weights with rr at a load of 75%"));
    assert!(more.contains("a/b: shares with rr at a load of 75%"));
    assert_eq!(more, svg(&[played("rr", "50%"), played("rr", "75%")]).unwrap());
}

#[test]
fn nothing_answered_can_be_reported() {
    let mut nothing = played("rr", "50%");
    for outcome in &mut nothing.outcomes {
        *outcome = Outcome::new(2, outcome.seed);
    }
    assert!(text(&[nothing.clone()]).contains(" - "));
    assert!(json_lines(&[nothing.clone()]).contains("\"p99_ms\":null"));
    svg(&[nothing]).unwrap();
}
