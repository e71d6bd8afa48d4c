//! `cargo xtask deny`: licences, sources and banned crates. `--advisories` instead checks the advisory database, which
//! changes daily and needs network access, so it has its own workflow.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::process;
use crate::tools::Tool;

pub(crate) const DENY: Tool = Tool::Cargo("cargo-deny", "0.20.2");

/// The workspace, and the packages that cannot be part of it.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "tests/componentize/Cargo.toml", "tests/fuzz/Cargo.toml"];

/// Checks of cargo-deny that need no database.
const WITHOUT_DATABASE: &[&str] = &["bans", "licenses", "sources"];

/// Options of `cargo xtask deny`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Instead, check all manifests against the RustSec advisory database, which is downloaded from GitHub
    #[arg(long)]
    advisories: bool,
}

/// Runs the checks that `options` selects.
///
/// # Errors
/// As [`check`]; also when the advisory database cannot be downloaded.
pub(crate) fn main(options: &Options) -> Result<()> {
    if !options.advisories {
        return check();
    }
    process::run(with_manifest(MANIFESTS[0])?.args(["fetch", "db"]))
        .context("cannot download the advisory database; the check needs access to github.com")?;
    checks(&["advisories"])
}

/// Checks licences, sources and banned crates.
///
/// # Errors
/// Contains [`NotInstalled`](crate::tools::NotInstalled) when cargo-deny is missing and cannot be installed; otherwise,
/// when a check fails.
pub(crate) fn check() -> Result<()> {
    checks(WITHOUT_DATABASE)
}

fn checks(names: &[&str]) -> Result<()> {
    for manifest in MANIFESTS {
        let mut deny = with_manifest(manifest)?;
        process::run(deny.args(["check", "--hide-inclusion-graph"]).args(names))
            .with_context(|| manifest.to_owned())?;
    }
    Ok(())
}

fn with_manifest(manifest: &str) -> Result<Command> {
    let mut deny = DENY.command()?;
    deny.args(["--config", "deny.toml", "--manifest-path", manifest]);
    Ok(deny)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_lock_file_is_checked() {
        let packages = std::fs::read_dir(workspace::root().join("tests")).unwrap();
        let folders = packages.map(|entry| format!("tests/{}", entry.unwrap().file_name().display()));
        let mut locked: Vec<String> = folders
            .filter(|folder| workspace::root().join(folder).join("Cargo.lock").exists())
            .map(|folder| format!("{folder}/Cargo.toml"))
            .collect();
        locked.sort();
        assert_eq!(locked, MANIFESTS[1..]);
        let workflow = include_str!("../../../.github/workflows/advisories.yml");
        assert!(workflow.contains("- run: cargo xtask deny --advisories\n"), "{workflow}");
    }

    /// cargo-deny cannot ignore GHSA-2674-w29h-wqvj, so a page says why weir is not affected. With a fixed version,
    /// remove its sentences and this test.
    #[test]
    fn the_page_names_the_affected_version() {
        let lock = include_str!("../../../Cargo.lock");
        let version =
            lock.split_once("name = \"wasmtime\"\nversion = \"").unwrap().1.split('"').next().unwrap();
        let page = include_str!("../../../SECURITY.md");
        assert!(
            page.contains(&format!("built with wasmtime {version}")),
            "SECURITY.md does not name {version}"
        );
    }
}
