//! weir-k8s: from text to the values of weir-core, with a sentence for everything that is wrong with it.
//!
//! ```text
//! manifests, API server ─▶ wire (serde) ─▶ objects ─▶ weir_core::objects ─┐
//! folder ─scan─▶ Inventory ─────────── changes ───────────────────────────┴▶ weir_core::cluster::Event
//! KubeProxyConfiguration ─▶ config ─▶ weir_core::node::ProxyConfig        Problem: file, object, field, value
//! ```
//!
//! Bad input never stops anything: what cannot be used is left out and named in a [`Problem`], and a folder
//! keeps the last good version of what became unreadable.
//!
//! Never: a connection to the API server, a runtime, a clock, a thread, a log line, a decision about what a
//! service should do.

pub mod config;
mod document;
pub mod interfaces;
pub mod manifests;
pub mod objects;
pub mod policy_config;
mod problem;
mod wire;

pub use problem::Problem;
