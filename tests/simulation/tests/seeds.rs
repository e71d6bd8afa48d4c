//! Runs the daemon by seed; `WEIR_SEEDS` changes the number of seeds.

use weir_simulation::{Failure, all};

#[test]
fn no_run_breaks_a_law() {
    let seeds = std::env::var("WEIR_SEEDS");
    let seeds = seeds.map_or(10_000, |seeds| seeds.parse().expect("WEIR_SEEDS is not a number"));
    if let Err(Failure { seed, scenario, why }) = all(0, seeds) {
        panic!(
            "seed {seed}: {why}\n\nsmallest failing scenario:\n{scenario:#?}\n\nto reproduce: cargo run -p \
             weir-simulation -- --seed {seed}"
        );
    }
}
