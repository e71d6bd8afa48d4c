//! weir-simulation: a whole daemon, and everything around it that can go wrong, by seed.
//!
//! ```text
//! seed ─▶ Scenario: a node, an API server, a policy, and what happens one thing after the other
//!            │
//!            ▼
//! ApiServer ─events that lag, repeat, are listed again─▶ Daemon ─▶ Machine: weir-core's kernel, a clock, addresses
//!                                                          ▲        │ faults, lost answers, crashes, others who tamper
//!                                                          └────────┘
//! judge: looks at every output, at the kernel after every change, and at everything when it has been quiet
//! ```
//!
//! The daemon is the one of `weir run`; what is simulated is around it. The same seed is the same run, to the last change.

mod bugs;
mod cluster;
mod judge;
mod leaving;
mod machine;
mod pace;
mod run;
mod scenario;
mod seeds;

pub use bugs::hunt;
pub use run::{Tally, run};
pub use scenario::Scenario;
pub use seeds::{Failure, all, first, scenario, try_seed};
