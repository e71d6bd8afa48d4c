//! A plugin that requests statistics: what is read for it, when, and what it does with them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use weir_core::objects::ObjectName;
use weir_core::planner::Planner;
use weir_core::policy::BuiltIn;
use weir_core::sampling::{Reading, Readings, Totals};
use weir_core::state::{RealServer, Weight};

use crate::lifecycle::account;
use crate::world::{chain, hear, planner, service};

const LOAD_AWARE: &str = "weir-plugin-load-aware";

/// A scale fine enough to show small differences.
fn fine() -> serde_json::Value {
    json!({"configuration": {"scale": 100, "period": "1s"}})
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(1_000_000_000 + millis)
}

/// Supplies a sample of a service: for each endpoint, active connections and total connections.
fn read(planner: &mut Planner, name: &str, counts: &[(u32, u64)], now: Duration) {
    let name = ObjectName::new("default", name);
    let due = planner.due_samples(now, usize::MAX);
    let (_, servers) = due.into_iter().find(|(due, _)| *due == name).expect("it is due");
    let reading = |(i, (active, connections)): (usize, &(u32, u64))| {
        let totals = Totals { connections: *connections, ..Totals::default() };
        let endpoint = SocketAddr::from(([10, 0, 1, i as u8 + 1], 8080));
        (endpoint, Reading { active: *active, weight: 1, totals, ..Reading::default() })
    };
    let readings: Readings = Some(counts.iter().enumerate().map(reading).collect());
    let servers: Vec<_> =
        servers.into_iter().map(|(port, server)| (port, server, readings.clone())).collect();
    assert_eq!(servers.len(), 1, "one virtual server");
    planner.sampled(&name, &servers, now);
}

fn weights(planner: &mut Planner, name: &str) -> (String, Vec<u16>) {
    let name = ObjectName::new("default", name);
    let explained = planner.explain(&name, at(0).as_secs()).unwrap();
    let server = explained.wants.servers.values().next().unwrap().server.clone();
    let weights: BTreeMap<RealServer, Weight> = server.real_servers;
    (server.scheduling.scheduler, weights.values().map(|weight| weight.0).collect())
}

#[test]
fn counts_become_weights_and_only_news_is_a_question() {
    let mut planner = planner(chain(LOAD_AWARE, fine()), 1);
    planner.plan_at(at(0).as_secs());
    assert_eq!(weights(&mut planner, "s0"), ("wrr".to_owned(), vec![100, 100]), "from the start");
    let asked = account(&planner).asked;
    read(&mut planner, "s0", &[(0, 500), (0, 500)], at(2000));
    read(&mut planner, "s0", &[(20, 1500), (40, 1500)], at(4000));
    planner.plan_at(at(4000).as_secs());
    assert_eq!(account(&planner).asked, asked + 1);
    // 40 ms and 80 ms; the slower one has half of the faster one's weight.
    assert_eq!(weights(&mut planner, "s0").1, [133, 67]);
    let explained = planner.explain(&ObjectName::new("default", "s0"), at(4000).as_secs()).unwrap();
    assert!(
        explained.decided.notes[0].reason.contains("10.0.1.2 takes 80 ms"),
        "{:?}",
        explained.decided.notes
    );
    let asked = account(&planner).asked;
    planner.plan_at(at(5000).as_secs());
    assert_eq!(account(&planner).asked, asked, "nothing was read in between");
}

#[test]
fn only_services_that_a_plugin_is_for_are_read() {
    let selected = json!({"select": {"labels": {"no": "such"}}});
    for (mut planner, why) in [
        (planner(chain(LOAD_AWARE, selected), 3), "not selected"),
        (planner(chain("weir-guest-identity", json!({})), 3), "not asked for"),
    ] {
        planner.plan_at(at(0).as_secs());
        assert_eq!((planner.sampler().services(), planner.sampler().next()), (0, None), "{why}");
    }
}

#[test]
fn sampling_ends_with_the_service_and_with_the_plugin() {
    let mut planner = planner(chain(LOAD_AWARE, json!({})), 3);
    planner.plan_at(at(0).as_secs());
    assert_eq!(planner.sampler().services(), 3);
    planner.apply(weir_core::cluster::Event::ServiceGone(ObjectName::new("default", "s1")));
    planner.plan_at(at(0).as_secs());
    assert_eq!(planner.sampler().services(), 2);
    planner.set_policy(Box::new(BuiltIn));
    planner.plan_at(at(0).as_secs());
    assert_eq!(planner.sampler().services(), 0);
}

/// A plugin that requests everything each second gets what there is time for, oldest first, and changes are
/// planned in between.
#[test]
fn a_plugin_that_wants_everything_at_once_is_served_in_small_parts() {
    let mut planner = planner(chain(LOAD_AWARE, fine()), 300);
    planner.plan_at(at(0).as_secs());
    assert_eq!(planner.due_samples(at(5000), 16).len(), 16);
    let first = planner.due_samples(at(5000), 16);
    for (name, _) in &first {
        planner.sampled(name, &[], at(5000));
    }
    let second = planner.due_samples(at(5000), 16);
    assert!(
        second.iter().all(|(name, _)| first.iter().all(|(other, _)| other != name)),
        "the other services have their turn"
    );
    hear(&mut planner, service("s7", &[], 1));
    planner.plan_at(at(5000).as_secs());
    assert_eq!(weights(&mut planner, "s7").1, [100]);
}

/// A plugin that requests everything each second and never answers costs each round at most its budget, and a
/// change that arrives at the same time is in the same round's plan.
#[test]
fn a_plugin_that_hangs_over_its_samples_costs_its_budget_and_no_more() {
    let limits = json!({"callTimeout": "20ms", "syncBudget": "100ms"});
    let more = json!({"configuration": "statistics-loop", "interfaces": ["scheduler"], "limits": limits});
    let mut planner = planner(chain("weir-guest-hostile", more), 300);
    planner.plan_at(at(0).as_secs());
    assert_eq!(planner.sampler().services(), 300);
    for second in 2..8 {
        let now = at(second * 1000);
        for i in 0..300 {
            if i != 7 {
                let name = format!("s{i}");
                read(&mut planner, &name, &[(1, second * 10), (1, second)], now);
            }
        }
        hear(&mut planner, service("s7", &[], second as u8));
        let before = account(&planner).calls;
        planner.plan_at(now.as_secs());
        let calls = account(&planner).calls - before;
        // Each call takes its 20 ms or more. Without the budget, the search for the services that hang takes 130 calls.
        assert!(calls <= 6, "round {second}: {calls} calls");
        assert_eq!(weights(&mut planner, "s7").1.len(), second as usize);
    }
}
