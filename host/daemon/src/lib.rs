//! weir-daemon: weir's node daemon as a state machine.
//!
//! ```text
//! objects, addresses changed, plugins, time ─▶ Daemon::step(input, now) ─▶ outputs: reports, health, rounds,
//!                                                   │ reads and changes    what to follow
//!                                                   ▼
//!                                            Host: Kernel, addresses, a clock
//! ```
//!
//! `weir run` drives the daemon with channels and a clock, and the simulation with a seed. A round calls the [`Host`]
//! directly instead of using outputs, because each answer determines the next step; a simulation can inject a failure
//! at every such call.
//!
//! Out of scope: clocks, threads, files, sockets, logs. Everything that the daemon reports is an output.

mod agenda;
mod daemon;
mod hints;
mod host;
mod message;
mod missing;
mod others;
mod warning;

pub use daemon::overview::{Awaited, LastChange, Leaving, Overview, Pending, Reported};
pub use daemon::{Daemon, Setup};
pub use host::Host;
pub use message::{Done, Input, Listed, Output, Successor};
pub use warning::Warning;
