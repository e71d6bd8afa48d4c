//! Misbehaving guests: each has its documented outcome, and nothing else is affected.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_core::cluster::Event;
use weir_core::objects::ObjectName;
use weir_core::planner::{Plan, Planner};
use weir_core::policy::BuiltIn;
use weir_core::report::Reason;
use weir_policy::{Chain, Condition, status};

use crate::lifecycle::account;
use crate::world::{NODE, ample, chain, configuration, hear, load, planner, refusal, service};

const HOSTILE: &str = "weir-guest-hostile";

fn plan(behaviour: &str, services: u32) -> Plan {
    let limits = if behaviour.ends_with("loop") {
        json!({"callTimeout": "100ms", "syncBudget": "500ms"})
    } else {
        ample()
    };
    planner(chain(HOSTILE, json!({"configuration": behaviour, "limits": limits})), services).plan()
}

fn built_in(services: u32) -> Plan {
    planner(BuiltIn, services).plan()
}

/// The reported failures, one per service.
fn failures(plan: &Plan) -> Vec<&str> {
    let failed = plan.reports.iter().filter(|report| report.reason == Reason::PolicyFailed);
    failed.map(|report| report.message.as_str()).collect()
}

/// A guest that fails on every question changes nothing, and each service gets the reason.
fn changes_nothing(behaviour: &str, word: &str) {
    let plan = plan(behaviour, 3);
    assert_eq!(plan.state, built_in(3).state, "{behaviour}");
    let said = failures(&plan);
    assert_eq!(said.len(), 3, "{behaviour}: {said:?}");
    assert!(said.iter().all(|text| text.contains(word)), "{behaviour}: {said:?}");
}

#[test]
fn guests_that_never_answer_are_stopped() {
    let start = Instant::now();
    changes_nothing("loop", "time");
    // A bound to catch hangs, not to measure speed: the budget of a round is half a second.
    assert!(start.elapsed() < Duration::from_secs(60));
    changes_nothing("recurse", "trapped");
    changes_nothing("memory", "limits.memory");
}

#[test]
fn every_interface_is_a_place_to_misbehave() {
    for interface in ["filter", "treat"] {
        for (behaviour, said) in [
            ("loop", "time"),
            ("recurse", "trapped"),
            ("memory", "limits.memory"),
            ("trap", "trapped"),
            ("panic", "trapped"),
            ("exit", "exit(1)"),
            ("file", "no file"),
            ("invalid", r"odd\u{1b}[31m service"),
            ("permanent", "never"),
        ] {
            changes_nothing(&format!("{interface}-{behaviour}"), said);
        }
    }
}

#[test]
fn an_answer_counts_if_it_comes_in_time_and_not_if_it_is_a_little_late() {
    let with = |limit: &str| {
        let limits = json!({"callTimeout": limit, "syncBudget": "10s", "memory": "64Mi"});
        let more = json!({"configuration": "slow", "interfaces": ["scheduler"], "limits": limits});
        planner(chain(HOSTILE, more), 1)
    };
    let mut in_time = with("5s");
    in_time.plan();
    let cost = account(&in_time);
    assert_eq!((cost.calls, cost.failures.len()), (1, 0), "{cost:?}");
    // The same amount of work, with a tenth of the time that it took.
    let mut late = with(&format!("{}ms", (cost.time.as_millis() / 10).max(1)));
    let plan = late.plan();
    assert_eq!(plan.state, built_in(1).state);
    assert_eq!(account(&late).failures["deadline"], 1);
    assert!(failures(&plan)[0].contains("limits.callTimeout"));
}

#[test]
fn guests_that_trap_are_distinguished_from_those_that_give_up() {
    changes_nothing("trap", "trapped");
    changes_nothing("panic", "trapped");
    changes_nothing("exit", "exit(1)");
}

#[test]
fn answers_that_are_invalid_are_refused() {
    changes_nothing("few", "answers for");
    changes_nothing("many", "answers for");
    changes_nothing("huge", "trapped");
    changes_nothing("few-ports", "3 ports, but the service has 1");
    changes_nothing("wrong-weights", "9 weights for the 2 endpoints");
    changes_nothing("unknown-flag", "`turbo`");
    changes_nothing("group", "reserved");
    changes_nothing("extra", "`future`");
    changes_nothing("drain", "`explode`");
    changes_nothing("filter-nonsense", "index 9 of the port with index 9");
    changes_nothing("filter-action", "`perhaps`");
    changes_nothing("treat-nonsense", "`sometimes`");
    changes_nothing("treat-address", "requires a source");
}

