//! Random clusters and their changes, given to both weir and the real kube-proxy.
//!
//! ```text
//! seed ─▶ world ─mutate─▶ world ─objects─▶ API server ─▶ kube-proxy ─▶ kernel of the guest ──────┐
//!                                        └──────────▶ weir ─▶ kernel of a namespace ─▶ compared line by line
//! ```
//!
//! It never generates an object that the API server would refuse, or a situation in which kube-proxy's result is
//! random, such as two Services with one virtual server, or one endpoint with two conditions.

mod config;
pub mod delivery;
pub mod explained;
mod programs;
pub mod proxy;
pub mod world;

pub use config::config;
pub use programs::Programs;
pub use world::World;

use std::ops::Range;

/// `3..7`
pub fn seeds(text: &str) -> Option<Range<u64>> {
    let (first, end) = text.split_once("..")?;
    Some(first.trim().parse().ok()?..end.trim().parse().ok()?)
}

/// Converts a result to an exit code; errors go to standard output, the only output that leaves the guest.
pub fn exit_code(result: anyhow::Result<std::process::ExitCode>) -> std::process::ExitCode {
    result.unwrap_or_else(|error| {
        println!("error: {error:#}");
        std::process::ExitCode::FAILURE
    })
}
