//! Results as tables, lines and plots, next to those of `weir lab`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};
use weir_lab::outcome::Outcome;
use weir_lab::report::{Played, json_lines, svg, text};
use weir_lab::traffic::Traffic;

use crate::ReportOptions;
use crate::batch::{loads_of, name_of};
use crate::compare::compare;
use crate::row::Row;

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Tables
    Text,
    /// One object per line for each arm, load and seed
    Json,
    /// Comma-separated values: the same results without timelines, one row per line
    Csv,
    /// Plots
    Svg,
}

/// Prints the rows of a file that belong to this traffic.
pub(crate) fn print(file: &Path, options: &ReportOptions) -> Result<()> {
    let reading = || format!("cannot read {}", options.rows.display());
    let lines = fs::read_to_string(&options.rows).with_context(reading)?;
    let all =
        lines.lines().map(serde_json::from_str).collect::<Result<Vec<Row>, _>>().with_context(reading)?;
    let rows: Vec<Row> = all.into_iter().filter(|row| row.traffic == name_of(file)).collect();
    let traffic = Traffic::load(file).with_context(|| format!("--traffic {}", file.display()))?;
    let groups = grouped(&rows, &traffic)?;
    let played: Vec<Played> = groups.iter().map(|(played, _)| played.clone()).collect();
    let lab = match &options.lab {
        Some(lab) => fs::read_to_string(lab).with_context(|| format!("cannot read {}", lab.display()))?,
        None => String::new(),
    };
    print!(
        "{}",
        match options.output {
            Form::Text => format!("{}{}\n{}", text(&played), machines(&groups), compare(&played, &lab)?),
            Form::Json => of_json(&groups)?,
            Form::Csv => of_csv(&groups)?,
            Form::Svg => svg(&played)?,
        }
    );
    Ok(())
}

/// The rows by load and arm: loads in the order of the traffic file, arms in the order in which they ran.
fn grouped<'a>(rows: &'a [Row], traffic: &Traffic) -> Result<Vec<(Played, Vec<&'a Row>)>> {
    let first = rows.first().context("there are no results")?;
    ensure!(
        rows.iter().all(|row| row.nodes == traffic.client_nodes.count() && row.endpoints == first.endpoints),
        "the results belong to another traffic file"
    );
    let mut groups = Vec::new();
    for load in loads_of(traffic, &first.endpoints)? {
        let of_load: Vec<&Row> = rows.iter().filter(|row| row.load == load.rate.to_string()).collect();
        let mut arms: Vec<&str> = Vec::new();
        for row in &of_load {
            if !arms.contains(&row.arm.as_str()) {
                arms.push(&row.arm);
            }
        }
        for arm in arms {
            let of_arm: Vec<&Row> = of_load.iter().filter(|row| row.arm == arm).copied().collect();
            let outcomes: Vec<Outcome> = of_arm.iter().map(|row| row.outcome.clone()).collect();
            groups.push((Played { policy: arm.to_owned(), load: load.clone(), outcomes }, of_arm));
        }
    }
    Ok(groups)
}

type Groups<'a> = [(Played, Vec<&'a Row>)];

