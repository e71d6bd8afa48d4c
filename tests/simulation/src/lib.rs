//! weir-simulation: a whole daemon and everything around it that can go wrong, by seed.
//!
//! ```text
//! seed ─▶ Scenario: a node, an API server, a policy, and a sequence of steps
//!            │
//!            ▼
//! ApiServer ─events: delayed, repeated, listed again───▶ Daemon ─▶ Machine: weir-core's kernel, a clock, addresses
//!                                                          ▲        │ faults, lost answers, crashes, tampering
//!                                                          └────────┘
//! judge: checks every output, the kernel after every change, and everything after a quiet period
//! ```
//!
//! The daemon is that of `weir run`; only its environment is simulated. The same seed gives the same run, down to
//! the last change.

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
