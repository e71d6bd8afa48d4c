//! Debian's Prometheus, unpacked but never installed: its `promtool` checks the alerts of
//! `host/install/monitoring`, and the server scrapes weir in a guest test.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::architecture::Architecture;
use crate::tally::Counts;
use crate::{packages, process, workspace};

/// The alerts and their tests.
const CHECKS: [[&str; 3]; 2] = [["check", "rules", "rules.yaml"], ["test", "rules", "rules.test.yaml"]];

/// Returns the path of a program of the package: `prometheus` or `promtool`.
///
/// # Errors
/// When the package cannot be downloaded.
pub(crate) fn program(architecture: Architecture, name: &str) -> Result<PathBuf> {
    // The only dependency that some machines lack is for its web pages.
    let root = packages::unpacked(architecture, "prometheus", |package| package.name == "prometheus")?;
    let program = root.join("usr/bin").join(name);
    ensure!(program.exists(), "the package prometheus does not contain {name}");
    Ok(program)
}

/// Checks the alerts with `promtool`.
///
/// # Errors
/// When it is not available. Wrong rules are a count, not an error.
pub(crate) fn tier() -> Result<Counts> {
    let promtool = program(Architecture::HOST, "promtool")?;
    let folder = workspace::root().join("host/install/monitoring");
    let mut counts = Counts::default();
    for arguments in CHECKS {
        match process::run(Command::new(&promtool).args(arguments).current_dir(&folder)) {
            Ok(()) => counts.passed += 1,
            Err(error) => {
                eprintln!("{error:#}");
                counts.failed += 1;
            }
        }
    }
    Ok(counts)
}
