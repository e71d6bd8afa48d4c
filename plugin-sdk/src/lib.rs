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

// The world's records are documented where they are written, in `wit/policy.wit`.
#[allow(missing_docs, unsafe_code, clippy::all, reason = "generated")]
#[doc(hidden)]
pub mod bindings;
mod convert;
#[doc(hidden)]
pub mod export;
pub mod help;
pub mod log;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use ipnet::IpNet;
pub use serde;
pub use serde_json;
pub use weir_plugin_views::{
    Attributes, Context, Drain, Endpoint, Family, Node, Persistence, Port, Protocol, Refusal, Schedule,
    Scheduling, Service, Slice, SourceAction, SourceFilter, Treatment, Treatments, Verdict, Vip, VipKind,
    Weights,
};

/// A plugin that was configured.
pub trait Plugin: Sized {
    /// The name it gives itself.
    const NAME: &'static str;
    /// Its version.
    const VERSION: &'static str;

    /// Makes a plugin of its configuration. [`help::configuration`] does it for a type that serde can read.
    ///
    /// # Errors
    /// With everything that is wrong, each as a sentence that names the key, the value and what is allowed.
    fn configure(configuration: &str) -> Result<Self, Vec<String>>;

    /// What it reads beyond names, ports and policies, in the words of `wit/README.md`: `annotation:KEY`, `endpoints`,
    /// `nodes` and so on. What is not named here is empty.
    fn needs(&self) -> Vec<String>;
}

/// Decides which services, VIPs and endpoints this node handles, and who may reach them.
pub trait Filter: Plugin {
    /// The verdict on one service.
    ///
    /// # Errors
    /// See [`Error`].
    fn select(&self, service: &Service, context: &Context) -> Result<Verdict, Error>;
}

/// Decides how connections are spread over endpoints.
pub trait Scheduler: Plugin {
    /// The schedule of one service, of which earlier plugins said `prior`.
    ///
    /// # Errors
    /// See [`Error`].
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error>;
}

/// Decides whose source address is replaced.
pub trait Masquerade: Plugin {
    /// The treatment of one service, of which earlier plugins said `prior`.
    ///
    /// # Errors
    /// See [`Error`].
    fn treat(&self, service: &Service, prior: &Treatments, context: &Context) -> Result<Treatments, Error>;
}

/// Why there is no answer. A wrong annotation is seldom a reason: better keep the default, and say so in the answer's
/// `reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Something is wrong with this service. The call fails as a whole, and weir asks again in parts until it knows which
    /// service it was; that one keeps its last good answer, and the others get theirs.
    InvalidInput(String),
    /// Asking again later may help.
    Transient(String),
    /// Asking again will not help before plugin or configuration change.
    Permanent(String),
}

/// Makes a component of a plugin: `export!(MyPlugin: scheduler)`, with any of `filter`, `scheduler` and `masquerade`, in
/// that order.
#[macro_export]
macro_rules! export {
    ($plugin:ty: $($interface:ident),+) => {
        const _: () = {
            struct Component;
            impl $crate::export::Exported for Component {
                type Plugin = $plugin;
                const INTERFACES: &'static str = concat!($(stringify!($interface), " "),+);
                $crate::export!(@filter $($interface)+);
                $crate::export!(@scheduler $($interface)+);
                $crate::export!(@masquerade $($interface)+);
            }
            type Export = $crate::export::Export<Component>;
            $crate::bindings::export_world!(Export with_types_in $crate::bindings);
        };
    };
    (@filter filter $($rest:ident)*) => {
        fn select(
            plugin: &Self::Plugin,
            service: &$crate::Service,
            context: &$crate::Context,
        ) -> Result<$crate::Verdict, $crate::Error> {
            $crate::Filter::select(plugin, service, context)
        }
    };
    (@filter $other:ident $($rest:ident)*) => { $crate::export!(@filter $($rest)*); };
    (@filter) => {};
    (@scheduler scheduler $($rest:ident)*) => {
        fn schedule(
            plugin: &Self::Plugin,
            service: &$crate::Service,
            prior: &$crate::Schedule,
            context: &$crate::Context,
        ) -> Result<$crate::Schedule, $crate::Error> {
            $crate::Scheduler::schedule(plugin, service, prior, context)
        }
    };
    (@scheduler $other:ident $($rest:ident)*) => { $crate::export!(@scheduler $($rest)*); };
    (@scheduler) => {};
    (@masquerade masquerade $($rest:ident)*) => {
        fn treat(
            plugin: &Self::Plugin,
            service: &$crate::Service,
            prior: &$crate::Treatments,
            context: &$crate::Context,
        ) -> Result<$crate::Treatments, $crate::Error> {
            $crate::Masquerade::treat(plugin, service, prior, context)
        }
    };
    (@masquerade $other:ident $($rest:ident)*) => { $crate::export!(@masquerade $($rest)*); };
    (@masquerade) => {};
}
