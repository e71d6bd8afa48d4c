//! Runs a described load on a real kernel: pods that sleep, client nodes as network namespaces, each with its own
//! IPVS and weir, and connections in an open loop. It reads the traffic files of `weir lab` and makes the same
//! connections.
//!
//! `cargo xtask experiment` starts it twice: in the guest to run the load, where each result is one line of JSON
//! and all other lines are for people, and on the host to report.

mod arm;
mod batch;
mod compare;
mod play;
mod pod;
mod report;
mod row;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use arm::Arm;
use report::Form;

/// Runs loads on a real kernel and reports the results.
#[derive(Debug, Parser)]
#[command(name = "weir-experiment")]
struct Arguments {
    /// Traffic file in the format of `weir lab`, with one service
    #[arg(long)]
    traffic: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the load; needs root and a kernel with IPVS
    Play(PlayOptions),
    /// Report results
    Report(ReportOptions),
}

/// Options of `play`.
#[derive(Debug, clap::Args)]
struct PlayOptions {
    /// The weir binary
    #[arg(long)]
    weir: PathBuf,
    /// Manifests with one Service
    #[arg(long)]
    manifests: PathBuf,
    /// Schedulers or plugins to compare
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    arms: Vec<Arm>,
    /// Number of arms to run at the same time, each with its own nodes and pods
    #[arg(long)]
    beside: usize,
    /// Run only these loads of the traffic file
    #[arg(long, value_delimiter = ',')]
    loads: Vec<String>,
    /// Use these seeds instead of those in the traffic file
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<u64>,
}

/// Options of `report`.
#[derive(Debug, clap::Args)]
struct ReportOptions {
    /// File of results in JSON, one per line
    #[arg(long)]
    rows: PathBuf,
    /// Output of `weir lab --output json` for the same traffic
    #[arg(long)]
    lab: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum)]
    output: Form,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard output is the only output that leaves the guest.
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Play(options) => batch::all(&arguments.traffic, options),
        Command::Report(options) => report::print(&arguments.traffic, options),
    }
}