#[test]
fn errors_of_the_contract_have_their_outcomes() {
    changes_nothing("invalid", r"odd\u{1b}[31m service");
    changes_nothing("transient", "later");
    changes_nothing("permanent", "never");
    changes_nothing("file", "no file");
    // The clock stands still, so that an answer cannot depend on it.
    changes_nothing("time", "the clock says Ok(0)");
}

#[test]
fn unwise_answers_are_clamped() {
    for behaviour in ["unknown-scheduler", "long-scheduler", "zero-weights", "filter-drop-all"] {
        // Schedulers are checked against the kernel's, where those are known.
        let mut planner = planner(chain(HOSTILE, json!({"configuration": behaviour})), 3);
        let mut node = planner.node().clone();
        node.capabilities.schedulers = Some(["rr", "wrr", "mh"].map(str::to_owned).into());
        planner.set_node(node);
        let plan = planner.plan();
        assert_eq!(plan.state.virtual_servers, built_in(3).state.virtual_servers, "{behaviour}");
        let clamped = plan.reports.iter().filter(|report| report.reason == Reason::DecisionClamped);
        assert_eq!(clamped.count(), 3, "{behaviour}: {:?}", plan.reports);
        assert!(plan.reports.iter().all(|report| report.message.len() < 600), "{behaviour}");
    }
}

#[test]
fn a_filter_cannot_take_the_api_server_away() {
    let mut planner = planner(chain(HOSTILE, json!({"configuration": "filter-everything"})), 2);
    hear(&mut planner, service("kubernetes", &[], 1));
    let plan = planner.plan();
    assert_eq!(plan.state.virtual_servers.len(), 1);
    let ignored: Vec<_> = plan.reports.iter().filter(|r| r.reason == Reason::ServiceIgnored).collect();
    assert_eq!(ignored.len(), 2);
    assert!(ignored.iter().all(|report| report.message == r"go away\u{7}"), "{ignored:?}");
}

#[test]
fn a_poisonous_service_is_found_and_the_others_are_decided() {
    let mut planner =
        planner(chain(HOSTILE, json!({"configuration": "trap s77", "interfaces": ["scheduler"]})), 300);
    let plan = planner.plan();
    let decided = plan.state.virtual_servers.values().filter(|how| how.scheduling.scheduler == "wrr").count();
    assert_eq!(decided, 299);
    assert_eq!(failures(&plan).len(), 1);
    let cost = account(&planner);
    // One batch is one call; the other, of 44 services, is halved down to one, at two calls per step.
    assert_eq!((cost.calls, cost.failures["trap"]), (12, 6));
    // It is not called again until something changes.
    hear(&mut planner, service("s77", &[("not", "needed")], 2));
    assert_eq!(failures(&planner.plan()).len(), 1);
    assert_eq!(account(&planner).calls, 12);
    assert_eq!(status(&planner, 0)[0].condition, Condition::Ready);
}

#[test]
fn a_plugin_that_fails_all_the_time_is_left_alone_for_a_while() {
    let mut planner =
        planner(chain(HOSTILE, json!({"configuration": "trap", "interfaces": ["scheduler"]})), 600);
    planner.plan_at(1000);
    let first = account(&planner).calls;
    let Condition::Suspended(until) = status(&planner, 1000)[0].condition else { panic!("it is asked on") };
    hear(&mut planner, service("new", &[], 1));
    planner.plan_at(1000);
    assert_eq!(account(&planner).calls, first);
    hear(&mut planner, service("newer", &[], 1));
    planner.plan_at(until);
    assert!(account(&planner).calls > first);
    // After enough attempts it is given up.
    let mut now = until;
    for i in 0..40 {
        now += 100;
        hear(&mut planner, service(&format!("n{i}"), &[], 1));
        hear(&mut planner, service(&format!("m{i}"), &[], 1));
        planner.plan_at(now);
    }
    assert_eq!(status(&planner, now)[0].condition, Condition::GivenUp);
}

