//! Compares results with those of `weir lab`.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;
use weir_lab::outcome::median;
use weir_lab::report::Played;

/// A table of p99 and shares in both, each the median over the same seeds. `lab` contains lines of JSON.
pub(crate) fn compare(played: &[Played], lab: &str) -> Result<String> {
    let lines = lab
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()
        .context("invalid output of weir lab")?;
    let mut out = format!(
        "{:>9}  {:10}  {:>10}  {:>10}  {:>6}  {:>12}\n",
        "load", "arm", "p99 ms", "weir lab", "ratio", "share, points"
    );
    for one in played {
        let (load, seeds) = (one.load.rate.to_string(), one.outcomes.iter().map(|outcome| outcome.seed));
        let seeds: Vec<u64> = seeds.collect();
        let same = |line: &&Value| {
            line["policy"] == one.policy.as_str()
                && line["load"] == load.as_str()
                && line["seed"].as_u64().is_some_and(|seed| seeds.contains(&seed))
        };
        let there: Vec<&Value> = lines.iter().filter(same).collect();
        let here = one.median(|outcome| outcome.percentile(0.99));
        let p99 = median(there.iter().filter_map(|line| line["p99_ms"].as_f64()).collect());
        let differences = one.load.addresses.iter().enumerate().filter_map(|(place, address)| {
            let shares = there.iter().filter_map(|line| line["share"][address.to_string()].as_f64());
            Some((one.median(|outcome| Some(outcome.shares()[place]))? - median(shares.collect())?).abs())
        });
        let ratio = here.zip(p99).map(|(here, there)| here / there);
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{load:>9}  {:10}  {:>10}  {:>10}  {:>6}  {:>12}",
            one.policy,
            number(here, 0),
            number(p99, 0),
            number(ratio, 2),
            number(differences.reduce(f64::max), 1)
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use weir_lab::outcome::Outcome;
    use weir_lab::traffic::Traffic;

    use super::*;

    #[test]
    fn only_the_same_policy_load_and_seeds_are_compared() {
        let traffic = "services: [{service: a/b, loads: [75%], endpoints: [{time: 1s}]}]";
        let endpoints = ["10.0.0.1:80", "10.0.0.2:80"].map(|address| address.parse().unwrap());
        let load = crate::batch::loads_of(&Traffic::parse(traffic).unwrap(), &endpoints).unwrap().remove(0);
        let outcome =
            Outcome { latencies: vec![300_000_000], connections: vec![60, 40], ..Outcome::new(2, 2) };
        let played = Played { policy: "rr".to_owned(), load, outcomes: vec![outcome] };
        let line = |policy: &str, seed: u64, p99: u64| {
            serde_json::json!({"policy": policy, "load": "75%", "seed": seed, "p99_ms": p99,
                "share": {"10.0.0.1:80": 55.0, "10.0.0.2:80": 45.0}})
        };
        let lab = format!("{}\n{}\n{}\n", line("lc", 2, 1), line("rr", 1, 2), line("rr", 2, 200));
        let table = compare(std::slice::from_ref(&played), &lab).unwrap();
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["75%", "rr", "300", "200", "1.50", "5.0"]);
        let alone = compare(&[played], "").unwrap();
        assert!(alone.lines().nth(1).unwrap().ends_with("-"), "{alone}");
    }
}
