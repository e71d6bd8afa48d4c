//! `cargo xtask takeover`: kube-proxy and weir take a node over from each other, under traffic.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use weir_guest_init::Status;

use crate::beside::Beside;
use crate::machine::Listener;
use crate::tally::{Counts, Tally};

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
    let output = run(options)?;
    Ok(if output.status.is_some_and(Status::is_success) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The claims as tests.
///
/// # Errors
/// When it cannot be run; a claim that does not hold is no error but a count.
pub(crate) fn tier() -> Result<Counts> {
    let output = run(&Options { drift: false, weir: None })?;
    Ok(output.tally.finish(output.status.is_some_and(Status::is_success)))
}

fn run(options: &Options) -> Result<Output> {
    let beside = Beside::build("weir-takeover", options.weir.as_deref())?;
    let arguments = if options.drift { vec!["--drift".to_owned()] } else { Vec::new() };
    let mut output = Output::default();
    beside.run(arguments, TIMEOUT, &mut output)?;
    Ok(output)
}

/// Passes on what is printed, and counts.
#[derive(Default)]
struct Output {
    tally: Tally,
    status: Option<Status>,
}

impl Listener for Output {
    fn begun(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        self.tally.push(bytes);
        let mut output = io::stdout().lock();
        output.write_all(bytes).and_then(|()| output.flush()).context("cannot write the output")
    }

    fn ended(&mut self, _: usize, status: Status) -> Result<()> {
        self.status = Some(status);
        Ok(())
    }
}
