//! weir-daemon: the daemon as a state machine.
//!
//! ```text
//! objects, addresses changed, plugins, time ─▶ Daemon::step(input, now) ─▶ outputs: reports, health, rounds, what to follow
//!                                                   │ asks and changes
//!                                                   ▼
//!                                            Host: Kernel, addresses, a clock
//! ```
//!
//! `weir run` feeds it from channels and a clock; the simulation feeds it from a seed. A round talks to the [`Host`] directly
//! and not by outputs, because it goes on with each answer; every such call is a place where a simulation can let
//! something go wrong.
//!
//! Never: a clock, a thread, a file, a socket, a log. Everything it has to say is an output.

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
