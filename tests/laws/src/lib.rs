//! weir-laws: properties of every cluster, every order of events and every fault.
//!
//! ```text
//! world ─events─▶ Planner ─Plan─▶ Syncer ─▶ Simulated ◀─faults, tampering
//!                  laws check every value and every intermediate step
//! ```
//!
//! Worlds are those of `weir-world`. What the simulation shares is public; the laws themselves are this crate's tests.
//! A case that failed once is kept in `proptest-regressions` and always tried first.
//!
//! There is no kernel, clock or cluster; everything here is a value.

pub mod hostile;
pub mod tamper;
pub mod watch;

#[cfg(test)]
mod laws;
