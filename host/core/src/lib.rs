//! weir-core: computes the kernel state that a node needs and the changes that lead to it, as plain values.
//!
//! ```text
//! Event ─▶ Cluster ─dirty─▶ ServiceView ─Policy─▶ Decision ─guard─▶ Wants (by virtual server) ─▶ Desired
//!                                                                                                 │ touched keys
//! kernel ─read─▶ Actual (where it differs) ◀──────────────────────────────────────────────────────┘
//!                  └─▶ Differences ─order─▶ Changes ─drain─▶ Kernel::execute ─▶ Outcomes ─▶ Actual, Retries
//! ```
//!
//! Every step is a function from values to values, so each can be printed, compared, checked and simulated.
//! Planning one service and planning all use the same function, and the cost of a round depends on what changed.
//!
//! This crate has no clock, environment, thread, log line, input or output. For bad user input, it returns no
//! `Result` but a value and a list of problems. It knows neither netlink nor the Kubernetes API's wire format.

// The tests' builders name this crate from outside.
#[cfg(test)]
extern crate self as weir_core;

pub mod actual;
#[cfg(test)]
#[path = "../../../tests/world/src/build.rs"]
pub mod build;
pub mod causes;
pub mod check;
pub mod cluster;
pub(crate) mod deadlines;
pub mod decision;
pub mod desired;
pub mod diff;
pub mod drain;
pub mod guard;
pub mod kernel;
pub mod net;
pub mod node;
pub mod objects;
pub mod plan;
pub mod planner;
pub mod policy;
pub mod readiness;
pub mod report;
pub mod retry;
pub mod rule;
pub mod sampling;
pub mod set;
pub mod simulated;
pub mod standing;
pub mod state;
pub mod sync;
pub mod tally;
pub mod text;
pub mod trace;
pub mod view;
pub mod wants;
pub mod witness;
