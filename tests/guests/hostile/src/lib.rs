//! A plugin that misbehaves as its configuration says. It uses the bare contract, since the SDK would not allow
//! it.
//!
//! The configuration is one word, or a word and the name of a service (`"trap s7"`) to misbehave only for that
//! service.
//!
//! It is empty on other targets, whose linkers do not know the names that components export.

#![cfg(target_family = "wasm")]

use std::hint::black_box;

mod fuzz;

wit_bindgen::generate!({ path: "../../../wit", world: "policy", generate_all });

use exports::weir::policy::{filter, lifecycle, masquerade, scheduler};
use weir::policy::{log, types};

struct Hostile;

static mut WORD: String = String::new();
static mut CALLS: u32 = 0;

fn word() -> String {
    // There is one thread.
    unsafe { (*&raw const WORD).clone() }
}

fn behaviour(names: &[&str]) -> String {
    let all = word();
    match all.split_once(' ') {
        None => all,
        Some((word, victim)) if names.contains(&victim) => word.to_owned(),
        Some(_) => String::new(),
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[3]
}

/// Misbehaves in ways that do not depend on the answer.
fn misbehave(word: &str) -> Result<(), types::Error> {
    match word {
        "loop" => loop {
            black_box(0);
        },
        "recurse" => drop(black_box(recurse(0))),
        "memory" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1 << 20]);
                black_box(&hoard);
            }
        }
        "trap" => std::process::abort(),
        "panic" => panic!("on purpose"),
        "exit" => std::process::exit(3),
        "flood" => {
            for i in 0..2_000 {
                log::write(
                    log::Level::Info,
                    &format!("line {i}\nforged line"),
                    &[("k".into(), "v".repeat(100))],
                );
                println!("print {i}");
            }
        }
        "slow" => {
            // A large part of a second of work.
            let mut x = 1u64;
            for i in 0..40_000_000u64 {
                x = black_box(x.wrapping_mul(6364136223846793005).wrapping_add(i));
            }
        }
        "file" => {
            if let Err(error) = std::fs::read("/etc/hostname") {
                return Err(types::Error::InvalidInput(format!("no file: {error}")));
            }
        }
        "time" => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|d| d.as_secs());
            return Err(types::Error::InvalidInput(format!("the clock says {now:?}")));
        }
        "invalid" => return Err(types::Error::InvalidInput("odd\u{1b}[31m service".into())),
        "transient" => return Err(types::Error::Transient("later".into())),
        "permanent" => return Err(types::Error::Permanent("never".into())),
        _ => {}
    }
    Ok(())
}

impl lifecycle::Guest for Hostile {
    fn configure(configuration: String) -> Result<(), Vec<String>> {
        let text = configuration.trim_matches('"').to_owned();
        if text == "refuse" {
            return Err(vec!["first reason".into(), "second reason".into()]);
        }
        unsafe { WORD = text };
        match word().as_str() {
            "configure-loop" => misbehave("loop").map_err(|_| vec![]),
            "configure-trap" => misbehave("trap").map_err(|_| vec![]),
            _ => Ok(()),
        }
    }

    fn describe() -> lifecycle::Description {
        let needs = match word().as_str() {
            "needs-unknown" => vec!["wallet".to_owned()],
            "statistics-loop" => vec!["endpoints".to_owned(), "statistics:1s/1s".to_owned()],
            "needs-statistics" => vec!["statistics:0s/20s".to_owned()],
            word => {
                // This function cannot return an error.
                let _ = misbehave(word.strip_prefix("describe-").unwrap_or_default());
                vec!["endpoints".to_owned()]
            }
        };
        let metric = |name: &str, kind: &str| lifecycle::Metric {
            name: name.to_owned(),
            kind: kind.to_owned(),
            help: "Help!\n# TYPE forged counter\nforged 1".to_owned(),
        };
        let metrics = match word().as_str() {
            "metrics-many" => Some((0..10_000).map(|i| metric(&format!("m{i}"), "sum")).collect()),
            "metrics-names" => {
                let names =
                    ["", "Loud", "a\"} 1\nforged{x=\"", "calls_total", &"x".repeat(100_000), "ok", "ok"];
                Some(names.map(|name| metric(name, "sum")).to_vec())
            }
            "metrics-kind" => Some(vec![metric("ok", "summary")]),
            "metrics" | "metrics-few" | "fuzz" => Some(vec![metric("sum", "sum"), metric("max", "max")]),
            _ => None,
        };
        lifecycle::Description { name: "hostile".into(), version: "0".into(), needs, metrics, extra: None }
    }
}

fn verdict() -> filter::Verdict {
    filter::Verdict {
        ignore: None,
        kinds: None,
        refusals: None,
        node_port_networks: None,
        dropped_endpoints: None,
        sources: None,
        reason: None,
        re_evaluate_after: None,
        metrics: None,
        extra: None,
    }
}

fn schedule() -> scheduler::Schedule {
    scheduler::Schedule {
        ports: None,
        drain: None,
        reason: None,
        re_evaluate_after: None,
        metrics: None,
        extra: None,
    }
}

fn scheduling() -> scheduler::Scheduling {
    scheduler::Scheduling {
        scheduler: None,
        scheduler_flags: None,
        persistence: scheduler::Persistence::Keep,
        weights: scheduler::Weights::Keep,
        persistence_group: None,
        extra: None,
    }
}

