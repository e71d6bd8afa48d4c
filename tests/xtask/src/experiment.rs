//! `cargo xtask experiment`: runs a `weir lab` load on a real kernel.
//!
//! `weir-experiment` plays the load in the guest; on the host it reports the results next to those of `weir lab`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use weir_guest_init::{Command, Status, Streams};

use crate::beside::text;
use crate::job::{Hardware, Job};
use crate::lines::{Lines, TakeLine};
use crate::overlay::Given;
use crate::process::output;
use crate::tally::Counts;
use crate::{fixtures, workspace};

/// The program that plays the load and reports.
const DRIVER: &str = "weir-experiment";

/// Memory of the guest in MiB: up to 40 programs with plugins, and thousands of waiting connections.
const MEMORY: u64 = 4096;

/// Traffic files and manifests.
const SCENARIOS: &str = "tests/experiment/scenarios";

const LOAD_AWARE: &str = "weir-plugin-load-aware";
const PLUGINS: [&str; 2] = [LOAD_AWARE, "weir-plugin-node-weights"];

/// Options of `cargo xtask experiment`.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Name of a traffic file in tests/experiment/scenarios: half-old, half-old-20, equal, slowed, refusing, short
    #[arg(default_value = "half-old")]
    scenario: String,
    /// Schedulers and plugins to compare, called the arms of the experiment
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = ["rr", "lc", "wlc", "sh", "random", "known", "load-aware"],
        default_values_t = ["rr", "lc", "wlc", "sh", "random", "known", "load-aware"].map(str::to_owned)
    )]
    arms: Vec<String>,
    /// Run only these loads of the traffic file, such as `75%`
    #[arg(long, value_delimiter = ',')]
    loads: Vec<String>,
    /// Use these seeds instead of those in the traffic file
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<u64>,
    /// Number of arms to run at the same time
    #[arg(long, default_value_t = 7)]
    beside: u32,
    /// Append the results to this file, and report all results that it then contains
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,
    /// Do not run the experiment; only report the results in the --rows file
    #[arg(long, requires = "rows")]
    report: bool,
    /// Output format
    #[arg(long, short, value_parser = ["text", "json", "csv", "svg"], default_value = "text")]
    output: String,
    /// Stop the guest after this many seconds
    #[arg(long, default_value_t = 7200)]
    timeout: u64,
    /// Cargo profile to build with; the default is the optimised profile that all measurements use
    #[arg(long, default_value = "lab")]
    profile: String,
    /// Use this weir binary instead of building one
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,
}

