//! Runs scenarios by seed, or one again.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::Parser;
use weir_simulation::{Failure, Tally, scenario, try_seed};

/// A whole daemon with everything around it that can go wrong, by seed
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this seed only
    #[arg(long)]
    seed: Option<u64>,
    /// Show the scenario of the seed
    #[arg(long, requires = "seed")]
    show: bool,
    /// How many seeds to run
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
}

fn main() -> ExitCode {
    // A panic is told with its seed; where it came from is seen when that is run alone.
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        if arguments.show {
            println!("{:#?}", scenario(seed));
        }
        return report(try_seed(seed).map(|tally| vec![tally]));
    }
    std::panic::set_hook(Box::new(|_| {}));
    report(all(arguments.from, arguments.seeds))
}

/// Runs seeds on all processors until one fails.
fn all(from: u64, count: u64) -> Result<Vec<Tally>, Failure> {
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let result = try_seed(seed);
                    stop.fetch_or(result.is_err(), Ordering::Relaxed);
                    results.lock().expect("no thread panics here").push(result);
                }
            });
        }
    });
    results.into_inner().expect("no thread panics here").into_iter().collect()
}

fn report(result: Result<Vec<Tally>, Failure>) -> ExitCode {
    match result {
        Ok(tallies) => {
            let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
            println!(
                "{} runs, {} steps of the daemon, {} changes of the kernel, {} crashes: all is well",
                tallies.len(),
                sum(|tally| tally.steps),
                sum(|tally| tally.changes),
                sum(|tally| tally.crashes)
            );
            ExitCode::SUCCESS
        }
        Err(Failure { seed, scenario, why }) => {
            println!("seed {seed}: {why}\n\nthe smallest scenario that fails:\n{scenario:#?}");
            println!("\nagain: cargo run -p weir-simulation -- --seed {seed}");
            ExitCode::FAILURE
        }
    }
}
