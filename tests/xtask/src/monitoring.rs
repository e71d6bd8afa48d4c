//! Debian's Prometheus, unpacked and never installed: its `promtool` judges the alerts of `host/install/monitoring`, and the server
//! scrapes weir in a guest test.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tally::Counts;
use crate::{packages, process, workspace};

/// The alerts, and the tests of them.
const CHECKS: [[&str; 3]; 2] = [["check", "rules", "rules.yaml"], ["test", "rules", "rules.test.yaml"]];

/// A program of the package: `prometheus` or `promtool`.
///
/// # Errors
/// When the package cannot be had.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let _lock = workspace::lock_lab()?;
    let root = workspace::lab().join("prometheus");
    let program = root.join("usr/bin").join(name);
    if !program.exists() {
        fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        // Of all that it depends on, only what its pages in a browser show is not on every machine.
        let found = packages::fetch(&["prometheus"], |package| package.name == "prometheus")?;
        packages::unpack(found.iter().map(|(_, file)| file), &root)?;
        ensure!(program.exists(), "the package prometheus has no {name}");
    }
    Ok(program)
}

/// The alerts, judged by `promtool`.
///
/// # Errors
/// When it cannot be had; rules that are wrong are no error but a count.
pub(crate) fn tier() -> Result<Counts> {
    let promtool = program("promtool")?;
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
