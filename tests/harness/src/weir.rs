//! The program under test, in a namespace.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::netns::Netns;
use crate::patience;

/// The capabilities that weir needs after `weir run --init-only`. The second is for `iptables-restore`, which uses
/// a raw socket to look up the number of a set.
const NEEDED: &[&str] = &["cap_net_admin", "cap_net_raw"];

/// An unprivileged container: `/proc/sys` is read-only, and only the capabilities that match the first argument
/// are left. The other arguments are the program and its own arguments.
const CONFINED: &str = "
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    others=$(capsh --print | sed -n 's/^Bounding set =//p' | tr , '\n' | grep -vxE \"$1\" | paste -sd ,)
    shift
    exec capsh --drop=$others -- -c 'exec \"$@\"' bash \"$@\"
";

/// A program with only the capabilities that weir needs after `weir run --init-only`. Arguments can be added.
/// `enter` creates the command that runs a program on the node; the process id is the program's own if that also
/// holds for `enter`'s command.
pub fn confined(enter: impl Fn(&OsStr) -> Command, program: &Path) -> Command {
    confined_to(NEEDED, enter, program)
}

/// Like [`confined`], with these capabilities.
pub fn confined_to(capabilities: &[&str], enter: impl Fn(&OsStr) -> Command, program: &Path) -> Command {
    let mut command = enter("unshare".as_ref());
    command.args(["-m", "bash", "-euo", "pipefail", "-c", CONFINED, "bash"]);
    command.arg(capabilities.join("|")).arg(program);
    command
}

/// Starts `weir run` like an unprivileged container, after another one ran `weir run --init-only`; both with these
/// arguments.
///
/// # Errors
/// When either cannot be started, or the first fails.
pub fn run_confined(
    enter: impl Fn(&OsStr) -> Command,
    program: &Path,
    arguments: &[OsString],
) -> Result<Running> {
    let output = enter(program.as_os_str())
        .arg("run")
        .args(arguments)
        .arg("--init-only")
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "weir run --init-only: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let mut command = confined(enter, program);
    command.arg("run").args(arguments);
    Running::start(command)
}

/// A directory of manifests or other input, written as recommended: each file is replaced atomically.
#[derive(Debug)]
pub struct Manifests {
    folder: TempDir,
}

impl Manifests {
    /// Creates an empty directory.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new() -> Result<Manifests> {
        Ok(Manifests { folder: tempfile::tempdir().context("cannot create a directory for input")? })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces a file, or creates it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let new = self.path().join(format!(".{name}.new"));
        fs::write(&new, content).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, self.path().join(name)).with_context(|| format!("cannot rename {}", new.display()))
    }

    /// All files by name. They must be text.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn content(&self) -> Result<BTreeMap<String, String>> {
        let mut content = BTreeMap::new();
        for entry in fs::read_dir(self.path()).context("cannot list the directory")? {
            let entry = entry.context("cannot list the directory")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = fs::read_to_string(entry.path()).with_context(|| format!("cannot read {name}"))?;
            content.insert(name, text);
        }
        Ok(content)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.path().join(name)).with_context(|| format!("cannot remove {name}"))
    }
}

/// How to start the program.
#[derive(Clone, Debug)]
pub struct Weir<'n> {
    /// The program.
    pub program: PathBuf,
    /// The namespace it runs in.
    pub netns: &'n Netns,
    /// `--manifests`
    pub manifests: PathBuf,
    /// `--config`
    pub config: PathBuf,
}

/// The output of a finished command.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The exit status.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Weir<'_> {
    /// A command line with `--config` and, where supported, `--manifests`.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = self.netns.command(&self.program);
        command.arg(subcommand).args(self.arguments(subcommand));
        command
    }

    /// Like [`Weir::command`], after these lines of bash. Their mounts and environment only affect this process:
    /// `ip netns exec` gives each process its own mounts.
    pub fn command_after(&self, lines: &str, subcommand: &str) -> Command {
        let mut command = self.netns.command("bash");
        command.args(["-euc", &format!("{lines}\nexec \"$@\""), "bash"]).arg(&self.program);
        command.arg(subcommand).args(self.arguments(subcommand));
        command
    }

    fn arguments(&self, subcommand: &str) -> Vec<OsString> {
        let mut arguments = vec!["--config".into(), self.config.clone().into()];
        if !matches!(subcommand, "cleanup" | "doctor" | "status" | "top") {
            arguments.extend(["--manifests".into(), self.manifests.clone().into()]);
        }
        arguments
    }

    /// Runs a subcommand until it exits.
    ///
    /// # Errors
    /// When it cannot be started; its own failure is in the answer.
    pub fn ask(&self, subcommand: &str, arguments: &[&str]) -> Result<Answer> {
        let mut command = self.command(subcommand);
        let Output { status, stdout, stderr } =
            command.args(arguments).output().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Answer {
            status: status.code(),
            stdout: String::from_utf8(stdout).context("standard output is not UTF-8")?,
            stderr: String::from_utf8(stderr).context("standard error is not UTF-8")?,
        })
    }

    /// Starts `weir run` as in a cluster: see [`run_confined`].
    ///
    /// # Errors
    /// See there.
    pub fn run(&self) -> Result<Running> {
        run_confined(|program| self.netns.command(program), &self.program, &self.arguments("run"))
    }

    /// Starts `weir run` with all privileges.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_privileged(&self) -> Result<Running> {
        Running::start(self.command("run"))
    }
}

