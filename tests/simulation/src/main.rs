//! Runs scenarios by seed, or a single one again.

use std::process::ExitCode;

use clap::Parser;
use weir_simulation::{Failure, Tally, all, first, hunt, scenario, try_seed};

/// Runs a whole daemon in a simulated environment in which things go wrong; each seed gives one scenario
#[derive(Debug, Parser)]
struct Arguments {
    /// Run only this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Show the scenario of the seed
    #[arg(long, requires = "seed")]
    show: bool,
    /// Number of seeds to run
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Print the first failing seed on one line, without searching for a smaller scenario
    #[arg(long)]
    first: bool,
    /// Insert each deliberate bug of `bugs.json` whose name contains NAME, and print the seed that finds it
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    bugs: Option<String>,
}

fn main() -> ExitCode {
    let Arguments { seed, show, seeds, from, first: briefly, bugs } = Arguments::parse();
    if let Some(name) = bugs {
        return match hunt(&name, seeds) {
            Ok(0) => ExitCode::SUCCESS,
            Ok(missed) => {
                println!("\n{missed} bugs were not found by {seeds} seeds");
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(seed) = seed {
        if show {
            println!("{:#?}", scenario(seed));
        }
        return report(try_seed(seed).map(|tally| vec![tally]));
    }
    // A panic is reported with its seed; run that seed alone to see where it came from.
    std::panic::set_hook(Box::new(|_| {}));
    if !briefly {
        return report(all(from, seeds));
    }
    match first(from, seeds) {
        Ok(tallies) => report(Ok(tallies)),
        Err((seed, why)) => {
            let why: String = why.chars().take(160).collect();
            println!("seed {seed}, {} runs: {}", seed - from + 1, why.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn report(result: Result<Vec<Tally>, Failure>) -> ExitCode {
    match result {
        Ok(tallies) => {
            let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
            println!(
                "{} runs, {} steps of the daemon, {} changes of the kernel, {} crashes: no failures",
                tallies.len(),
                sum(|tally| tally.steps),
                sum(|tally| tally.changes),
                sum(|tally| tally.crashes)
            );
            ExitCode::SUCCESS
        }
        Err(Failure { seed, scenario, why }) => {
            println!("seed {seed}: {why}\n\nsmallest failing scenario:\n{scenario:#?}");
            println!("\nto reproduce: cargo run -p weir-simulation -- --seed {seed}");
            ExitCode::FAILURE
        }
    }
}
