//! weir-laws: what must hold for every cluster, every order of events and every fault.
//!
//! ```text
//! world ─events─▶ Planner ─Plan─▶ Syncer ─▶ Simulated ◀─faults, tampering
//!                  laws look at every value and at every step between
//! ```
//!
//! The generators are public; the laws themselves are this crate's tests.
//! A case that once failed is kept in `proptest-regressions` and tried first for ever.
//!
//! Never: a kernel, a clock, a cluster; everything here is values.

pub mod hostile;
pub mod tamper;
pub mod watch;
pub mod world;

#[cfg(test)]
mod laws;
