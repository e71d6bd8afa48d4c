//! `cargo xtask takeover`: hands a node over between kube-proxy and weir, under traffic.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::beside::Beside;
use crate::guest_tests::Progress;
use crate::tally::Counts;

/// The program in the guest.
const DRIVER: &str = "weir-takeover";

/// Stop the guest after this many seconds.
const TIMEOUT: u64 = 1200;

/// Options of `cargo xtask takeover`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Do not test the switch. Instead, damage the kernel state that each proxy has programmed, and report how the proxy
    /// reacts
    #[arg(long)]
    drift: bool,
    /// Use this weir binary instead of building one
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,
}

/// Runs it, and prints expectations and observations.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let counts = run(options)?;
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The expectations as tests.
///
/// # Errors
/// When it cannot run. A failed expectation is a count, not an error.
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
