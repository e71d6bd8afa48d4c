//! weir-watch: what the API server says becomes events of weir-core, and what weir has to say becomes Kubernetes Events.
//!
//! ```text
//! Access ─▶ Connection ─list, watch─▶ Feed (one for each Resource) ─Tracker─▶ Message ─▶ bounded channel ─▶ sync thread
//!                └◀─create, patch── Ledger (series, rates) ◀── Note ◀── Recorder, from any thread
//! ```
//!
//! A lost connection, an expired version, a server that answers nothing: all of it ends in the same place, a list that
//! is compared with what was told before. Only what is not in a complete list any more is said to be gone.
//!
//! Never: an object kept (names and hashes are), a gone object guessed from an incomplete list, a blocked sync thread,
//! a process started for credentials, a certificate that is not verified, a token in a log line.

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
