use std::net::SocketAddr;

use weir_core::state::{SchedulerFlags, Scheduling};

use super::*;
use crate::load::loads;
use crate::traffic::Traffic;
use crate::weights::{Arrangement, Fixed};

fn fixed(scheduler: &str, weights: &[u16]) -> Fixed {
    let scheduling =
        Scheduling { scheduler: scheduler.into(), flags: SchedulerFlags::default(), persistence: None };
    Fixed(Arrangement { scheduling, weights: weights.iter().map(|weight| Some(*weight)).collect() })
}

fn load(head: &str, rate: &str, count: u8, endpoints: &str) -> Load {
    let text = format!("{head}\nservices: [{{service: a/b, loads: [{rate}], endpoints: [{endpoints}]}}]");
    let traffic = Traffic::parse(&text).unwrap();
    let addresses: Vec<SocketAddr> = (1..=count).map(|i| SocketAddr::from(([10, 0, 0, i], 80))).collect();
    loads(&traffic, &traffic.services[0], &addresses).unwrap().remove(0)
}

fn played(load: &Load, policy: &mut dyn Weights) -> Outcome {
    play(load, policy, 1).unwrap()
}

#[test]
fn one_worker_waits_as_theory_says() {
    // M/M/1 at 50 %: the time in the system is exponential with a mean of twice the processing time, so half of the
    // connections take less than 2 × ln 2 of it, and one in a hundred more than 2 × ln 100.
    let outcome = played(&load("duration: 3h", "50%", 1, "{time: 100ms}"), &mut fixed("rr", &[1]));
    let near = |part: f64, expected: f64| {
        let value = outcome.percentile(part).unwrap();
        assert!((value / expected - 1.0).abs() < 0.05, "p{part}: {value} instead of {expected}");
    };
    near(0.5, 200.0 * 2f64.ln());
    near(0.99, 200.0 * 100f64.ln());
}

#[test]
fn what_waits_at_the_end_counts_with_its_age() {
    let slow = load("warm-up: 0s\nduration: 100s", "10/s", 1, "{time: 1s, distribution: constant}");
    let outcome = played(&slow, &mut fixed("rr", &[1]));
    let all: u64 = outcome.connections.iter().sum();
    assert_eq!(outcome.latencies.len() as u64, all);
    // A hundred are answered; most of the thousand wait.
    assert!(outcome.percentile(0.99).unwrap() > 80_000.0);
}

#[test]
fn the_warm_up_is_not_measured() {
    let bad_start = "{time: 10ms, refuses: true, changes: [{at: 30s, refuses: false}]}";
    let outcome = played(&load("warm-up: 40s", "50/s", 2, bad_start), &mut fixed("rr", &[1, 1]));
    assert_eq!(outcome.failed, 0);
    let all: u64 = outcome.connections.iter().sum();
    assert!((2700..3300).contains(&all), "a minute at 50 per second: {all}");
}

#[test]
fn full_queues_and_refusing_endpoints_fail_connections() {
    let outcome = played(&load("", "200%", 1, "{time: 1s, queue: 2}"), &mut fixed("rr", &[1]));
    let all: u64 = outcome.connections.iter().sum();
    assert!(outcome.failed > all / 4 && outcome.failed < all, "{} of {all}", outcome.failed);
    assert!(outcome.percentile(0.99).unwrap() < 12_000.0);
    let half = load("", "20/s", 2, "{addresses: [10.0.0.1], time: 1ms, refuses: true}, {time: 1ms}");
    let outcome = played(&half, &mut fixed("rr", &[1, 1]));
    assert_eq!(outcome.failed, outcome.connections[0]);
    let outcome = played(&half, &mut fixed("rr", &[0, 0]));
    assert!(outcome.failed > 1000 && outcome.latencies.is_empty());
    assert_eq!(outcome.percentile(0.5), None);
}

#[test]
fn the_same_seed_gives_the_same_and_policies_get_the_same_connections() {
    let load = load("client-nodes: 3", "75%", 3, "{time: 20ms}");
    let one = played(&load, &mut fixed("rr", &[1, 1, 1]));
    assert_eq!(one, played(&load, &mut fixed("rr", &[1, 1, 1])));
    assert_ne!(one.latencies, play(&load, &mut fixed("rr", &[1, 1, 1]), 2).unwrap().latencies);
    let other = played(&load, &mut fixed("wlc", &[1, 2, 3]));
    let all = |outcome: &Outcome| outcome.connections.iter().sum::<u64>();
    assert_eq!(all(&one), all(&other));
}

#[test]
fn a_policy_that_fails_and_an_unknown_scheduler_are_errors() {
    let load = load("", "75%", 1, "{time: 20ms}");
    assert!(matches!(play(&load, &mut fixed("fo", &[1]), 1), Err(PlayError::Scheduler(_))));
    struct Failing;
    impl Weights for Failing {
        fn arrange(
            &mut self,
            _: usize,
            _: Duration,
            _: &[Option<crate::weights::Seen>],
        ) -> Result<Arrangement, String> {
            Err("no plan".to_owned())
        }
    }
    assert_eq!(play(&load, &mut Failing, 1), Err(PlayError::Policy("no plan".to_owned())));
}
