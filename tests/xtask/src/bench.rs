//! `cargo xtask bench`: what the work and the plugins cost, counted on a real kernel.

use std::process::ExitCode;

use anyhow::Result;

use crate::guest_tests::{Run, Selection};
use crate::job::Hardware;
use crate::workspace;

/// Seconds; emulation is slow, a hang is not endless.
const TIMEOUT: u64 = 1800;

/// Optimised, and quicker to build than a release.
const PROFILE: &str = "lab";

/// The plugin that keeps everything as it is.
const IDENTITY: &str = "weir-guest-identity";

/// Runs the counting tests with optimised code and shows what they print, and then what calls of plugins cost here.
pub(crate) fn main() -> Result<ExitCode> {
    let select = |package: &str, target: &str| Selection {
        package: package.to_owned(),
        target: Some(target.to_owned()),
    };
    let run = Run {
        hardware: Hardware::with_timeout(TIMEOUT),
        selections: vec![select("weir-kernel", "guest_counts"), select("weir", "guest_costs")],
        profile: PROFILE.to_owned(),
        files: Vec::new(),
        environment: Vec::new(),
        arguments: Vec::new(),
    };
    let counts = run.run()?;
    println!("{counts}");
    let identity = workspace::components(&[IDENTITY])?.remove(0);
    let mut weir = workspace::cargo();
    weir.args(["run", "--quiet", "--profile", PROFILE, "--package", "weir", "--", "plugin", "bench"]);
    crate::process::run(weir.arg(&identity.file))?;
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
