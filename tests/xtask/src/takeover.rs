//! `cargo xtask takeover`: one node handed over between the real kube-proxy and weir, under load.
//!
//! The API server runs here, on loopback; the node is in the guest, and `weir-takeover` there drives both programs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use weir_guest_init::Status;

use crate::machine::Listener;
use crate::side;
use crate::tally::{Counts, Tally};

/// By which the suite knows it, and its lines begin.
pub(crate) const NAME: &str = "takeover";

/// Seconds after which the guest is ended.
const TIMEOUT: u64 = 1800;

/// Options of `cargo xtask takeover`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// This weir instead of one that is built
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,
    /// Also what each of them does about what others change
    #[arg(long)]
    drift: bool,
}

/// Runs it for a person.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    let drift: &[&str] = if options.drift { &["--drift"] } else { &[] };
    let counts = run(options.weir.as_deref(), drift)?;
    println!("{counts}");
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs it as one of the suite's tiers, without drift, which takes long because kube-proxy answers only now and then.
pub(crate) fn tier() -> Result<Counts> {
    run(None, &[])
}

fn run(weir: Option<&Path>, arguments: &[&str]) -> Result<Counts> {
    let mut progress = Progress::default();
    side::run("weir-takeover", weir, arguments, TIMEOUT, &mut progress)?;
    Ok(progress.counts)
}

/// Passes on what is said, and counts it.
#[derive(Default)]
struct Progress {
    tally: Tally,
    counts: Counts,
}

impl Listener for Progress {
    fn begun(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        self.tally.push(bytes);
        let mut output = io::stdout().lock();
        output.write_all(bytes).and_then(|()| output.flush()).context("cannot write the output")
    }

    fn ended(&mut self, _: usize, status: Status) -> Result<()> {
        self.counts += std::mem::take(&mut self.tally).finish(status.is_success());
        Ok(())
    }
}
