//! Runs the few external programs that cannot be avoided, with a deadline.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take before it is killed.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often a running program is polled.
const POLL: Duration = Duration::from_millis(2);

/// The result of a program that exited.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed to standard output.
    pub stdout: String,
    /// What it printed to standard error.
    pub stderr: String,
}

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not installed.
    #[error("the program `{0}` is not installed")]
    Missing(String),
    /// It could not be started, or its input could not be written.
    #[error("cannot run `{program}`")]
    Run {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It did not exit in time and was killed.
    #[error("`{0}` did not exit within {DEADLINE:?} and was killed")]
    Deadline(String),
}

/// Where a program is, searched in `PATH` and then in the usual sbin directories.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a program with this input and waits until it exits.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<Finished, ProcessError> {
    let file = find(program).ok_or_else(|| ProcessError::Missing(program.to_owned()))?;
    let failed = |source| ProcessError::Run { program: program.to_owned(), source };
    let mut child = Command::new(file)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // Both pipes are drained while the program runs, so that it never blocks on a full one.
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early closes its input; its own message says more than our error would.
        let _ = stdin.write_all(input.as_bytes());
    }
    let status = wait(&mut child, program)?;
    let text = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        let bytes = reader.and_then(|thread| thread.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Finished { status, stdout: text(stdout), stderr: text(stderr) })
}

fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // Output read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn wait(child: &mut Child, program: &str) -> Result<ExitStatus, ProcessError> {
    let end = Instant::now() + DEADLINE;
    loop {
        let state =
            child.try_wait().map_err(|source| ProcessError::Run { program: program.to_owned(), source })?;
        if let Some(status) = state {
            return Ok(status);
        }
        if Instant::now() >= end {
            // Both only fail if the program is already gone.
            let _ = child.kill();
            let _ = child.wait();
            return Err(ProcessError::Deadline(program.to_owned()));
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_and_both_outputs_pass() {
        let big = "x".repeat(1 << 20);
        let done = run("sh", &["-c", "cat; echo bad >&2; exit 3"], &big).unwrap();
        assert_eq!(
            (done.status.code(), done.stdout.len(), done.stderr.as_str()),
            (Some(3), 1 << 20, "bad\n")
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run("weir-has-no-such-program", &[], "").unwrap_err();
        assert_eq!(error.to_string(), "the program `weir-has-no-such-program` is not installed");
    }
}
