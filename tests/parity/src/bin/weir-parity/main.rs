//! The comparison, run in the guest: kube-proxy and weir in two namespaces with the same addresses.
//!
//! Results go to standard output: lines for people, and files for `cargo xtask parity` prefixed with
//! [`weir_guest_init::FILE`].

mod case;
mod stage;

use std::ops::Range;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use weir_parity::Programs;

use stage::Stage;

/// Runs weir and kube-proxy side by side on random clusters.
#[derive(Debug, Parser)]
#[command(name = "weir-parity")]
struct Arguments {
    #[command(flatten)]
    programs: Programs,
    /// Seeds to run, as A..B: from A to B - 1. Each seed gives one random cluster.
    #[arg(long, value_parser = seeds)]
    seeds: Range<u64>,
    /// Number of random changes to each cluster.
    #[arg(long)]
    mutations: usize,
    /// Number of changes between two comparisons.
    #[arg(long)]
    batch: usize,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    weir_parity::seeds(text).context("expected A..B").map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    weir_parity::exit_code(compare(&Arguments::parse()))
}

fn compare(arguments: &Arguments) -> Result<ExitCode> {
    let mut stage = Stage::new(arguments)?;
    let mut total = case::Counts::default();
    for seed in arguments.seeds.clone() {
        total += case::run(&mut stage, seed, arguments.mutations, arguments.batch)?;
    }
    println!("{total}");
    Ok(if total.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
