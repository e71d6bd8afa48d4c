//! weir-policy: runs policy plugins, which are WebAssembly components, and turns their answers into decisions.
//!
//! ```text
//! file ─▶ Artifact (verified, compiled, linked, configured) ─▶ Plugin (memory, breaker, account) ─▶ Chain: Policy
//!
//! ServiceView ─lower─▶ record ─▶ Instance (fresh, limited) ─▶ answer ─parse─▶ patch
//! patch ─▶ Opinion ─▶ Decision ─▶ weir-core's guard
//! ```
//!
//! Every failure has an outcome documented in `wit/README.md`, and no failure affects another plugin, another
//! service, or the daemon.
//!
//! This crate makes no decisions of its own (the built-in policy is in weir-core). It gives a guest no file or
//! socket, lets no guest outlive a call, and runs no machine code that weir did not compile.

mod account;
mod artifact;
mod bindings;
mod breaker;
mod cache;
mod call;
mod chain;
mod compile;
pub mod configuration;
mod convert;
mod engine;
mod guest;
mod hook;
mod load;
mod lower;
mod memo;
mod metrics;
mod needs;
mod patch;
mod plugin;
mod record;
mod replace;
mod stable_hash;
mod wasi;

/// The target of log lines written by plugins; their field `plugin` is the plugin's name.
pub const LOG_TARGET: &str = "weir::plugin";

pub use account::{Account, Condition};
pub use artifact::{Artifact, Facts, LoadError};
pub use cache::{Cache, CacheError};
pub use call::CallFailure;
pub use chain::{Chain, Status, status, take_records};
pub use compile::{CompileError, Compiler, Complaint, child};
pub use engine::{EngineError, Runtime};
pub use load::{Loaded, Loader, Refused, UnknownShadow};
pub use metrics::{Metric, MetricError, MetricKind};
pub use needs::NeedError;
pub use record::{Record, ReplayError};
pub use replace::Replacement;
