//! weir-watch: turns the API server's data into events of weir-core, and weir's notes into Kubernetes Events.
//!
//! ```text
//! Access ─▶ Connection ─list, watch─▶ Feed (one for each Resource) ─Tracker─▶ Message ─▶ bounded channel ─▶ sync thread
//!                └◀─create, patch── Ledger (series, rates) ◀── Note ◀── Recorder, from any thread
//! ```
//!
//! A lost connection, an expired version, a server that does not answer: all lead to a new list that is compared with
//! what was sent before. Only objects missing from a complete list are reported as gone.
//!
//! Never: keeping objects (only names and hashes), treating an object as gone because of an incomplete list, blocking
//! the sync thread, starting a process for credentials, skipping certificate verification, logging a token.

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
