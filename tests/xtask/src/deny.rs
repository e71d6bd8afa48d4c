//! `cargo deny`: licences, sources and banned crates. Advisories need their database and have a workflow of their own.

use anyhow::{Context, Result};

use crate::process;
use crate::tools::Tool;

const DENY: Tool = Tool::Cargo("cargo-deny", "0.20.2");

/// The workspace, and what cannot be in it.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "tests/componentize/Cargo.toml", "tests/fuzz/Cargo.toml"];

/// Runs the checks.
///
/// # Errors
/// [`NotInstalled`](crate::tools::NotInstalled) in the chain when cargo-deny is neither here nor to be had; else when a
/// check fails.
pub(crate) fn check() -> Result<()> {
    for manifest in MANIFESTS {
        let mut check = DENY.command()?;
        check.args(["--config", "deny.toml", "--manifest-path", manifest]);
        process::run(check.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
            .with_context(|| manifest.to_owned())?;
    }
    Ok(())
}
