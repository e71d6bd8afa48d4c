//! weir-daemon: the daemon as a state machine.
//!
//! ```text
//! objects, addresses changed, plugins, time ─▶ Daemon::step(input, now) ─▶ outputs: reports, health, rounds, what to follow
//!                                                   │ asks and changes
//!                                                   ▼
//!                                            Host: Kernel, addresses, a clock
//! ```
//!
//! `weir run` feeds it from channels and a clock; the simulation feeds it from a seed. A round calls the [`Host`]
//! directly instead of using outputs, because each answer determines the next step; a simulation can inject a failure
//! at every such call.
//!
//! Out of scope: clocks, threads, files, sockets, logs. Everything it reports is an output.

mod agenda;
mod daemon;
mod hints;
mod host;
mod message;
mod others;
mod remark;

pub use daemon::overview::{Awaited, LastChange, Leaving, Overview, Pending, Reported};
pub use daemon::{Daemon, Setup};
pub use host::Host;
pub use message::{Done, Input, Listed, Output, Successor};
pub use remark::Remark;
