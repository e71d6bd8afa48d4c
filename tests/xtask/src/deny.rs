//! `cargo deny`: licences, sources and banned crates. Advisories need their database, so they have their own
//! workflow.

use anyhow::{Context, Result};

use crate::process;
use crate::tools::Tool;

pub(crate) const DENY: Tool = Tool::Cargo("cargo-deny", "0.20.2");

/// The workspace, and the packages that cannot be part of it.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "tests/componentize/Cargo.toml", "tests/fuzz/Cargo.toml"];

/// Runs the checks.
///
/// # Errors
/// Contains [`NotInstalled`](crate::tools::NotInstalled) when cargo-deny is missing and cannot be installed; otherwise,
/// when a check fails.
pub(crate) fn check() -> Result<()> {
    for manifest in MANIFESTS {
        let mut check = DENY.command()?;
        check.args(["--config", "deny.toml", "--manifest-path", manifest]);
        process::run(check.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
            .with_context(|| manifest.to_owned())?;
    }
    Ok(())
}
