//! `cargo xtask bench`: counts what weir and its plugins cost on a real kernel; with `--native`, measures planning
//! and rounds on this machine against a kernel in memory; with `--rivals`, measures weir and kube-proxy side by
//! side.

use std::process::ExitCode;

use anyhow::Result;

use crate::guest_tests::{Run, Selection};
use crate::job::Hardware;
use crate::{rivals, workspace};

/// Seconds. Emulation is slow, but a hang must end.
const TIMEOUT: u64 = 1800;

/// Optimised, and faster to build than a release.
const PROFILE: &str = "lab";

/// A plugin that changes nothing, and one that reads the kernel's counters.
const IDENTITY: &str = "weir-guest-identity";
const SAMPLER: &str = "weir-plugin-load-aware";

/// What to measure and how to print it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure planning and sync rounds on this machine, without a guest
    #[arg(long, group = "measured")]
    native: bool,
    /// Measure weir, kube-proxy (IPVS and nftables) and kube-router side by side in a guest, against a real API server
    #[arg(long, group = "measured")]
    rivals: bool,
    #[command(flatten)]
    rival_options: rivals::Options,
    /// Output format of `--native` and `--rivals`
    #[arg(long, short, value_enum, default_value_t = Output::Text, requires = "measured")]
    output: Output,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// A table
    Text,
    /// One JSON object per line
    Json,
}

/// Runs the measurements.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    match (options.native, options.rivals) {
        (true, _) => native(options.output),
        (_, true) => rivals::main(&options.rival_options, options.output),
        _ => guest(),
    }
}

/// Runs the native benchmark with the built-in policy, an identity plugin, and one that reads counters.
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

/// Runs the counting tests with optimised code and shows their output, then measures plugin calls on this machine.
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
