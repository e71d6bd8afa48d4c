//! `cargo xtask bench`: what the work costs, counted on a real kernel.

use std::process::ExitCode;

use anyhow::Result;

use crate::guest_tests::{Run, Selection};
use crate::job::Hardware;

/// Seconds; emulation is slow, a hang is not endless.
const TIMEOUT: u64 = 600;

/// Runs the counting test with optimised code and shows what it prints.
pub(crate) fn main() -> Result<ExitCode> {
    let counts = Selection { package: "weir-kernel".to_owned(), target: Some("guest_counts".to_owned()) };
    let run = Run {
        hardware: Hardware::with_timeout(TIMEOUT),
        selections: vec![counts],
        profile: "lab".to_owned(),
        files: Vec::new(),
        environment: Vec::new(),
        arguments: Vec::new(),
    };
    let counts = run.run()?;
    println!("{counts}");
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
