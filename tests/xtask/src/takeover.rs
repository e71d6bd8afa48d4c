//! `cargo xtask takeover`: kube-proxy and weir take a node over from each other, under traffic.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::beside::Beside;
use crate::guest_tests::Progress;
use crate::tally::Counts;

/// The program in the guest.
const DRIVER: &str = "weir-takeover";

/// Seconds after which the guest is ended.
const TIMEOUT: u64 = 1200;

/// Options of `cargo xtask takeover`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Break things on a programmed node instead, and tell what each program does about it
    #[arg(long)]
    drift: bool,
    /// This weir instead of one that is built
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,
}

/// Runs it, and prints what was claimed and seen.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let counts = run(options)?;
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The claims as tests.
///
/// # Errors
/// When it cannot be run; a claim that does not hold is no error but a count.
pub(crate) fn tier() -> Result<Counts> {
    run(&Options { drift: false, weir: None })
}

fn run(options: &Options) -> Result<Counts> {
    let beside = Beside::build(DRIVER, options.weir.as_deref())?;
    let arguments = if options.drift { vec!["--drift".to_owned()] } else { Vec::new() };
    let mut progress = Progress::of(vec![DRIVER.to_owned()]);
    beside.run(arguments, TIMEOUT, &mut progress)?;
    Ok(progress.counts())
}
