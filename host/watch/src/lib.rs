//! weir-watch: turns the API server's data into events of weir-core, and weir's notes into Kubernetes Events.
//!
//! ```text
//! Access ─▶ Connection ─list, watch─▶ Feed (one per Resource) ─Tracker─▶ Message ─▶ bounded channel ─▶ sync thread
//!                └◀─create, patch── Ledger (series, rates) ◀── Note ◀── Recorder, from any thread
//! ```
//!
//! After a lost connection, an expired version or a server that does not answer, the watch resumes, or a new list is
//! compared with what was sent before. An object that an incomplete list lacks is not reported as gone.
//!
//! This crate keeps names and hashes, not objects. It never blocks the sync thread, starts a process for credentials,
//! skips certificate verification, or logs a token.

mod access;
mod account;
mod backoff;
mod connection;
mod feed;
mod message;
mod outlet;
mod rate;
mod recorder;
mod resource;
mod settings;
mod thread;
mod tracker;
mod wire;

pub use access::{Access, AccessError};
pub use account::{Account, Figures, Request};
pub use backoff::Backoff;
pub use feed::Timing;
pub use message::{Message, Standing, Standings};
pub use rate::Rate;
pub use recorder::{Limits, Note, Recorder, Regarding, Severity};
pub use resource::Resource;
pub use settings::Settings;
pub use thread::{Handle, SpawnError, check, spawn};
