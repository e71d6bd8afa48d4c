//! weir-k8s: from text to the values of weir-core, with a message for everything that is wrong with the text.
//!
//! ```text
//! manifests, API server ─▶ wire (serde) ─▶ objects ─▶ weir_core::objects ─┐
//! folder ─scan─▶ Inventory ─────────── changes ───────────────────────────┴▶ weir_core::cluster::Event
//! KubeProxyConfiguration ─▶ config ─▶ weir_core::node::ProxyConfig        Problem: file, object, field, value
//! ```
//!
//! Bad input is never fatal: unusable parts are left out and reported in a [`Problem`], and a folder keeps the last
//! good version of anything that became unreadable.
//!
//! Out of scope: connecting to the API server, a runtime, clocks, threads, logs, and decisions about what a service
//! should do.

pub mod config;
mod document;
mod file;
pub mod interfaces;
pub mod manifests;
pub mod objects;
mod problem;
mod wire;

pub use document::{Document, FaultKind, Format, KeyFault, SyntaxError, parse as parse_documents};
pub use file::{FileError, read_regular};
pub use objects::quantity::bytes as parse_bytes;
pub use problem::{Problem, Problems, abridged, nearest};

/// Parses a time as the API writes it (RFC 3339), with its fraction of a second; `None` if it is invalid.
pub fn parse_time(text: &str) -> Option<std::time::SystemTime> {
    objects::timestamp::parse_precisely(text)
}

/// Parses a single value written as YAML or JSON.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_value(text: &str) -> Result<serde_json::Value, String> {
    let mut documents = document::parse(text, document::Format::Yaml).map_err(|error| error.to_string())?;
    match (documents.pop(), documents.len()) {
        (None, _) => Ok(serde_json::Value::Null),
        (Some(document), 0) if document.faults.is_empty() => Ok(document.value),
        (Some(document), 0) => {
            let faults = document.faults.iter().map(|KeyFault { path, kind }| match kind {
                FaultKind::Repeated => format!("{path} occurs more than once"),
                FaultKind::NotText if path.is_empty() => "a key must be text".to_owned(),
                FaultKind::NotText => format!("{path}: a key must be text"),
            });
            Err(faults.collect::<Vec<_>>().join("; "))
        }
        (Some(_), more) => Err(format!("{} documents; expected one", more + 1)),
    }
}
