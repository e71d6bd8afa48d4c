//! Runs programs, with errors that contain the whole command.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs a command with xtask's own streams; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Returns the standard output of a program that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} did not print UTF-8"))
}

/// The same command, but other programs come first; arguments, directory and environment can still be added.
pub(crate) fn in_the_background(command: Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        nice.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    nice
}

/// A running program that is killed when dropped.
pub(crate) struct Killed(Child);

impl Killed {
    /// Starts a program.
    pub(crate) fn start(command: &mut Command) -> Result<Killed> {
        command.spawn().map(Killed).with_context(|| format!("cannot start {command:?}"))
    }
}

impl Deref for Killed {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Killed {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only if it has already exited.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program of this name is in the search path.
pub(crate) fn exists(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian does not put administrators' programs in the search path of normal users.
    let beside = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(beside).any(|directory| directory.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_does_not_outlive_its_owner() {
        let sleep = Killed::start(Command::new("sleep").arg("60")).unwrap();
        let place = std::path::PathBuf::from(format!("/proc/{}", sleep.id()));
        assert!(place.exists());
        drop(sleep);
        assert!(!place.exists());
    }

    #[test]
    fn in_the_background_a_command_does_the_same() {
        let mut command = Command::new("sh");
        command.args(["-c", "nice; pwd; echo $A"]).current_dir("/").env("A", "b");
        let text = output(&mut in_the_background(command)).unwrap();
        assert_eq!(text, "19\n/\nb\n");
    }
}
