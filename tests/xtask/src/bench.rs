//! `cargo xtask bench`: what the work and the plugins cost, counted on a real kernel; with `--native`, what planning and
//! rounds cost on this machine, over a kernel in memory; with `--rivals`, what weir and kube-proxy cost side by side.

use std::process::ExitCode;

use anyhow::Result;

use crate::guest_tests::{Run, Selection};
use crate::job::Hardware;
use crate::{rivals, workspace};

/// Seconds; emulation is slow, a hang is not endless.
const TIMEOUT: u64 = 1800;

/// Optimised, and quicker to build than a release.
const PROFILE: &str = "lab";

/// The plugin that keeps everything as it is, and one that follows the kernel's counters.
const IDENTITY: &str = "weir-guest-identity";
const SAMPLER: &str = "weir-plugin-load-aware";

/// What is measured, and how it is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure planning and rounds on this machine, without a guest
    #[arg(long, group = "measured")]
    native: bool,
    /// Measure weir and kube-proxy (IPVS and nftables) side by side in a guest, against a real API server
    #[arg(long, group = "measured")]
    rivals: bool,
    #[command(flatten)]
    rival_options: rivals::Options,
    /// How to print what `--native` or `--rivals` measures
    #[arg(long, short, value_enum, default_value_t = Output::Text, requires = "measured")]
    output: Output,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// A table
    Text,
    /// One JSON object per line
    Json,
}

/// Measures.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    match (options.native, options.rivals) {
        (true, _) => native(options.output),
        (_, true) => rivals::main(&options.rival_options, options.output),
        _ => guest(),
    }
}

/// Runs the program that measures natively, with the built-in policy, an identity plugin, and one that reads counters.
fn native(output: Output) -> Result<ExitCode> {
    let [identity, sampler] = [IDENTITY, SAMPLER].map(|package| workspace::components(&[package]));
    let mut bench = workspace::cargo();
    bench.args(["run", "--quiet", "--profile", PROFILE, "--package", "weir-bench", "--"]);
    bench.arg("--plugin").arg(&identity?.remove(0).file);
    bench.arg("--sampler").arg(&sampler?.remove(0).file);
    if output == Output::Json {
        bench.arg("--json");
    }
    crate::process::run(&mut bench)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the counting tests with optimised code and shows what they print, and then what calls of plugins cost here.
fn guest() -> Result<ExitCode> {
    let select = |package: &str, target: &str| Selection {
        package: package.to_owned(),
        target: Some(target.to_owned()),
    };
    let run = Run {
        hardware: Hardware::with_timeout(TIMEOUT),
        selections: vec![
            select("weir-kernel", "guest_counts"),
            select("weir", "guest_costs"),
            select("weir", "guest_idle"),
        ],
        profile: PROFILE.to_owned(),
        files: Vec::new(),
        environment: Vec::new(),
        arguments: Vec::new(),
    };
    let counts = run.run()?;
    println!("{counts}");
    let identity = workspace::components(&[IDENTITY])?.remove(0);
    let mut weir = workspace::cargo();
    weir.args(["run", "--quiet", "--profile", PROFILE, "--package", "weir", "--", "plugin", "bench"]);
    crate::process::run(weir.arg(&identity.file))?;
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
