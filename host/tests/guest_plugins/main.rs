//! What plugins do to packets: each stock plugin as a component in a running weir, measured with connections.
//!
//! One cluster of network namespaces serves all tests; see `weir_harness::lab`, and `weir_harness::cluster` for the
//! network.

mod annotations;
mod exchange;
mod identity;
mod load_aware;
mod masquerade_by_vip;
mod namespace_guard;
mod node_weights;
mod slow_start;

use std::process::ExitCode;

fn main() -> ExitCode {
    weir_harness::lab::run(
        env!("CARGO_BIN_EXE_weir"),
        &[
            identity::TESTS,
            annotations::TESTS,
            node_weights::TESTS,
            masquerade_by_vip::TESTS,
            namespace_guard::TESTS,
            slow_start::TESTS,
            load_aware::TESTS,
            exchange::TESTS,
        ],
    )
}
