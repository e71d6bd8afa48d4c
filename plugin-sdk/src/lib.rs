//! Write a policy plugin for weir in Rust. README.md shows how in fifteen minutes.
//!
//! ```text
//! your type: Plugin + any of Filter, Scheduler, Masquerade ─export!─▶ component
//!                     │
//!                     └─ testing: the same type with recorded views, as plain Rust
//! ```
//!
//! A plugin decides one service at a time, and its answer must depend only on its configuration and its arguments: weir
//! caches answers and calls again only when one of the plugin's declared needs changed.
//!
//! A plugin has no state between calls, no clock, no files and no network.

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

/// A policy plugin. The type that implements it holds the parsed configuration, and also implements those of
/// [`Filter`], [`Scheduler`] and [`Masquerade`] that [`export!`] lists.
///
/// Decisions are pure: weir discards an instance after each call and caches answers. Anything that a plugin keeps
/// between calls is lost or, worse, makes it answer the same question in two ways.
pub trait Plugin: Sized + 'static {
    /// The plugin's own name.
    const NAME: &'static str;
    /// Its version: `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;

    /// Makes a plugin from its configuration as JSON, or from `null` if it has none. [`configuration`] has helpers.
    ///
    /// # Errors
    /// Returns all mistakes, each as a sentence that names the key, the value and what is allowed.
    fn configure(configuration: &str) -> Result<Self, Vec<String>>;

    /// Returns the data that it reads beyond names, ports and policies, as listed in `wit/README.md`: `annotation:KEY`,
    /// `endpoints`, `nodes` and so on. Data that is not listed here is empty, and its changes cause no calls.
    fn needs(&self) -> Vec<String>;

    /// The metrics that its answers carry and weir exports, at most 8: see [`Metric`].
    const METRICS: &'static [Metric] = &[];
}

/// A metric that a plugin reports per service and weir exports aggregated over all services, as `weir_policy_NAME` with
/// the plugin's name as label. Answers give the values in the order of [`Plugin::METRICS`], through `with_metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

impl Metric {
    /// Defines a gauge: the sum over all services. The name consists of at most 48 lower-case letters, digits and `_`,
    /// and includes the unit; the help explains the metric in one sentence.
    pub const fn sum(name: &'static str, help: &'static str) -> Metric {
        Metric { name, kind: "sum", help }
    }

    /// Defines a gauge: the maximum over all services.
    pub const fn max(name: &'static str, help: &'static str) -> Metric {
        Metric { name, kind: "max", help }
    }

    /// Defines a counter: the value of each new answer is added. weir appends `_total` to the name. Cached answers add
    /// nothing, so it can only count decisions that a plugin makes when something changes.
    pub const fn counter(name: &'static str, help: &'static str) -> Metric {
        Metric { name, kind: "counter", help }
    }
}

/// Decides which services, VIPs and endpoints this node handles, and which sources may reach them.
pub trait Filter: Plugin {
    /// Returns the restrictions for one service. A filter cannot lift a restriction of another plugin.
    ///
    /// # Errors
    /// See [`Error`].
    fn select(&self, service: &Service, context: &Context) -> Result<Verdict, Error>;
}

/// Decides how connections are spread over endpoints.
pub trait Scheduler: Plugin {
    /// Returns the schedule of one service. `prior` is the answer of earlier plugins; it applies where this answer says
    /// "keep".
    ///
    /// # Errors
    /// See [`Error`].
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error>;
}

/// Decides which source addresses are replaced.
pub trait Masquerade: Plugin {
    /// Returns the treatment of one service. `prior` is the answer of earlier plugins; it applies where this answer
    /// says "keep".
    ///
    /// # Errors
    /// See [`Error`].
    fn treat(&self, service: &Service, prior: &Treatments, context: &Context) -> Result<Treatments, Error>;
}

/// Why there is no answer.
///
/// The contract has one result for a whole call of up to 256 services; the SDK combines the answers for single services
/// into that result:
///
/// - [`InvalidInput`](Error::InvalidInput) concerns one service. The call fails, weir calls again with parts of the
///   batch until it has found the services concerned, and applies the plugin's `failurePolicy` only to them. That takes
///   up to 16 more calls for each service. So for annotations that users often get wrong, do not return an error, but
///   an answer that keeps the default and gives the mistake as `reason`.
/// - [`Transient`](Error::Transient) and [`Permanent`](Error::Permanent) concern the plugin. The whole call fails; weir
///   does not search, and the `failurePolicy` applies to all its services.
///
/// Of several errors, the SDK returns the most severe: permanent before transient before invalid input. The order of
/// services does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Something is wrong with this service.
    InvalidInput(String),
    /// A later call may succeed.
    Transient(String),
    /// No call will succeed until the plugin or its configuration changes.
    Permanent(String),
}