impl filter::Guest for Hostile {
    fn select(
        context: types::Context,
        services: Vec<types::Service>,
    ) -> Result<Vec<filter::Verdict>, types::Error> {
        if word() == "fuzz" {
            return Ok(services.iter().map(|service| fuzz::verdict(&context, service)).collect());
        }
        let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        let word = behaviour(&names);
        misbehave(word.strip_prefix("filter-").unwrap_or_default())?;
        let mut verdicts: Vec<filter::Verdict> = services.iter().map(|_| verdict()).collect();
        for verdict in &mut verdicts {
            match word.as_str() {
                "filter-everything" => verdict.ignore = Some("go away\u{7}".into()),
                "filter-drop-all" => verdict.dropped_endpoints = Some(vec![(0, 0), (0, 1)]),
                "filter-nonsense" => verdict.dropped_endpoints = Some(vec![(9, 9)]),
                "filter-action" => {
                    verdict.sources = Some(vec![filter::SourceFilter {
                        kinds: types::VipKinds::all(),
                        action: "perhaps".into(),
                        ranges: vec![],
                        extra: None,
                    }]);
                }
                _ => {}
            }
        }
        Ok(verdicts)
    }
}

impl scheduler::Guest for Hostile {
    fn schedule_services(
        _: types::Context,
        requests: Vec<scheduler::Request>,
    ) -> Result<Vec<scheduler::Schedule>, types::Error> {
        if word() == "fuzz" {
            return Ok(requests.iter().map(fuzz::schedule).collect());
        }
        let names: Vec<&str> = requests.iter().map(|request| request.service.name.as_str()).collect();
        let word = behaviour(&names);
        misbehave(word.strip_prefix("statistics-").unwrap_or(&word))?;
        unsafe { CALLS += requests.len() as u32 };
        let calls = unsafe { CALLS };
        let mut answers: Vec<scheduler::Schedule> = Vec::new();
        for request in &requests {
            let mut answer = schedule();
            let mut port = scheduling();
            match word.as_str() {
                "unknown-scheduler" => port.scheduler = Some("nonsense".into()),
                "long-scheduler" => port.scheduler = Some("x".repeat(100_000)),
                "unknown-flag" => port.scheduler_flags = Some(vec!["turbo".into()]),
                "zero-weights" => {
                    let count = request
                        .service
                        .ports
                        .first()
                        .map_or(0, |port| port.endpoints.iter().flatten().count());
                    port.weights = scheduler::Weights::Each(vec![0; count]);
                }
                "wrong-weights" => port.weights = scheduler::Weights::Each(vec![7; 9]),
                "group" => port.persistence_group = Some("g".into()),
                "extra" => answer.extra = Some(vec![("future".into(), "x".into())]),
                "drain" => answer.drain = Some(scheduler::Drain { mode: "explode".into(), deadline: None }),
                "metrics" => answer.metrics = Some(vec![u64::MAX; 2]),
                "metrics-few" => answer.metrics = Some(vec![1]),
                "metrics-undeclared" => answer.metrics = Some(vec![1]),
                "again" => answer.re_evaluate_after = Some(0),
                // Depends on the number of earlier questions, which is not declared.
                "impure" => port.scheduler = Some(if calls % 2 == 0 { "wrr" } else { "mh" }.into()),
                "good" => port.scheduler = Some("wrr".into()),
                _ if word.is_empty() => port.scheduler = Some("wrr".into()),
                _ => {}
            }
            if !matches!(word.as_str(), "few-ports") {
                answer.ports = Some(request.service.ports.iter().map(|_| port.clone()).collect());
            } else {
                answer.ports = Some(vec![port.clone(), port.clone(), port.clone()]);
            }
            if word == "huge" {
                answer.reason = Some("x".repeat(1 << 20));
            }
            answers.push(answer);
        }
        match word.as_str() {
            "few" => drop(answers.pop()),
            "many" => answers.extend(answers.clone()),
            "huge" => answers.extend(answers.clone()),
            _ => {}
        }
        Ok(answers)
    }
}

impl masquerade::Guest for Hostile {
    fn treat(
        context: types::Context,
        requests: Vec<masquerade::Request>,
    ) -> Result<Vec<masquerade::Treatments>, types::Error> {
        if word() == "fuzz" {
            let treat = |request: &masquerade::Request| fuzz::treatments(&context, &request.service);
            return Ok(requests.iter().map(treat).collect());
        }
        let names: Vec<&str> = requests.iter().map(|request| request.service.name.as_str()).collect();
        let word = behaviour(&names);
        misbehave(word.strip_prefix("treat-").unwrap_or_default())?;
        let mode = match word.as_str() {
            "treat-nonsense" => Some("sometimes"),
            "treat-address" => Some("address"),
            _ => None,
        };
        let cluster = mode.map(|mode| masquerade::Treatment { mode: mode.into(), source: None });
        Ok(requests
            .iter()
            .map(|_| masquerade::Treatments {
                cluster: cluster.clone(),
                external: None,
                load_balancer: None,
                node_port: None,
                except_sources: None,
                reason: None,
                re_evaluate_after: None,
                metrics: None,
                extra: None,
            })
            .collect())
    }
}

export!(Hostile);
