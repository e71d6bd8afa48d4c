//! Values that are generated from a seed.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A source of values that depend only on a seed.
#[derive(Debug)]
pub struct Seed(TestRunner);

impl Seed {
    /// Starts the sequence of values of this seed.
    pub fn new(seed: u64) -> Seed {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Seed(TestRunner::new_with_rng(Config::default(), rng))
    }

    /// The next value, with the simpler values to which proptest can shrink it.
    pub fn tree<S: Strategy>(&mut self, of: S) -> S::Tree {
        of.new_tree(&mut self.0).expect("all values can be generated")
    }

    /// The next value.
    pub fn take<S: Strategy>(&mut self, of: S) -> S::Value {
        self.tree(of).current()
    }
}
