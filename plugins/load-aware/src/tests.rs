use weir_plugin_sdk::serde_json::{self, Value, json};
use weir_plugin_sdk::{Weights, testing};

use super::*;

fn plugin(configuration: Value) -> LoadAware {
    testing::plugin(&configuration)
}

/// A service whose endpoints have (milliseconds per connection, recent new connections, weight in the kernel).
fn service(counts: &[(u64, u64, u32)]) -> Service {
    let endpoints: Vec<Value> = (0..counts.len())
        .map(|i| json!({"address": format!("10.0.1.{}:80", i + 1), "ready": true, "internal": true}))
        .collect();
    let statistics: Vec<Value> = counts
        .iter()
        .map(|(millis, begun, weight)| {
            json!({
                "since": 1_700_000_000, "weight": weight, "recent-connections": begun * 1000,
                "recent-active-time": begun * millis
            })
        })
        .collect();
    let port = json!({"port": 80, "endpoints": endpoints, "statistics": statistics});
    serde_json::from_value(json!({"namespace": "shop", "name": "web", "ports": [port]})).unwrap()
}

/// Uses a fine scale, so that the formula's result is visible.
fn ask(mut configuration: Value, service: &Service, prior: &Schedule) -> Schedule {
    if configuration.is_null() {
        configuration = json!({});
    }
    if configuration.get("scale").is_none() {
        configuration["scale"] = json!(100);
    }
    let context = Context { default_scheduler: "rr".to_owned(), ..Context::default() };
    plugin(configuration).schedule(service, prior, &context).unwrap()
}

fn weights(schedule: &Schedule) -> Vec<u16> {
    match schedule.ports.first().map(|port| port.weights.clone()) {
        Some(Weights::Each(weights)) => weights,
        _ => Vec::new(),
    }
}

fn weighted(counts: &[(u64, u64, u32)]) -> Vec<u16> {
    weights(&ask(json!({"prior-connections": 1}), &service(counts), &Schedule::keep()))
}

#[test]
fn weights_are_small_by_default() {
    let counts = [(20, 1000, 4), (20, 1000, 4), (40, 1000, 4), (40, 1000, 4)];
    let answer = |counts: &[(u64, u64, u32)]| {
        let context = Context { default_scheduler: "rr".to_owned(), ..Context::default() };
        let answer = plugin(json!(null)).schedule(&service(counts), &Schedule::keep(), &context);
        weights(&answer.unwrap())
    };
    assert_eq!(answer(&counts), [5, 5, 3, 3]);
    // 5.3 is near 5.
    let near = counts.map(|(time, begun, _)| (time, begun, 5));
    assert_eq!(answer(&near)[0], 5);
}

#[test]
fn half_the_speed_is_half_the_weight() {
    let mut counts = vec![(20, 10_000, 0); 20];
    counts[3].0 = 41;
    let answer = ask(json!(null), &service(&counts), &Schedule::keep());
    let weights = weights(&answer);
    assert_eq!((weights[3], weights[0]), (50, 103));
    assert_eq!(answer.ports[0].scheduler.as_deref(), Some("wrr"));
    assert_eq!(answer.reason, "endpoint 10.0.1.4 takes 41 ms, the other endpoints 20 ms: weight 50");
}

#[test]
fn little_traffic_moves_little_and_less_than_that_nothing() {
    // Five times the usual time, measured over 1 to 1000 connections; the kernel already has other weights.
    let of = |begun| {
        let counts = [(2000, 1000, 100), (2000, 1000, 100), (2000, 1000, 100), (10_000, begun, 99)];
        weights(&ask(json!(null), &service(&counts), &Schedule::keep()))[3]
    };
    assert_eq!((of(1), of(3), of(10), of(1000)), (57, 40, 30, 25));
    let answer = ask(json!(null), &service(&[(20, 9, 0), (400, 10, 0)]), &Schedule::keep());
    assert_eq!(weights(&answer), [100, 100]);
    assert_eq!(answer.reason, "recent connections: 19, but weights need at least 20");
}