#[test]
fn a_failed_plugin_leaves_its_last_good_answer() {
    let good = load(HOSTILE, json!({"configuration": "good"})).unwrap();
    let mut planner = planner(Chain::new(vec![good], NODE), 3);
    let before = planner.plan();
    assert!(before.state.virtual_servers.values().all(|how| how.scheduling.scheduler == "wrr"));
    let mut broken = chain(HOSTILE, json!({"configuration": "trap"}));
    broken.inherit(planner.policy::<Chain>().unwrap().clone(), &[], &["plugin".to_owned()]);
    planner.set_policy(Box::new(broken));
    let after = planner.plan();
    assert_eq!(after.state, before.state);
    assert!(failures(&after).iter().all(|text| text.contains("last good answer")));
}

#[test]
fn failure_policies_differ() {
    let with = |policy: &str| {
        let more = json!({"configuration": "trap s1", "failurePolicy": policy});
        planner(chain(HOSTILE, more), 3).plan()
    };
    assert_eq!(with("Default").state.virtual_servers.len(), 3);
    let skipped = with("SkipService");
    assert_eq!(skipped.state.virtual_servers.len(), 2);
    assert!(skipped.reports.iter().any(|report| report.reason == Reason::ServiceIgnored));
}

#[test]
fn other_plugins_are_not_concerned() {
    let bad = load(HOSTILE, json!({"name": "bad", "configuration": "memory"})).unwrap();
    let good = load(HOSTILE, json!({"name": "good", "configuration": "good"})).unwrap();
    let plan = planner(Chain::new(vec![bad, good], NODE), 3).plan();
    assert!(plan.state.virtual_servers.values().all(|how| how.scheduling.scheduler == "wrr"));
    assert_eq!(failures(&plan).len(), 3);
}

#[test]
fn a_flood_of_words_is_cut() {
    let mut planner =
        planner(chain(HOSTILE, json!({"configuration": "flood", "interfaces": ["scheduler"]})), 3);
    let plan = planner.plan();
    assert_eq!(failures(&plan), [""; 0]);
    assert!(account(&planner).dropped_lines >= 3_900, "{:?}", account(&planner));
    assert!(account(&planner).peak_memory < 4 << 20);
}

#[test]
fn a_plugin_that_lies_about_what_it_reads_is_found_out() {
    let mut planner =
        planner(chain(HOSTILE, json!({"configuration": "impure", "interfaces": ["scheduler"]})), 8);
    planner.plan();
    let reports = planner.audit_policy(8, 0);
    assert!(!reports.is_empty() && reports.iter().all(|report| report.reason == Reason::PolicyImpure));
    let calls = account(&planner).calls;
    hear(&mut planner, service("s1", &[("not", "needed")], 2));
    planner.plan();
    assert_eq!(account(&planner).calls, calls + 1, "its answers are no longer remembered");
}

#[test]
fn what_a_plugin_may_not_be_is_found_when_it_is_loaded() {
    let said = |behaviour: &str| refusal(HOSTILE, json!({"configuration": behaviour}));
    assert!(said("refuse").contains("first reason; second reason"));
    assert!(said("configure-trap").contains("configured: it trapped"));
    assert!(said("describe-trap").contains("it trapped"));
    assert!(said("describe-memory").contains("limits.memory"));
    assert!(said("needs-unknown").contains("`wallet`"));
    assert!(said("needs-statistics").contains("The period is 1s to 60s"));
    assert_eq!(said("metrics-many"), "it declares 10000 metrics, but weir exports at most 8 per plugin");
    assert!(said("metrics-kind").contains("`summary`; use `sum`, `max` or `counter`"));
    let names = said("metrics-names");
    assert!(
        names.len() < 2_000 && names.matches("a name starts with a lower-case letter").count() == 5,
        "{names}"
    );
    assert!(!names.contains('\n') && names.ends_with("it declares the metric `ok` twice"), "{names}");
    assert!(refusal("weir-guest-identity", json!({"limits": {"memory": "1Mi"}})).contains("limits.memory"));
}

