//! The workspace: its directories, and what cargo builds in it.

use std::fs::{self, File};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::architecture::Architecture;
use crate::setup;

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
    /// Name of its package.
    pub(crate) package: String,
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
    package_id: Option<String>,
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
    let built: Vec<String> =
        components.iter().map(|component| component.file.display().to_string()).collect();
    ensure!(
        components.len() == packages.len(),
        "expected one component from each of the packages {}, but cargo built: {}",
        packages.join(", "),
        built.join(", ")
    );
    Ok(components)
}

/// Returns the cargo that runs us, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // Set by the cargo that runs us. Build scripts that look at them would run again at each change of command.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Builds a package's program for this machine.
pub(crate) fn program(profile: &str, package: &str, name: &str) -> Result<PathBuf> {
    program_for(Architecture::HOST, profile, package, name)
}

/// Builds a package's program.
pub(crate) fn program_for(
    architecture: Architecture,
    profile: &str,
    package: &str,
    name: &str,
) -> Result<PathBuf> {
    let mut line = vec!["build", "--profile", profile];
    line.extend(packages(profile, package));
    line.extend(["--bin", name]);
    let found = build(architecture, &line)?
        .into_iter()
        .find(|built| built.role == Role::Program && built.name == name);
    found.map(|artifact| artifact.executable).with_context(|| format!("cargo did not build {name}"))
}

/// Builds a package's tests, or one target of them, and its programs.
pub(crate) fn tests(
    architecture: Architecture,
    profile: &str,
    package: &str,
    target: Option<&str>,
) -> Result<Vec<Artifact>> {
    let mut line = vec!["test", "--no-run", "--profile", profile];
    match target {
        Some(target) => {
            line.extend(packages(profile, package));
            line.extend(["--test", target]);
        }
        None => line.extend(["--package", package]),
    }
    Ok(build(architecture, &line)?.into_iter().filter(|built| built.package == package).collect())
}

/// Selects a package in a cargo command that also selects targets.
///
/// A dependency has the features that the selected packages need together. Tests select all packages, so that no
/// dependency is built a second time with fewer features; what is measured or shipped has only its own.
fn packages<'a>(profile: &str, package: &'a str) -> Vec<&'a str> {
    if profile == "dev" { vec!["--workspace"] } else { vec!["--package", package] }
}

/// Runs a cargo build command and returns the executables it built or found up to date.
fn build(architecture: Architecture, arguments: &[&str]) -> Result<Vec<Artifact>> {
    let mut command = cargo();
    command.args(arguments);
    if architecture != Architecture::HOST {
        command.args(["--target", architecture.target()]);
        set_linker(&mut command, architecture)?;
    }
    Ok(messages(&mut command)?.into_iter().filter_map(artifact).collect())
}

/// Tells a cargo command the linker for an architecture. Crates with C code find the cross-compiler by its name.
pub(crate) fn set_linker(command: &mut Command, architecture: Architecture) -> Result<()> {
    setup::require(architecture)?;
    let target = architecture.target().replace('-', "_").to_uppercase();
    command.env(format!("CARGO_TARGET_{target}_LINKER"), format!("{}-gcc", architecture.tuple()));
    Ok(())
}

/// Returns the messages of a cargo build command.
fn messages(command: &mut Command) -> Result<Vec<Message>> {
    if !std::io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    command.arg("--message-format=json-render-diagnostics");
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(message).collect()
}

fn message(line: &str) -> Result<Message> {
    serde_json::from_str(line).with_context(|| format!("unknown message from cargo: {line}"))
}

fn artifact(message: Message) -> Option<Artifact> {
    let Message { reason, package_id, manifest_path, executable, target, profile, filenames: _ } = message;
    let (Some(executable), Some(target), Some(profile), Some(manifest), Some(id)) =
        (executable, target, profile, manifest_path, package_id)
    else {
        return None;
    };
    let package = package_name(&id)?.to_owned();
    if reason != "compiler-artifact" {
        return None;
    }
    let directory = manifest.parent().unwrap_or(Path::new("/")).to_owned();
    let role = if profile.test { Role::Tests } else { Role::Program };
    Some(Artifact { package, name: target.name, role, executable, directory })
}

/// The package's name in an id like `path+file:///folder/name#0.1.0` or `path+file:///folder#name@0.1.0`.
fn package_name(id: &str) -> Option<&str> {
    let (source, version) = id.rsplit_once('#')?;
    version.split_once('@').map(|(name, _)| name).or_else(|| source.rsplit('/').next())
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
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/p#0.1.0","manifest_path":"/w/p/Cargo.toml","target":{"kind":["test"],"name":"guest"},"profile":{"opt_level":"0","test":true},"executable":"/w/target/guest-1"}"#;
        let expected = Artifact {
            package: "p".into(),
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
    fn ids_name_the_package_by_its_folder_or_apart() {
        assert_eq!(package_name("path+file:///w/tests/xtask#0.1.0"), Some("xtask"));
        assert_eq!(package_name("path+file:///w/host#weir@0.1.0"), Some("weir"));
        assert_eq!(package_name("x"), None);
    }

    #[test]
    fn components_are_where_tests_look_for_them() {
        let component = Component { file: "/elsewhere/wasm32-wasip2/plugin/a.wasm".into() };
        assert_eq!(component.place(), root().join("target/wasm32-wasip2/plugin/a.wasm"));
    }
}
