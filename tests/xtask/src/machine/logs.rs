//! The log files of a run, and the parts that an error shows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Error, anyhow};

/// Number of lines shown when the guest stops unexpectedly.
const TAIL: usize = 40;

/// Log files kept during a run.
pub(super) struct Logs {
    /// The kernel's console.
    pub(super) console: PathBuf,
    /// The port to the host, when the guest uses the terminal.
    pub(super) port: PathBuf,
    /// QEMU's own messages.
    pub(super) errors: PathBuf,
}

impl Logs {
    pub(super) fn new(directory: &Path) -> Self {
        let path = |name| directory.join(name);
        Logs { console: path("console.log"), port: path("port.log"), errors: path("qemu.log") }
    }

    /// Adds the reason of a panic, if there was one, and the last log lines to an error.
    pub(super) fn explain(&self, error: &Error) -> Error {
        let [console, errors] = [&self.console, &self.errors].map(|path| fs::read(path).unwrap_or_default());
        let text = format!("{}{}", String::from_utf8_lossy(&console), String::from_utf8_lossy(&errors));
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        let reason = lines.iter().find_map(|line| line.split_once("Kernel panic - not syncing: "));
        let panic = reason.map(|(_, reason)| format!(": kernel panic: {reason}")).unwrap_or_default();
        anyhow!("last lines of the guest's console and of QEMU's messages:\n{shown}\n--\n{error:#}{panic}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::new(directory.path());
        fs::write(&logs.console, "[ 1.0] Kernel panic - not syncing: out of cheese\n[ 1.1] CPU: 0\n")
            .unwrap();
        let text = logs.explain(&anyhow!("the guest stopped early")).to_string();
        assert_eq!(text.lines().last(), Some("the guest stopped early: kernel panic: out of cheese"));
        assert!(text.contains("CPU: 0"));
    }

    #[test]
    fn without_logs_the_error_stands_alone() {
        let directory = tempfile::tempdir().unwrap();
        let text = Logs::new(directory.path()).explain(&anyhow!("timeout")).to_string();
        assert_eq!(text.lines().last(), Some("timeout"));
    }
}