/// Runs the experiment and prints the results.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let experiment = Experiment::build(options)?;
    let temporary = tempfile::NamedTempFile::new().context("cannot create a file for results")?;
    let rows = options.rows.as_deref().unwrap_or(temporary.path());
    let played = options.report || experiment.play(options, rows)?;
    print!("{}", experiment.report(options, rows)?);
    Ok(if played { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs half a minute of an experiment, to test the machinery: every arm must serve connections in time, and connections
/// may only fail because the refusing pod refused them.
///
/// # Errors
/// When it cannot run, or an arm behaves differently.
pub(crate) fn tier() -> Result<Counts> {
    let options = Options::parse_from([
        "",
        "short",
        "--profile",
        "dev",
        "--arms",
        "rr,random,load-aware",
        "--output",
        "json",
    ]);
    let experiment = Experiment::build(&options)?;
    let rows = tempfile::NamedTempFile::new().context("cannot create a file for results")?;
    ensure!(experiment.play(&options, rows.path())?, "the experiment did not finish");
    let lines = experiment.report(&options, rows.path())?;
    for arm in &options.arms {
        let line = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut line = line.filter(|line| line["policy"] == arm.as_str());
        judge(&line.next().with_context(|| format!("no result for the arm {arm}"))?)?;
    }
    Ok(Counts { passed: 1, ..Counts::default() })
}

fn judge(line: &Value) -> Result<()> {
    ensure!(line["objection"].is_null(), "the result is not valid: {line}");
    let failures = line["failures"].as_object();
    let refused = failures.is_some_and(|all| all.len() == 1 && all.contains_key("connection refused"));
    // An eighth of 100 connections, while the pod refuses.
    let share = line["share"]["10.244.0.1:8080"].as_f64();
    ensure!(
        refused && share.is_some_and(|share| (3.0..25.0).contains(&share)),
        "only refused connections may fail, and 10.244.0.1:8080 must get 3 to 25 % of the connections: {line}"
    );
    Ok(())
}

struct Experiment {
    driver: PathBuf,
    weir: PathBuf,
    traffic: PathBuf,
    manifests: PathBuf,
}

impl Experiment {
    fn build(options: &Options) -> Result<Experiment> {
        let scenarios = workspace::root().join(SCENARIOS);
        let profile = &options.profile;
        Ok(Experiment {
            driver: workspace::program(profile, DRIVER, DRIVER)?,
            weir: match &options.weir {
                Some(weir) => weir.canonicalize().with_context(|| format!("--weir {}", weir.display()))?,
                None => workspace::program(profile, "weir", "weir")?,
            },
            traffic: scenarios.join(format!("{}.yaml", options.scenario)),
            manifests: scenarios.join("manifests.yaml"),
        })
    }

    /// Returns whether everything was played.
    fn play(&self, options: &Options, rows: &Path) -> Result<bool> {
        let mut arguments =
            vec![text(&self.driver)?, "--traffic".into(), text(&self.traffic)?, "play".into()];
        for (name, value) in [
            ("--weir", text(&self.weir)?),
            ("--manifests", text(&self.manifests)?),
            ("--beside", options.beside.to_string()),
            ("--arms", options.arms.join(",")),
            ("--loads", options.loads.join(",")),
            ("--seeds", options.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(",")),
        ] {
            if !value.is_empty() {
                arguments.extend([name.to_owned(), value]);
            }
        }
        let command = Command {
            streams: Streams::Port,
            directory: "/root".to_owned(),
            environment: Vec::new(),
            arguments,
        };
        let mut files: Vec<Given> =
            [&self.driver, &self.weir, &self.traffic, &self.manifests].map(Given::same_path).into();
        files.extend(fixtures::components(&PLUGINS)?);
        let mut hardware = Hardware::counting_instructions(options.timeout);
        hardware.memory = Some(MEMORY);
        let file = OpenOptions::new().create(true).append(true).open(rows);
        let file = file.with_context(|| format!("cannot write {}", rows.display()))?;
        let mut lines = Lines::to(Rows(file));
        Job { hardware, commands: vec![command], files }.run(&mut lines)?;
        Ok(lines.status.is_some_and(Status::is_success))
    }

    fn report(&self, options: &Options, rows: &Path) -> Result<String> {
        let folder = tempfile::tempdir().context("cannot create a directory for the lab")?;
        let lab = folder.path().join("lab.json");
        fs::write(&lab, self.lab(options, folder.path())?).context("cannot write the lab's output")?;
        let mut report = process::Command::new(&self.driver);
        report.arg("--traffic").arg(&self.traffic).arg("report").arg("--rows").arg(rows);
        output(report.arg("--lab").arg(lab).args(["--output", &options.output]))
    }

    /// What `weir lab` prints for the same traffic and plugin; it knows all arms except `random`.
    fn lab(&self, options: &Options, folder: &Path) -> Result<String> {
        let component = workspace::components(&[LOAD_AWARE])?.remove(0);
        let plugin = json!({"name": "load-aware", "source": component.file});
        let policy =
            json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration", "plugins": [plugin]});
        // Results are named after the file.
        fs::write(folder.join("load-aware"), policy.to_string()).context("cannot write a policy")?;
        let mut lab = process::Command::new(&self.weir);
        lab.current_dir(folder).args(["lab", "--node", "client", "--output", "json"]);
        lab.args(["--policy", "load-aware", "--against", "rr,lc,wlc,sh,known"]);
        lab.args(options.seeds.iter().flat_map(|seed| ["--seeds".to_owned(), seed.to_string()]));
        output(lab.arg("--manifests").arg(&self.manifests).arg("--traffic").arg(&self.traffic))
    }
}

/// Keeps the results and prints everything else.
struct Rows(fs::File);

impl TakeLine for Rows {
    fn take(&mut self, line: &str) -> Result<()> {
        if line.starts_with('{') {
            return writeln!(self.0, "{line}").context("cannot write a result");
        }
        eprintln!("{line}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pod_that_refuses_may_fail_connections() {
        let good = json!({"objection": null, "failures": {"connection refused": 12}, "share": {"10.244.0.1:8080": 12.5}});
        judge(&good).unwrap();
        for (field, value) in [
            ("objection", json!("not valid")),
            ("failures", json!({"connection refused": 12, "timed out": 1})),
            ("failures", json!({})),
            ("share", json!({"10.244.0.1:8080": 60.0})),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(judge(&bad).is_err(), "{bad}");
        }
    }
}
