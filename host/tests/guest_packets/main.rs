//! Packets through a running weir: real servers, real clients, both families.
//!
//! One cluster of network namespaces serves all tests; see `weir_harness::lab`, and `weir_harness::cluster` for the
//! network.

mod affinity;
mod change;
mod issues;
mod network;
mod policy;
mod ranges;
mod reach;
mod refusal;
mod source;
mod top;

use std::process::ExitCode;

fn main() -> ExitCode {
    weir_harness::lab::run(
        env!("CARGO_BIN_EXE_weir"),
        &[
            network::TESTS,
            reach::TESTS,
            source::TESTS,
            affinity::TESTS,
            policy::TESTS,
            ranges::TESTS,
            refusal::TESTS,
            change::TESTS,
            issues::TESTS,
            top::TESTS,
        ],
    )
}
