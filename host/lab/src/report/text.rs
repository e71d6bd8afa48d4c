//! Tables.

use std::fmt::Write;

use weir_core::text::counted;
use weir_k8s::config::format_duration;

use super::Played;
use crate::outcome::Slice;

/// The most rows of a timeline.
const ROWS: usize = 15;
/// The width of an IPv4 address without its port.
const ADDRESS: usize = 15;

/// A table per service: latencies, failed connections and spread for each load and policy, each the median of all
/// seeds. Below it, for the last load, the share of each endpoint, and weights over time if they change.
pub fn text(all: &[Played]) -> String {
    let mut out = String::new();
    let mut rest = all;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|played| played.load.service == first.load.service).count();
        let (service, others) = rest.split_at(count);
        // Writing into a string cannot fail.
        let _ = of_service(&mut out, first, service);
        rest = others;
    }
    out
}

fn of_service(out: &mut String, first: &Played, all: &[Played]) -> std::fmt::Result {
    let load = &first.load;
    writeln!(
        out,
        "{}: {}, {}, {} after {} of warm-up, {}",
        load.service,
        counted(load.addresses.len(), "endpoint"),
        counted(load.nodes, "client node"),
        format_duration(load.duration),
        format_duration(load.warm_up),
        counted(first.outcomes.len(), "seed"),
    )?;
    let width = all.iter().map(|played| played.policy.len()).max().unwrap_or(0).max("policy".len());
    writeln!(
        out,
        "{:>9}  {:width$}  {:>10}  {:>10}  {:>10}  {:>8}  {:>7}",
        "load", "policy", "p50 ms", "p99 ms", "p99.9 ms", "failed", "spread"
    )?;
    for played in all {
        let time = |part| milliseconds(played.median(|outcome| outcome.percentile(part)));
        writeln!(
            out,
            "{:>9}  {:width$}  {:>10}  {:>10}  {:>10}  {:>8}  {:>6.1}%",
            played.load.rate.to_string(),
            played.policy,
            time(0.5),
            time(0.99),
            time(0.999),
            played.median(|outcome| Some(outcome.failed as f64)).unwrap_or_default(),
            played.median(|outcome| Some(outcome.spread())).unwrap_or_default(),
        )?;
    }
    let last = all.last().map(|played| played.load.rate);
    let of_last = || all.iter().filter(move |played| Some(played.load.rate) == last);
    if let Some(rate) = last {
        writeln!(out, "\nshare of each endpoint in percent, at a load of {rate}")?;
        let policies: Vec<&str> = of_last().map(|played| played.policy.as_str()).collect();
        writeln!(
            out,
            "{:>22}  {}",
            "endpoint",
            columns(width, policies.iter().map(|name| (*name).to_owned()))
        )?;
        for (endpoint, address) in load.addresses.iter().enumerate() {
            let share = |played: &Played| played.median(|outcome| Some(outcome.shares()[endpoint]));
            let shares = of_last().map(|played| format!("{:.1}", share(played).unwrap_or_default()));
            writeln!(out, "{:>22}  {}", address.to_string(), columns(width, shares))?;
        }
    }
    for played in of_last().filter(|played| played.has_a_course()) {
        timeline(out, played)?;
    }
    writeln!(out)
}

/// Weights and latency over time, from the first seed.
fn timeline(out: &mut String, played: &Played) -> std::fmt::Result {
    let Some(outcome) = played.outcomes.first() else { return Ok(()) };
    writeln!(
        out,
        "\nweights over time with {}, at a load of {}, seed {}",
        played.policy, played.load.rate, outcome.seed
    )?;
    let ports = played.load.addresses.iter().map(|address| address.ip().to_string());
    writeln!(out, "{:>9}  {:>10}  {}", "until", "p99 ms", columns(ADDRESS, ports))?;
    let every = outcome.timeline.len().div_ceil(ROWS).max(1);
    for slice in outcome.timeline.iter().skip(every - 1).step_by(every) {
        let Slice { until, weights, p99, .. } = slice;
        let weights =
            weights.iter().map(|weight| weight.map_or("-".to_owned(), |weight| format!("{weight:.0}")));
        writeln!(
            out,
            "{:>9}  {:>10}  {}",
            format_duration(*until),
            milliseconds(*p99),
            columns(ADDRESS, weights)
        )?;
    }
    Ok(())
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.0}"))
}

fn columns(width: usize, cells: impl Iterator<Item = String>) -> String {
    cells.map(|cell| format!("{cell:>width$}")).collect::<Vec<_>>().join(" ")
}
