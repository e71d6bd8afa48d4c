//! Scenarios by number, and the smallest one that still fails.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::strategy::ValueTree;
use weir_world::Seed;

use crate::run::{Tally, run};
use crate::scenario::{Scenario, scenarios};

/// How many smaller scenarios are tried before the smallest failing one is printed.
const SHRINKS: u32 = 2_000;

/// A failed scenario.
#[derive(Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The smallest similar scenario that fails.
    pub scenario: Box<Scenario>,
    /// What is wrong in that scenario.
    pub why: String,
}

/// The scenario of a seed.
///
/// # Panics
/// Never: all values can be generated.
pub fn scenario(seed: u64) -> Scenario {
    tree(seed).current()
}

/// Runs seeds on all processors until one fails.
///
/// # Errors
/// The smallest failing scenario similar to the first that failed.
pub fn all(from: u64, count: u64) -> Result<Vec<Tally>, Failure> {
    first(from, count).or_else(|(seed, _)| try_seed(seed).map(|tally| vec![tally]))
}

/// Like [`all`], without the search for a smaller scenario.
///
/// # Errors
/// The first seed that fails, and why.
///
/// # Panics
/// Never: a panic is a failure of its seed.
pub fn first(from: u64, count: u64) -> Result<Vec<Tally>, (u64, String)> {
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let results = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let result = attempt(&scenario(seed));
                    stop.fetch_or(result.is_err(), Ordering::Relaxed);
                    results.lock().expect("no thread panics here").insert(seed, result);
                }
            });
        }
    });
    // Every seed before a failing one has run to completion.
    let results = results.into_inner().expect("no thread panics here");
    results.into_iter().map(|(seed, result)| result.map_err(|why| (seed, why))).collect()
}

/// Runs the scenario of a seed.
///
/// # Errors
/// The smallest scenario that fails.
pub fn try_seed(seed: u64) -> Result<Tally, Failure> {
    let first = match attempt(&scenario(seed)) {
        Ok(tally) => return Ok(tally),
        Err(why) => why,
    };
    let mut tree = tree(seed);
    let (mut smallest, mut why) = (tree.current(), first);
    for _ in 0..SHRINKS {
        if !tree.simplify() {
            break;
        }
        loop {
            match attempt(&tree.current()) {
                Err(reason) => {
                    (smallest, why) = (tree.current(), reason);
                    break;
                }
                Ok(_) if tree.complicate() => {}
                Ok(_) => return Err(Failure { seed, scenario: Box::new(smallest), why }),
            }
        }
    }
    Err(Failure { seed, scenario: Box::new(smallest), why })
}

fn tree(seed: u64) -> impl ValueTree<Value = Scenario> {
    Seed::new(seed).tree(scenarios())
}

/// A panic is a failure like any other.
fn attempt(scenario: &Scenario) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| run(scenario))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", text.unwrap_or("without a message")))
    })
}