/// A running `weir run`; killed when dropped, while the kernel keeps its state.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Running {
    /// Starts a command created by [`Weir::command`] for `run`, with a log of one JSON object per line.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Running> {
        let log = tempfile::NamedTempFile::new().context("cannot create a file for the log")?;
        let child = command
            .args(["--log", "debug", "--log-format", "json"])
            .stderr(File::create(log.path()).context("cannot write the log")?)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Running { child, log })
    }

    /// The log so far, line by line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self) -> Result<Vec<LogLine>> {
        let text = fs::read_to_string(self.log.path()).context("cannot read the log")?;
        Ok(text.lines().map(LogLine::parse).collect())
    }

    /// Waits for the first log line that satisfies `wanted`.
    ///
    /// # Errors
    /// The whole log, if there is no such line within a generous time.
    pub fn await_line(&self, what: &str, wanted: impl Fn(&LogLine) -> bool) -> Result<LogLine> {
        // Compiling a plugin takes half a minute on a shared emulated processor.
        patience::until(patience::AUDITED, || {
            let lines = self.log()?;
            let found = lines.iter().find(|line| wanted(line)).cloned();
            found.with_context(|| format!("no log line {what} among:\n{}", join(&lines)))
        })
    }

    /// Waits until the first round is done.
    ///
    /// # Errors
    /// The end of the log, if there is no round within a generous time, or one of its changes failed.
    pub fn await_first_round(&self) -> Result<()> {
        let round = self.await_line("about a round", |line| line.field("message") == "synchronised")?;
        ensure!(round.field("failed") == "0", "the first round failed: {}", self.log_tail());
        Ok(())
    }

    /// Fails if the program has exited or has logged an error.
    ///
    /// # Errors
    /// How it exited, or what it logged.
    pub fn expect_health(&mut self) -> Result<()> {
        let lines = self.log()?;
        if let Some(status) = self.child.try_wait().context("cannot check the program")? {
            bail!("weir exited: {status}; its log:\n{}", join(&lines));
        }
        let errors: Vec<LogLine> = lines.into_iter().filter(|line| line.level() == "ERROR").collect();
        ensure!(errors.is_empty(), "weir logged errors:\n{}", join(&errors));
        Ok(())
    }

    /// Waits until the program exits by itself.
    ///
    /// # Errors
    /// The log, if it does not exit within the limit.
    pub fn await_end(&mut self, limit: Duration) -> Result<Option<i32>> {
        patience::until(limit, || {
            let status = self.child.try_wait().context("cannot check the program")?;
            status.map(|status| status.code()).context("weir is still running")
        })
    }

    /// The end of the log, for error messages.
    pub fn log_tail(&self) -> String {
        let lines = self.log().unwrap_or_default();
        format!("last lines of its log:\n{}", join(&lines[lines.len().saturating_sub(20)..]))
    }

    /// Adds the program's last log lines to an error.
    pub fn blame(&self, error: &Error) -> Error {
        anyhow!("{error:#}\n{}", self.log_tail())
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct LogLine {
    text: String,
    fields: Value,
}

impl LogLine {
    fn parse(text: &str) -> LogLine {
        // Lines that are not JSON, such as a panic, are kept as text.
        LogLine { text: text.to_owned(), fields: serde_json::from_str(text).unwrap_or_default() }
    }

    /// A field; empty if it is missing.
    pub fn field(&self, name: &str) -> String {
        match &self.fields[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// ERROR, WARN, INFO, DEBUG or TRACE.
    pub fn level(&self) -> String {
        self.field("level")
    }

    /// The whole line.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn join(lines: &[LogLine]) -> String {
    lines.iter().map(LogLine::text).collect::<Vec<_>>().join("\n")
}
