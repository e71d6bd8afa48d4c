//! Counts the results that libtest prints, over any number of test binaries.

use std::fmt;
use std::ops::AddAssign;

/// Test results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Ignored, or reported as skipped by the test itself.
    pub(crate) skipped: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Printed at the start of a line by a test that cannot run, followed by the reason.
pub(crate) const SKIPPED: &str = "SKIPPED";

/// Parses the output of libtest as it arrives.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    line: Vec<u8>,
    /// `SKIPPED` lines of the running binary: libtest counts those tests as passed.
    pending: usize,
    counts: Counts,
}

impl Tally {
    /// Accepts the next bytes, split anywhere.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.read_line(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(byte);
            }
        }
    }

    /// Returns the counts once the program has exited; a failure without a failed test counts as one.
    pub(crate) fn finish(mut self, success: bool) -> Counts {
        let rest = std::mem::take(&mut self.line);
        self.read_line(&String::from_utf8_lossy(&rest));
        self.counts.skipped += self.pending;
        if !success && self.counts.failed == 0 {
            self.counts.failed = 1;
        }
        self.counts
    }

    fn read_line(&mut self, line: &str) {
        if line.starts_with(SKIPPED) {
            self.pending += 1;
        } else if let Some(result) = parse_result(line) {
            let Counts { passed, failed, skipped } = result;
            let said = std::mem::take(&mut self.pending);
            self.counts += Counts { passed: passed.saturating_sub(said), failed, skipped: skipped + said };
        }
    }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s`
fn parse_result(line: &str) -> Option<Counts> {
    let (_verdict, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split("; ") {
        let Some((number, word)) = part.split_once(' ') else { continue };
        let target = match word {
            "passed" => &mut counts.passed,
            "failed" => &mut counts.failed,
            "ignored" => &mut counts.skipped,
            _ => continue,
        };
        *target = number.parse().ok()?;
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_BINARIES: &str = "
running 3 tests
test a ... ok
test b ... ok
test c ... ignored

successes:

---- b stdout ----
SKIPPED: no such kernel

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.10s

running 2 tests
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    fn tally(text: &str, size: usize, success: bool) -> Counts {
        let mut tally = Tally::default();
        text.as_bytes().chunks(size).for_each(|bytes| tally.push(bytes));
        tally.finish(success)
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let expected = Counts { passed: 2, failed: 1, skipped: 2 };
        assert_eq!(tally(TWO_BINARIES, 7, false), expected);
        assert_eq!(tally(TWO_BINARIES, TWO_BINARIES.len(), false), expected);
    }

    #[test]
    fn a_program_that_dies_has_failed() {
        assert_eq!(
            tally("running 2 tests\nSKIPPED x", 100, false),
            Counts { passed: 0, failed: 1, skipped: 1 }
        );
        assert_eq!(tally("", 1, false), Counts { passed: 0, failed: 1, skipped: 0 });
        assert_eq!(tally("", 1, true), Counts::default());
    }

    #[test]
    fn prints_the_line_that_others_read() {
        assert_eq!(Counts { passed: 3, failed: 0, skipped: 1 }.to_string(), "3 passed, 0 failed, 1 skipped");
    }
}