/// The machine's influence on each result, and the results that are not valid.
fn machines(groups: &Groups) -> String {
    let mut out = format!(
        "{:>9}  {:10}  {:>4}  {:>6}  {:>6}  {:>12}  {:>12}\n",
        "load", "arm", "seed", "beside", "idle %", "requests ms", "answers ms"
    );
    for (played, rows) in groups {
        for row in rows {
            let machine = &row.machine;
            let late = |late: Option<f64>| late.map_or("-".to_owned(), |late| format!("{late:.1}"));
            // Writing to a string cannot fail.
            let _ = write!(
                out,
                "{:>9}  {:10}  {:>4}  {:>6}  {:>6.0}  {:>12}  {:>12}",
                row.load,
                played.policy,
                row.outcome.seed,
                machine.beside,
                machine.idle,
                late(machine.late_requests_ms),
                late(machine.late_answers_ms),
            );
            let failures = row.failures.iter().map(|(kind, count)| format!("{count} {kind}"));
            let remarks: Vec<String> = machine.objection().into_iter().chain(failures).collect();
            out += &format!("  {}", remarks.join(", "));
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
    }
    out
}

fn of_json(groups: &Groups) -> Result<String> {
    let mut out = String::new();
    for (played, rows) in groups {
        for (line, row) in json_lines(std::slice::from_ref(played)).lines().zip(rows) {
            let mut line: Value = serde_json::from_str(line).context("invalid line from weir lab")?;
            line["traffic"] = json!(row.traffic);
            line["nodes"] = json!(row.nodes);
            line["machine"] = serde_json::to_value(row.machine).context("cannot encode the machine")?;
            line["objection"] = json!(row.machine.objection());
            line["failures"] = json!(row.failures);
            out += &format!("{line}\n");
        }
    }
    Ok(out)
}

/// Columns present in every line of JSON, by path.
const COLUMNS: &[&str] = &[
    "/traffic",
    "/policy",
    "/load",
    "/nodes",
    "/seed",
    "/p50_ms",
    "/p99_ms",
    "/p999_ms",
    "/failed",
    "/spread",
    "/machine/beside",
    "/machine/idle",
    "/machine/late_requests_ms",
    "/machine/late_answers_ms",
    "/objection",
];

fn of_csv(groups: &Groups) -> Result<String> {
    let name = |path: &&str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let endpoints = || {
        groups.iter().take(1).flat_map(|(played, _)| played.load.addresses.iter().map(ToString::to_string))
    };
    let mut out = COLUMNS.iter().map(name).chain(endpoints()).collect::<Vec<_>>().join(",") + "\n";
    for line in of_json(groups)?.lines() {
        let line: Value = serde_json::from_str(line).context("invalid line")?;
        let cell = |value: Option<&Value>| match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.replace(',', ";"),
            Some(other) => other.to_string(),
        };
        let cells = COLUMNS.iter().map(|path| cell(line.pointer(path)));
        out += &cells
            .chain(endpoints().map(|endpoint| cell(line["share"].get(endpoint))))
            .collect::<Vec<_>>()
            .join(",");
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Machine;

    fn traffic() -> Traffic {
        Traffic::parse("services: [{service: a/b, loads: [50%, 75%], endpoints: [{time: 1s}]}]").unwrap()
    }

    fn row(arm: &str, load: &str, seed: u64) -> Row {
        let endpoints = vec!["10.0.0.1:80".parse().unwrap()];
        let machine =
            Machine { beside: 2, idle: 61.0, late_requests_ms: Some(3.0), late_answers_ms: Some(4.0) };
        let outcome = Outcome {
            latencies: (1..=100).map(|i| i * 1_000_000 * seed).collect(),
            connections: vec![100],
            ..Outcome::new(1, seed)
        };
        let (traffic, arm, load) = ("t".to_owned(), arm.to_owned(), load.to_owned());
        Row { traffic, arm, load, nodes: 1, endpoints, machine, failures: Default::default(), outcome }
    }

    #[test]
    fn rows_of_one_load_and_arm_are_one_result() {
        let rows = [row("rr", "75%", 1), row("lc", "50%", 1), row("rr", "75%", 2)];
        let groups = grouped(&rows, &traffic()).unwrap();
        let found: Vec<_> = groups
            .iter()
            .map(|(played, rows)| (played.load.rate.to_string(), played.policy.as_str(), rows.len()))
            .collect();
        assert_eq!(found, [("50%".to_owned(), "lc", 1), ("75%".to_owned(), "rr", 2)]);
        let csv = of_csv(&groups).unwrap();
        assert!(csv.starts_with("traffic,policy,load,nodes,seed,p50_ms,p99_ms,"), "{csv}");
        assert!(csv.lines().nth(2).unwrap().starts_with("t,rr,75%,1,1,51.0,100.0,100.0,0,"), "{csv}");
        assert!(csv.lines().all(|line| line.ends_with(",10.0.0.1:80") || line.ends_with(",100.0")), "{csv}");
        let busy = Row { machine: Machine { idle: 1.0, ..rows[0].machine }, ..rows[0].clone() };
        assert!(machines(&grouped(&[busy], &traffic()).unwrap()).contains("not valid"));
        assert!(grouped(&[Row { nodes: 9, ..row("rr", "75%", 1) }], &traffic()).is_err());
        assert!(grouped(&[], &traffic()).is_err());
    }
}