#[test]
fn what_fails_at_once_is_capped_and_what_hangs_keeps_a_floor() {
    let fast = weighted(&[(20, 1000, 0), (20, 1000, 0), (20, 1000, 0), (20, 1000, 0), (1, 1000, 0)]);
    assert_eq!((fast[0], fast[4]), (91, 136));
    let slow = weighted(&[(20, 1000, 0), (20, 1000, 0), (20, 1000, 0), (90_000, 1000, 0)]);
    assert_eq!((slow[0], slow[3]), (131, 7));
}

/// Every tenth endpoint takes twice as long. Among few connections that may be chance.
#[test]
fn chance_moves_no_weight_and_what_is_known_is_not_forgotten_at_once() {
    let answer = |begun, present| {
        let mut counts = vec![(200, begun, present); 9];
        counts.push((400, begun, 100));
        ask(json!(null), &service(&counts), &Schedule::keep())
    };
    assert_eq!(weights(&answer(50, 100)), [100; 10]);
    assert_eq!(answer(50, 100).reason, "connections take 220 ms, and endpoints differ only by chance");
    assert_ne!(weights(&answer(500, 100)), [100; 10], "with many connections it is not chance");
    assert_ne!(weights(&answer(50, 110)), [100; 10], "different weights stay while the times differ");
    assert_eq!(weights(&answer(5, 110)), [100; 10], "and become equal when they do not");
    // Rare samples see few of the connections.
    let often = |period| {
        let mut counts = vec![(200, 500, 100); 9];
        counts.push((400, 500, 100));
        weights(&ask(json!({"period": period}), &service(&counts), &Schedule::keep()))
    };
    assert_ne!(often("1s"), [100; 10]);
    assert_eq!(often("20s"), [100; 10]);
}

#[test]
fn a_weight_that_is_near_stays() {
    // 103 and 50 are computed.
    let mut counts = vec![(20, 1000, 94); 20];
    counts[3] = (41, 1000, 46);
    let near = weights(&ask(json!(null), &service(&counts), &Schedule::keep()));
    assert_eq!((near[0], near[3]), (94, 46));
    counts[0].2 = 93;
    counts[3].2 = 45;
    let far = weights(&ask(json!(null), &service(&counts), &Schedule::keep()));
    assert_eq!((far[0], far[3], far[1]), (103, 50, 94));
}

#[test]
fn what_earlier_plugins_said_is_multiplied() {
    let prior = Schedule::each(1, |_| Scheduling::weights(vec![3, 1, 0]));
    let equal = ask(json!(null), &service(&[(20, 1000, 0), (20, 1000, 0), (20, 1000, 0)]), &prior);
    assert_eq!(weights(&equal), [150, 50, 0]);
    let slow = ask(json!(null), &service(&[(20, 3000, 0), (40, 1000, 0), (1, 9, 0)]), &prior);
    assert_eq!(weights(&slow), [200, 33, 0]);
}

/// As from slow-start and node-weights.
#[test]
fn small_weights_of_earlier_plugins_are_not_rounded_up() {
    let answer = |before: &[u16]| {
        let prior = Schedule::each(1, |_| Scheduling::weights(before.to_vec()));
        weights(&ask(json!({"scale": 4}), &service(&vec![(20, 1000, 0); before.len()]), &prior))
    };
    assert_eq!(answer(&[100, 100, 100, 100]), [4, 4, 4, 4]);
    assert_eq!(answer(&[100, 100, 100, 50]), [5, 5, 5, 2]);
    assert_eq!(answer(&[100, 100, 100, 10]), [10, 10, 10, 1]);
    assert_eq!(answer(&[99, 1]), [127, 1]);
    assert_eq!(answer(&[65_535, 1]), [65_535, 1]);
    assert_eq!(answer(&[0, 0]), [0, 0]);
}

