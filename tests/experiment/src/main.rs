//! A described load on a real kernel: pods that sleep, client nodes as network namespaces, each with its own IPVS and its
//! own weir, and connections in an open loop. It reads the traffic files of `weir lab`, and plays the same connections.
//!
//! `cargo xtask experiment` starts it twice: in the guest to play, where each result is one line of JSON and all other
//! lines are for people, and on the host to report.

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

/// Plays loads on a real kernel, and reports what came of it.
#[derive(Debug, Parser)]
#[command(name = "weir-experiment")]
struct Arguments {
    /// Traffic file, as for `weir lab`, with one service
    #[arg(long)]
    traffic: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play; takes root, and a kernel with IPVS
    Play(PlayOptions),
    /// Report what was played
    Report(ReportOptions),
}

/// Options of `play`.
#[derive(Debug, clap::Args)]
struct PlayOptions {
    /// The program
    #[arg(long)]
    weir: PathBuf,
    /// Manifests with one Service
    #[arg(long)]
    manifests: PathBuf,
    /// What balances
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    arms: Vec<Arm>,
    /// So many of them side by side, each with nodes and pods of its own
    #[arg(long)]
    beside: usize,
    /// Only these loads of the traffic file
    #[arg(long, value_delimiter = ',')]
    loads: Vec<String>,
    /// These seeds instead of those of the traffic file
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<u64>,
}

/// Options of `report`.
#[derive(Debug, clap::Args)]
struct ReportOptions {
    /// What was played, one line each
    #[arg(long)]
    rows: PathBuf,
    /// What `weir lab --output json` says to the same traffic
    #[arg(long)]
    lab: Option<PathBuf>,
    /// The form
    #[arg(long, value_enum)]
    output: Form,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard output is what leaves the guest.
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
