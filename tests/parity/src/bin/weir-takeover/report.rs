//! Expectations and whether they hold, in the format of tests.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

/// Expectations so far.
pub(crate) struct Report {
    start: Instant,
    passed: usize,
    failed: usize,
}

impl Default for Report {
    fn default() -> Report {
        Report { start: Instant::now(), passed: 0, failed: 0 }
    }
}

impl Report {
    /// Reports whether an expectation holds; a failure does not stop the run.
    pub(crate) fn claim(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("test takeover::{name} ... ok");
            }
            Err(error) => {
                self.failed += 1;
                println!("test takeover::{name} ... FAILED\n{error:#}");
            }
        }
    }

    /// Prints the line of counts.
    pub(crate) fn finish(self) -> ExitCode {
        let Report { start, passed, failed } = self;
        let word = if failed == 0 { "ok" } else { "FAILED" };
        let took = start.elapsed().as_secs_f64();
        println!(
            "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished \
             in {took:.2}s"
        );
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
