//! Waits for a condition.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Time limit for operations in the guest, whose processor is emulated and may be shared with other work.
pub const GENEROUS: Duration = Duration::from_secs(60);

/// Time limit for what the daemon may notice only in an audit. On a slow processor, five minutes can pass between two.
pub const AUDITED: Duration = Duration::from_secs(360);

/// Long enough not to slow down the program being waited for: most attempts start processes.
const PAUSE: Duration = Duration::from_millis(200);

/// Repeats an attempt until it succeeds.
///
/// # Errors
/// The error of the last attempt, when the limit has passed.
pub fn until<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("still failing after {limit:?}"));
            }
            Err(_) => sleep(PAUSE),
        }
    }
}
