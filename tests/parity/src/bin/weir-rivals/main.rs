//! Measures weir and its alternatives side by side: each proxy in its own namespace, one after the other, against
//! one API server.
//!
//! `cargo xtask bench --rivals` starts it on the host with `--fill`, to write the objects, and in the guest to
//! measure; with a background of changes also on the host with `--write`, which makes them. In the guest each finished row is one line of JSON; all other lines are for people.

mod measure;
mod objects;
mod rival;
mod stage;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use weir_cluster::Client;
use weir_parity::Programs;

use rival::Kind;

/// Measures service proxies side by side.
#[derive(Debug, Parser)]
#[command(name = "weir-rivals")]
struct Arguments {
    #[command(flatten)]
    programs: Programs,
    /// Write the objects to the API server, and measure nothing.
    #[arg(long)]
    fill: bool,
    /// Make the background changes until killed, and measure nothing.
    #[arg(long)]
    write: bool,
    /// Number of endpoints of other services that change per second during the measurements.
    #[arg(long, default_value_t = 0)]
    background: u32,
    /// Number of services, with ten endpoints each.
    #[arg(long)]
    services: u32,
    /// Number of changes to measure for each proxy.
    #[arg(long, default_value_t = 10)]
    changes: u32,
    /// Number of runs per proxy.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// The proxies to measure, in this order.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    only: Vec<Kind>,
}

impl Arguments {
    /// Whether nothing changes but what is measured.
    fn is_quiet(&self) -> bool {
        self.background == 0
    }
}

fn main() -> ExitCode {
    weir_parity::exit_code(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let client = Client::from_kubeconfig(&arguments.programs.kubeconfig)?;
    if arguments.fill {
        objects::fill(&client, arguments.services)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.write {
        objects::write(&client, arguments.services, arguments.background)?;
        return Ok(ExitCode::SUCCESS);
    }
    let failed = measure::all(arguments, client)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