#[test]
fn numbers_tell_what_was_found_and_moved() {
    // The mean is 21 ms; the kernel already has the computed weight of the third endpoint.
    let mut counts = [(20, 1000, 1), (20, 1000, 1), (20, 1000, 111), (60, 100, 1)];
    let told = |counts: &[(u64, u64, u32)]| ask(json!(null), &service(counts), &Schedule::keep()).metrics;
    assert_eq!(told(&counts), [1, 1, 277, 3]);
    counts[3].0 = 30;
    assert_eq!(told(&counts)[..3], [0, 0, 146]);
    assert_eq!(told(&[(20, 9, 100), (400, 10, 100)]), [0; 0]);
}

#[test]
fn what_cannot_be_reported_or_must_not_move_is_left_alone_with_a_reason() {
    let reason = |service: &Service, prior: &Schedule| {
        let answer = ask(json!(null), service, prior);
        assert_eq!(answer.ports, []);
        answer.reason
    };
    let counts = [(20, 1000, 0), (41, 1000, 0)];
    for (protocol, word) in [(Protocol::Udp, "UDP"), (Protocol::Sctp, "SCTP")] {
        let mut other = service(&counts);
        other.ports[0].protocol = protocol;
        assert!(reason(&other, &Schedule::keep()).contains(word));
    }
    let affine = Service { affinity_seconds: Some(10_800), ..service(&counts) };
    assert!(reason(&affine, &Schedule::keep()).contains("affinity"));
    let released =
        Schedule::each(1, |_| Scheduling { persistence: Persistence::Off, ..Scheduling::default() });
    assert_eq!(weights(&ask(json!(null), &affine, &released)).len(), 2);
    let hashed = Schedule::each(1, |_| Scheduling::scheduler("mh"));
    assert!(reason(&service(&counts), &hashed).contains("its scheduler is mh"));
    let free = Schedule::each(1, |_| Scheduling::scheduler("lc"));
    assert_eq!(ask(json!(null), &service(&counts), &free).ports[0].scheduler.as_deref(), Some("wrr"));
}

#[test]
fn a_service_says_whether_it_wants_this() {
    let mut annotated = service(&[(20, 1000, 0), (41, 1000, 0)]);
    let mut said = |value: &str| {
        annotated.annotations.insert(ANNOTATION.to_owned(), value.to_owned());
        (
            ask(json!(null), &annotated, &Schedule::keep()),
            ask(json!({"default": false}), &annotated, &Schedule::keep()),
        )
    };
    let (on, on_too) = said("true");
    assert_eq!((weights(&on).len(), weights(&on_too).len()), (2, 2));
    let (off, _) = said("false");
    assert_eq!(off, Schedule::keep());
    let (wrong, _) = said("perhaps");
    assert!(wrong.ports.is_empty() && wrong.reason.contains("write `true` or `false`"), "{}", wrong.reason);
    let plain = service(&[(20, 1000, 0), (41, 1000, 0)]);
    assert_eq!(ask(json!({"default": false}), &plain, &Schedule::keep()), Schedule::keep());
}

#[test]
fn before_the_first_sample_and_without_endpoints_it_has_an_answer() {
    let mut fresh = service(&[(0, 0, 0), (0, 0, 0)]);
    fresh.ports[0].statistics.clear();
    assert_eq!(weights(&ask(json!(null), &fresh, &Schedule::keep())), [100, 100]);
    let empty = ask(json!(null), &service(&[]), &Schedule::keep());
    assert_eq!((weights(&empty).len(), empty.reason.as_str()), (0, ""));
}

#[test]
fn the_configuration_names_its_mistakes() {
    let wrong =
        json!({"period": "2m", "memory": "1s", "cap-percent": 50, "dead-band-percent": 90}).to_string();
    let mistakes = LoadAware::configure(&wrong).unwrap_err();
    assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    let needs = plugin(json!({"period": "5s", "memory": "1m"})).needs();
    assert!(needs.contains(&"statistics:5s/60s".to_owned()), "{needs:?}");
}
