//! The workspace: its directories, and what cargo builds in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The workspace's root directory.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// Directory for everything that can be rebuilt.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Directory for kernels, packages and running guests.
pub(crate) fn lab() -> PathBuf {
    root().join(".lab")
}

/// Creates the lab directory and locks it until the file is closed, as several guests may start at once.
pub(crate) fn lock_lab() -> Result<File> {
    let locking = || format!("cannot lock {}", lab().display());
    fs::create_dir_all(lab()).with_context(locking)?;
    let lock = File::create(lab().join("lock")).with_context(locking)?;
    lock.lock().with_context(locking)?;
    Ok(lock)
}

/// An executable that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// Name of the target (binary, test file or library).
    pub(crate) name: String,
    /// Whether it contains tests rather than the program itself.
    pub(crate) role: Role,
    pub(crate) executable: PathBuf,
    /// Directory of its package.
    pub(crate) directory: PathBuf,
}

/// What an executable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Program,
    Tests,
}

/// A line of `cargo --message-format=json`; only the fields we use.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    /// All files built for a target.
    #[serde(default)]
    filenames: Vec<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// A component that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Component {
    pub(crate) file: PathBuf,
}

impl Component {
    /// Where tests look for it by default.
    pub(crate) fn place(&self) -> PathBuf {
        target().join("wasm32-wasip2/plugin").join(self.file.file_name().unwrap_or_default())
    }
}

/// Builds plugins as components.
pub(crate) fn components(packages: &[&str]) -> Result<Vec<Component>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = cargo();
    // Flags for native code do not apply to components.
    command.env_remove("RUSTFLAGS").args(["build", "--profile", "plugin", "--target", "wasm32-wasip2"]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    let files = messages(&mut command)?.into_iter().flat_map(|message| message.filenames);
    let is_component = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
    let components: Vec<Component> = files.filter(is_component).map(|file| Component { file }).collect();
    ensure!(components.len() == packages.len(), "components of {packages:?}: {components:?}");
    Ok(components)
}

/// Returns the cargo that runs us, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a cargo build command and returns the executables it built or found up to date.
pub(crate) fn build(arguments: &[&str]) -> Result<Vec<Artifact>> {
    Ok(messages(cargo().args(arguments))?.into_iter().filter_map(artifact).collect())
}

/// Returns the messages of a cargo build command.
fn messages(command: &mut Command) -> Result<Vec<Message>> {
    command.args(["--quiet", "--message-format=json-render-diagnostics"]);
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(message).collect()
}

fn message(line: &str) -> Result<Message> {
    serde_json::from_str(line).with_context(|| format!("unknown message from cargo: {line}"))
}

fn artifact(message: Message) -> Option<Artifact> {
    let Message { reason, manifest_path, executable, target, profile, filenames: _ } = message;
    let (Some(executable), Some(target), Some(profile), Some(manifest)) =
        (executable, target, profile, manifest_path)
    else {
        return None;
    };
    if reason != "compiler-artifact" {
        return None;
    }
    let directory = manifest.parent().unwrap_or(Path::new("/")).to_owned();
    let role = if profile.test { Role::Tests } else { Role::Program };
    Some(Artifact { name: target.name, role, executable, directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_very_package() {
        assert!(root().join("tests/xtask/Cargo.toml").exists());
    }

    #[test]
    fn reads_the_messages_that_name_an_executable() {
        let line = r#"{"reason":"compiler-artifact","package_id":"x","manifest_path":"/w/p/Cargo.toml","target":{"kind":["test"],"name":"guest"},"profile":{"opt_level":"0","test":true},"executable":"/w/target/guest-1"}"#;
        let expected = Artifact {
            name: "guest".into(),
            role: Role::Tests,
            executable: "/w/target/guest-1".into(),
            directory: "/w/p".into(),
        };
        let read = |line: &str| artifact(message(line).unwrap());
        assert_eq!(read(line), Some(expected));
        assert_eq!(read(r#"{"reason":"build-finished","success":true}"#), None);
        let library = line.replace("\"/w/target/guest-1\"", "null");
        assert_eq!(read(&library), None);
        assert!(message("no json").is_err());
    }

    #[test]
    fn components_are_where_tests_look_for_them() {
        let component = Component { file: "/elsewhere/wasm32-wasip2/plugin/a.wasm".into() };
        assert_eq!(component.place(), root().join("target/wasm32-wasip2/plugin/a.wasm"));
    }
}
