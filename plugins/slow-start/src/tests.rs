use weir_plugin_sdk::serde_json::{self, json};
use weir_plugin_sdk::{Weights, testing};

use super::*;

fn plugin(configuration: serde_json::Value) -> SlowStart {
    testing::plugin(&configuration)
}

#[test]
fn a_share_grows_from_the_least_to_the_whole() {
    let even = plugin(json!({"window": "100s", "min-percent": 5}));
    assert_eq!([0, 4, 5, 50, 99, 100, 1000].map(|age| even.share(age)), [50, 50, 50, 500, 990, 1000, 1000]);
    let eager = plugin(json!({"window": "100s", "min-percent": 1, "aggression": 2}));
    assert_eq!([0, 1, 25, 49, 81].map(|age| eager.share(age)), [10, 100, 500, 700, 900]);
}

#[test]
fn a_share_never_falls() {
    for aggression in 1..=10 {
        for window in ["1s", "7s", "60s", "24h"] {
            let plugin = plugin(json!({"window": window, "aggression": aggression}));
            let shares: Vec<u64> = (0..=100).map(|part| plugin.share(plugin.window * part / 100)).collect();
            assert!(shares.is_sorted(), "{window} {aggression}: {shares:?}");
            assert_eq!((shares[0], shares[100]), (100, 1000));
        }
    }
}

/// Weights of endpoints that became ready so many seconds ago; `None` = ready before weir first saw them.
fn weights(ages: &[Option<u64>]) -> (Schedule, Vec<u16>) {
    let endpoints: Vec<serde_json::Value> = ages
        .iter()
        .enumerate()
        .map(|(i, age)| {
            json!({
                "address": format!("10.0.{}.{}:80", i / 250, i % 250 + 1), "ready": true, "internal": true,
                "ready-since": age.map(|age| 10_000 - age)
            })
        })
        .collect();
    let service = json!({
        "namespace": "shop", "name": "web", "service-type": "ClusterIP", "ports": [{"port": 80, "endpoints": endpoints}]
    });
    let service: Service = serde_json::from_value(service).unwrap();
    let context = Context { now: Some(10_000), default_scheduler: "rr".to_owned(), ..Context::default() };
    let schedule = plugin(json!(null)).schedule(&service, &Schedule::keep(), &context).unwrap();
    let weights = match schedule.ports.first().map(|port| port.weights.clone()) {
        Some(Weights::Each(weights)) => weights,
        _ => Vec::new(),
    };
    (schedule, weights)
}

#[test]
fn newcomers_start_small_beside_others() {
    let (schedule, got) = weights(&[None, Some(0), Some(30), Some(90)]);
    assert_eq!(got, [10, 1, 5, 10]);
    assert_eq!(schedule.ports[0].scheduler.as_deref(), Some("wrr"));
    assert_eq!(
        (schedule.re_evaluate_after, schedule.reason.as_str()),
        (Some(6), "2 new endpoints get their share gradually")
    );
    let (schedule, _) = weights(&[None, Some(58)]);
    assert_eq!(schedule.re_evaluate_after, Some(2), "when its window ends");
}

#[test]
fn a_service_that_is_all_new_is_not_slowed() {
    for ages in [&[Some(0), Some(5)][..], &[], &[None], &[None, Some(60)]] {
        let scheduler = Schedule::each(1, |_| Scheduling::scheduler("wrr"));
        assert_eq!(weights(ages).0, scheduler, "{ages:?}: no weights, and already the later scheduler");
    }
}

#[test]
fn a_clock_that_goes_back_makes_an_endpoint_new() {
    let service = json!({"ports": [{"port": 80, "endpoints": [
        {"address": "10.0.0.1:80", "ready": true, "internal": true},
        {"address": "10.0.0.2:80", "ready": true, "internal": true, "ready-since": 5000}
    ]}]});
    let service: Service = serde_json::from_value(service).unwrap();
    let context = Context { now: Some(1), ..Context::default() };
    let schedule = plugin(json!(null)).schedule(&service, &Schedule::keep(), &context).unwrap();
    assert_eq!(schedule.ports[0].weights, Weights::Each(vec![10, 1]));
}

#[test]
fn thousands_of_endpoints_are_no_matter() {
    let mut ages = vec![None; 10_000];
    ages[9_999] = Some(1);
    let (_, got) = weights(&ages);
    assert_eq!((got.len(), got[0], got[9_999]), (10_000, 10, 1));
}

#[test]
fn every_mistake_of_a_configuration_is_named() {
    let refusals = testing::refusals::<SlowStart>(
        &json!({"window": "0s", "aggression": 11, "min-percent": 0, "minimum": 1}),
    );
    let expected = [
        "window is 0 s: write a time from 1s to 24h",
        "aggression is 11: write a whole number from 1 to 10",
        "min-percent is 0: write a whole number from 1 to 100",
        "minimum is an unknown field: use one of window, aggression, min-percent",
    ];
    assert_eq!(refusals, expected);
}
