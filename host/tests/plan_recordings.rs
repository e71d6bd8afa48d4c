//! `weir plan --output kernel` against every step of every recording, run as a user would.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use weir_core::net::parse_cidr_sloppy;
use weir_harness::scenario::{self, Scenario};
use weir_harness::witness::Dump;

fn main() -> ExitCode {
    let scenarios = scenario::all().expect("the recorded scenarios exist");
    assert!(!scenarios.is_empty(), "no recorded scenarios in {}", scenario::folder().display());
    let trial = |scenario: Scenario| {
        Trial::test(scenario.name.clone(), move || {
            equals(&scenario).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    let trials = scenarios.into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn equals(scenario: &Scenario) -> Result<()> {
    for step in scenario.steps() {
        let folder = scenario::folder().join(&step.name);
        let manifests = tempfile::tempdir()?;
        fs::write(manifests.path().join("node.json"), scenario.node()?)?;
        fs::write(manifests.path().join("objects.json"), step.objects()?)?;
        let planned = plan(scenario, manifests.path())?;
        let recorded = without_foreign_servers(&fs::read_to_string(folder.join("kernel.txt"))?, scenario)?;
        let differences = Dump::recorded(&planned).differences(&Dump::recorded(&recorded));
        ensure!(
            differences.is_empty(),
            "{}: the plan differs (+ unexpected, - missing):\n{differences}",
            step.name
        );
    }
    Ok(())
}

fn plan(scenario: &Scenario, manifests: &Path) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["plan", "--output", "kernel"])
        .arg("--manifests")
        .arg(manifests)
        .arg("--config")
        .arg(scenario.config())
        .arg("--interfaces")
        .arg(scenario.interfaces())
        .output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "weir plan failed: {complaint}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The sections of a plan, without virtual servers that the configuration excludes.
fn without_foreign_servers(recorded: &str, scenario: &Scenario) -> Result<String> {
    let config: Value = serde_json::from_str(&fs::read_to_string(scenario.config())?)?;
    let excluded: Vec<_> = config["ipvs"]["excludeCIDRs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|net| parse_cidr_sloppy(net.as_str()?))
        .collect();
    let is_foreign = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let address = match words[..] {
            ["-A" | "-a", _, address, ..] => address.parse::<SocketAddr>().ok(),
            _ => None,
        };
        address.is_some_and(|address| excluded.iter().any(|net| net.contains(&address.ip())))
    };
    let (planned, _) = recorded.split_once("## link").context("no section `link`")?;
    Ok(planned.lines().filter(|line| !is_foreign(line)).map(|line| format!("{line}\n")).collect())
}
