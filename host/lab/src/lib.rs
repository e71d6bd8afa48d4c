//! weir-lab: simulates a described load against policies, without a kernel.
//!
//! ```text
//! traffic file ─▶ Traffic ─┐
//! endpoints of a plan ─────┴▶ Load ─▶ play ◀─ Weights: plans of each node, known speeds
//!                                      │ one VirtualServer per client node, with IPVS's schedulers
//!                                      ▼
//!                                   Outcome ─▶ report: text, JSON lines, SVG
//! ```
//!
//! Time is virtual and randomness is seeded: the same input gives the same output.
//!
//! Out of scope: kernels, clocks, and planning (the command provides plans).

pub mod arrivals;
pub mod load;
pub mod outcome;
pub mod report;
pub mod scheduler;
pub mod simulate;
pub mod traffic;
pub mod virtual_server;
pub mod weights;
