//! `cargo xtask bench`: what the work and the plugins cost, counted on a real kernel.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::guest_tests::{Run, Selection};
use crate::job::Hardware;
use crate::overlay::Given;
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
    let identity = component(IDENTITY)?;
    let run = Run {
        hardware: Hardware::with_timeout(TIMEOUT),
        selections: vec![select("weir-kernel", "guest_counts"), select("weir", "guest_costs")],
        profile: PROFILE.to_owned(),
        files: vec![Given::same_path(&identity)],
        environment: Vec::new(),
        arguments: Vec::new(),
    };
    let counts = run.run()?;
    println!("{counts}");
    let mut weir = workspace::cargo();
    weir.args(["run", "--quiet", "--profile", PROFILE, "--package", "weir", "--", "plugin", "bench"]);
    crate::process::run(weir.arg(&identity))?;
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the component of a package, where tests look for it.
fn component(package: &str) -> Result<PathBuf> {
    let mut build = workspace::cargo();
    build.args([
        "build",
        "--quiet",
        "--profile",
        "plugin",
        "--target",
        "wasm32-wasip2",
        "--package",
        package,
    ]);
    crate::process::run(&mut build)?;
    let file = format!("wasm32-wasip2/plugin/{}.wasm", package.replace('-', "_"));
    Ok(workspace::target().join(file))
}
