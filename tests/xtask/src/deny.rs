//! `cargo deny`: licences, sources and banned crates. Advisories need their database, so they have their own
//! workflow.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

const VERSION: &str = "0.20.2";

/// The workspace, and the packages that cannot be part of it.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "tests/componentize/Cargo.toml", "tests/fuzz/Cargo.toml"];

/// Runs the checks.
///
/// # Errors
/// Contains [`NotInstalled`] when cargo-deny is missing and cannot be installed; otherwise, when a check fails.
pub(crate) fn check() -> Result<()> {
    for manifest in MANIFESTS {
        let mut check = command()?;
        check.args(["--config", "deny.toml", "--manifest-path", manifest]);
        process::run(check.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
            .with_context(|| manifest.to_owned())?;
    }
    Ok(())
}

/// cargo-deny could not be installed.
#[derive(Debug)]
pub(crate) struct NotInstalled;

impl std::fmt::Display for NotInstalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot install cargo-deny {VERSION}")
    }
}

impl std::error::Error for NotInstalled {}

/// Returns cargo-deny from the search path or from our own directory, building it there (some minutes) if needed.
fn command() -> Result<Command> {
    let mut cargo = workspace::cargo();
    if process::exists("cargo-deny") {
        cargo.arg("deny");
        return Ok(cargo);
    }
    let root = workspace::lab().join("tools");
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        eprintln!("building cargo-deny {VERSION} (first use only)");
        cargo.args(["install", "--quiet", "--locked", "--root"]).arg(&root);
        process::run(cargo.arg(format!("cargo-deny@{VERSION}"))).context(NotInstalled)?;
    }
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    Ok(command)
}
