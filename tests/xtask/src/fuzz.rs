//! `cargo xtask fuzz`: runs every target of `tests/fuzz` for a while. A finding does not stop the other targets.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::tools::Tool;
use crate::{process, workspace};

const FUZZ: Tool = Tool::Cargo("cargo-fuzz", "0.13.2");

/// libFuzzer needs a compiler with unstable flags.
const TOOLCHAIN: &str = "nightly";

/// Options of `cargo xtask fuzz`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run each target for this many seconds
    #[arg(long, default_value_t = 300)]
    seconds: u32,
    /// Run only these targets [default: all]
    targets: Vec<String>,
}

/// Runs the targets in turn; a finding fails the run at its end.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let folder = workspace::root().join("tests/fuzz");
    let listed = process::output(FUZZ.command()?.args(["list", "--fuzz-dir"]).arg(&folder))?;
    let all: Vec<&str> = listed.lines().collect();
    for target in &options.targets {
        ensure!(
            all.contains(&target.as_str()),
            "there is no fuzz target {target}; the targets are {}",
            all.join(", ")
        );
    }
    let is_wanted = |target: &&str| options.targets.is_empty() || options.targets.iter().any(|t| t == target);
    let mut findings = Vec::new();
    let targets: Vec<&str> = all.into_iter().filter(is_wanted).collect();
    for target in &targets {
        // Tests read the corpus, so libFuzzer must not add to it.
        let grown = workspace::target().join("fuzz").join(target);
        fs::create_dir_all(&grown).with_context(|| format!("cannot create {}", grown.display()))?;
        let mut fuzz = FUZZ.command()?;
        fuzz.env("RUSTUP_TOOLCHAIN", TOOLCHAIN).args(["run", "--fuzz-dir"]).arg(&folder).arg(target);
        fuzz.args([grown, folder.join("corpus").join(target)]);
        fuzz.args(["--", &format!("-max_total_time={}", options.seconds), "-print_final_stats=1"]);
        println!("fuzz {target}: {} seconds", options.seconds);
        match process::run(&mut fuzz) {
            Ok(()) => println!("fuzz {target} ... ok"),
            Err(error) => {
                println!("fuzz {target} ... FAILED: {error:#}");
                findings.push(*target);
            }
        }
    }
    println!("{} targets, {} failed", targets.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
