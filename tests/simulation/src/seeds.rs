//! Scenarios by number, and the smallest one that still fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::run::{Tally, run};
use crate::scenario::{Scenario, scenarios};

/// How many smaller scenarios are tried before the smallest failing one is shown.
const SHRINKS: u32 = 2_000;

/// A scenario that something was wrong with.
#[derive(Debug)]
pub struct Failure {
    /// Its number.
    pub seed: u64,
    /// The smallest scenario like it that fails.
    pub scenario: Box<Scenario>,
    /// What is wrong there.
    pub why: String,
}

/// The scenario of a seed.
///
/// # Panics
/// Never: all values can be generated.
pub fn scenario(seed: u64) -> Scenario {
    tree(seed).current()
}

/// Runs the scenario of a seed.
///
/// # Errors
/// With the smallest scenario that fails.
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
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    scenarios().new_tree(&mut runner).expect("all values can be generated")
}

/// A panic is a failure like any other.
fn attempt(scenario: &Scenario) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| run(scenario))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", text.unwrap_or("without a word")))
    })
}