/// Numbers of any size are accepted; undeclared or missing ones make an answer void.
#[test]
fn numbers_are_those_that_were_declared() {
    let asked = |behaviour: &str| {
        let more = json!({"configuration": behaviour, "interfaces": ["scheduler"]});
        let mut planner = planner(chain(HOSTILE, more), 3);
        (failures(&planner.plan()).len(), planner)
    };
    let totals = |planner: &Planner| status(planner, 0)[0].totals.clone();
    let (failed, mut good) = asked("metrics");
    let largest = u128::from(u64::MAX);
    assert_eq!((failed, totals(&good)), (0, vec![3 * largest, largest]));
    assert_eq!(status(&good, 0)[0].facts.metrics[0].help, r"Help!\n# TYPE forged counter\nforged 1");
    good.apply(Event::ServiceGone(ObjectName::new("default", "s1")));
    good.plan();
    assert_eq!(totals(&good), [2 * largest, largest]);
    for (behaviour, declared) in [("metrics-few", vec![0, 0]), ("metrics-undeclared", vec![])] {
        let (failed, planner) = asked(behaviour);
        assert_eq!((failed, totals(&planner)), (3, declared), "{behaviour}");
    }
}

/// The identity plugin with some of its names changed.
fn renamed(from: &str, to: &str) -> String {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(configuration("weir-guest-identity", json!({})).source).unwrap();
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{from} not found");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renamed.wasm");
    std::fs::write(&path, bytes).unwrap();
    refusal("weir-guest-identity", json!({"source": path}))
}

#[test]
fn another_version_of_the_contract_is_named() {
    let said = renamed("weir:policy/filter@0.2.0", "weir:policy/filter@0.9.0");
    assert!(said.contains("weir:policy/filter@0.9.0") && said.contains("@0.2.x"), "{said}");
}

#[test]
fn a_plugin_that_asks_for_sockets_is_refused() {
    let said = renamed("wasi:cli/terminal-output@0.2.6", "wasi:sockets/tcp-socket1@0.2.6");
    assert!(said.contains("wasi:sockets/tcp-socket1@0.2.6") && said.contains("no network"), "{said}");
}

/// Runs in its own process, because other tests need varying amounts of memory.
#[test]
fn ten_thousand_failures_leak_nothing() {
    const ALONE: &str = "WEIR_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return fail_ten_thousand_times();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hostile::ten_thousand_failures_leak_nothing", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Three plugins that each fail in a different way whenever one service is among those they are called for. All
/// services change all the time, so the bad one has to be found again and again.
fn fail_ten_thousand_times() {
    const SERVICES: u32 = 12;
    let plugins = ["trap s1", "few s1", "exit s1"].map(|behaviour| {
        load(HOSTILE, json!({"name": behaviour.replace(' ', "-"), "configuration": behaviour, "interfaces": ["scheduler"]}))
            .unwrap()
    });
    let mut planner = planner(Chain::new(plugins.into(), NODE), SERVICES);
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let failures = |planner: &Planner| -> u64 {
        status(planner, 0).iter().map(|status| status.account.failures.values().sum::<u64>()).sum()
    };
    let mut round = 0_u64;
    let mut fail = |until: u64| {
        while failures(&planner) < until {
            round += 1;
            for i in 0..SERVICES {
                hear(&mut planner, service(&format!("s{i}"), &[], 1 + (round % 2) as u8));
            }
            let plan = planner.plan_at(60 * round);
            assert!(!plan.reports.is_empty());
            assert!(round < 10_000, "only {} failures", failures(&planner));
        }
    };
    fail(2_000);
    let before = resident();
    fail(12_000);
    let grown = resident().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes more after 10,000 failures");
    for status in status(&planner, 0) {
        assert!(status.poisoned <= SERVICES as usize, "{status:?}");
    }
}

#[test]
fn a_service_that_goes_is_forgotten() {
    let mut planner = planner(chain(HOSTILE, json!({"configuration": "trap s1"})), 3);
    planner.plan();
    assert_eq!(status(&planner, 0)[0].poisoned, 1);
    hear(&mut planner, [weir_core::cluster::Event::ServiceGone(ObjectName::new("default", "s1"))]);
    planner.plan();
    assert_eq!(status(&planner, 0)[0].poisoned, 0);
}
