//! Handles the output of the guest's only command line by line.

use anyhow::Result;
use weir_guest_init::Status;

use crate::machine::Listener;

/// Receives lines.
pub(crate) trait TakeLine {
    /// A line, without its line break.
    fn take(&mut self, line: &str) -> Result<()>;
}

/// Passes lines on and remembers the command's exit status.
pub(crate) struct Lines<T> {
    pub(crate) taker: T,
    pub(crate) status: Option<Status>,
    line: Vec<u8>,
}

impl<T> Lines<T> {
    pub(crate) fn to(taker: T) -> Lines<T> {
        Lines { taker, status: None, line: Vec::new() }
    }
}

impl<T: TakeLine> Listener for Lines<T> {
    fn begun(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.taker.take(&String::from_utf8_lossy(&line))?;
            } else {
                self.line.push(byte);
            }
        }
        Ok(())
    }

    fn ended(&mut self, _: usize, status: Status) -> Result<()> {
        self.status = Some(status);
        Ok(())
    }
}
