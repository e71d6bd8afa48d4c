//! Write a policy plugin for weir in Rust: see README.md for one in fifteen minutes.
//!
//! ```text
//! your type: Plugin + any of Filter, Scheduler, Masquerade ─export!─▶ component
//!                     │
//!                     └─ testing: the same type over recorded views, as plain Rust
//! ```
//!
//! A plugin looks at one service at a time, and its answer must depend on nothing but its configuration and what it is
//! handed: weir remembers answers and asks again only when something changed that the plugin said it needs.
//!
//! Never: state between calls, a clock, a file, a network.

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod component;
pub mod configuration;
mod convert;
mod export;
pub mod hash;
pub mod log;
pub mod scope;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod value;
pub mod weights;

pub use ipnet::IpNet;
pub use serde;
pub use serde_json;
pub use weir_plugin_views::{
    Attributes, Context, Drain, Endpoint, Family, Node, Persistence, Port, Protocol, Refusal, Schedule,
    Scheduling, ServerStatistics, Service, Slice, SourceAction, SourceFilter, Treatment, Treatments, Verdict,
    Vip, VipKind, Weights, glob,
};

/// A plugin. Its value is its configuration, read once; it decides through [`Filter`], [`Scheduler`] and
/// [`Masquerade`], as many of them as [`export!`] names.
///
/// Decisions are pure: weir throws an instance away after each call and remembers answers, so that anything a plugin
/// keeps between calls is lost or, worse, makes it answer the same question in two ways.
pub trait Plugin: Sized + 'static {
    /// The name it gives itself.
    const NAME: &'static str;
    /// Its version: `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;

    /// Makes a plugin of its configuration, JSON that is `null` if there is none. [`configuration`] has what it takes.
    ///
    /// # Errors
    /// With everything that is wrong, each as a sentence that names the key, the value and what is allowed.
    fn configure(configuration: &str) -> Result<Self, Vec<String>>;

    /// What it reads beyond names, ports and policies, in the words of `wit/README.md`: `annotation:KEY`, `endpoints`,
    /// `nodes` and so on. What is not named here is empty, and no reason to be asked again.
    fn needs(&self) -> Vec<String>;

    /// Numbers that its answers carry and weir exports, at most 8: see [`Metric`].
    const METRICS: &'static [Metric] = &[];
}

/// A number that a plugin tells of each service, which weir exports for all of them together, as `weir_policy_NAME` with
/// the plugin's name as label. Answers give the numbers in the order of [`Plugin::METRICS`], by `with_metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

impl Metric {
    /// A gauge: the numbers of all services are added. The name is of lower-case letters, digits and `_`, at most 48, and
    /// tells the unit; the help says what it is in one sentence.
    pub const fn sum(name: &'static str, help: &'static str) -> Metric {
        Metric { name, kind: "sum", help }
    }

    /// A gauge: the largest number of all services.
    pub const fn max(name: &'static str, help: &'static str) -> Metric {
        Metric { name, kind: "max", help }
    }

    /// A counter: the number of each new answer is added. weir appends `_total` to the name. Answers from memory add nothing,
    /// so it can only tell of what a plugin decides when something changed.
    pub const fn counter(name: &'static str, help: &'static str) -> Metric {
        Metric { name, kind: "counter", help }
    }
}

/// Decides which services, VIPs and endpoints this node handles, and who may reach them.
pub trait Filter: Plugin {
    /// What to leave out of one service. Nothing here can lift what another plugin restricts.
    ///
    /// # Errors
    /// See [`Error`].
    fn select(&self, service: &Service, context: &Context) -> Result<Verdict, Error>;
}

/// Decides how connections are spread over endpoints.
pub trait Scheduler: Plugin {
    /// The schedule of one service, of which earlier plugins said `prior`. What the answer keeps stays so.
    ///
    /// # Errors
    /// See [`Error`].
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error>;
}

/// Decides whose source address is replaced.
pub trait Masquerade: Plugin {
    /// The treatment of one service, of which earlier plugins said `prior`. What the answer keeps stays so.
    ///
    /// # Errors
    /// See [`Error`].
    fn treat(&self, service: &Service, prior: &Treatments, context: &Context) -> Result<Treatments, Error>;
}

/// Why there is no answer.
///
/// The contract has one result for a whole call, and a call is about up to 256 services; the SDK makes that result of the
/// answers about single services:
///
/// - [`InvalidInput`](Error::InvalidInput) is about one service. The call fails, weir asks again with parts of the batch
///   until it knows which services it is about, and goes by the plugin's `failurePolicy` for these alone. That is up to 16
///   more calls for each, so an annotation that users get wrong every day deserves an answer that keeps the default and
///   says why in its `reason`, and not an error.
/// - [`Transient`](Error::Transient) and [`Permanent`](Error::Permanent) are about the plugin. The call fails whatever the
///   other services were; weir does not search, and the `failurePolicy` counts for all of them.
///
/// Of several errors the gravest counts, permanent before transient before invalid input, so that the order of services
/// does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Something is wrong with this service.
    InvalidInput(String),
    /// Asking again later may help.
    Transient(String),
    /// Asking again will not help before plugin or configuration change.
    Permanent(String),
}
