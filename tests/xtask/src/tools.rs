//! Third-party tools: from the search path, else built once in a known version into `.lab/tools`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// A program and how to build it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tool {
    /// A crate that contains a program of the same name, and its version.
    Cargo(&'static str, &'static str),
    /// A program, the path of its Go package, and the version.
    Go(&'static str, &'static str, &'static str),
}

/// The tool could not be built.
#[derive(Debug)]
pub(crate) struct NotInstalled(&'static str, &'static str);

impl std::fmt::Display for NotInstalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot install {} {}", self.0, self.1)
    }
}

impl std::error::Error for NotInstalled {}

impl Tool {
    /// Returns a command that runs the tool in the workspace.
    ///
    /// # Errors
    /// Contains [`NotInstalled`] when the tool is missing and cannot be built.
    pub(crate) fn command(self) -> Result<Command> {
        let mut command = Command::new(self.find()?);
        command.current_dir(workspace::root());
        // A subcommand of cargo reads its own name as the first argument.
        if let Tool::Cargo(name, _) = self {
            command.args(name.strip_prefix("cargo-"));
        }
        Ok(command)
    }

    /// Returns the tool's program, which is built if it is missing.
    ///
    /// # Errors
    /// As [`Tool::command`].
    pub(crate) fn find(self) -> Result<PathBuf> {
        let (Tool::Cargo(name, version) | Tool::Go(name, _, version)) = self;
        if process::exists(name) {
            return Ok(name.into());
        }
        let root = workspace::lab().join("tools");
        let program = root.join("bin").join(name);
        if !program.exists() {
            eprintln!("building {name} {version} (first use only)");
            self.build(&root).context(NotInstalled(name, version))?;
        }
        Ok(program)
    }

    fn build(self, root: &std::path::Path) -> Result<()> {
        match self {
            Tool::Cargo(name, version) => {
                let mut cargo = process::in_the_background(workspace::cargo());
                cargo.args(["install", "--quiet", "--locked", "--root"]).arg(root);
                process::run(cargo.arg(format!("{name}@{version}")))
            }
            Tool::Go(_, package, version) => {
                let mut go = Command::new("go");
                go.env("GOBIN", root.join("bin")).env("GOFLAGS", "").env("CGO_ENABLED", "0");
                process::run(go.args(["install", "-trimpath"]).arg(format!("{package}@{version}")))
            }
        }
    }
}
