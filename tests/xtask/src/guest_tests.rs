//! Builds test binaries on the host and runs them in one guest.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use weir_guest_init::{Command, Status, Streams};

use crate::fixtures;
use crate::job::{Hardware, Job};
use crate::machine::Listener;
use crate::overlay::Given;
use crate::tally::{Counts, Tally};
use crate::workspace::{self, Artifact, Role};

/// The tests of one package: one target, or all that `cargo test` would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) package: String,
    pub(crate) target: Option<String>,
}

impl FromStr for Selection {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some((package, target)) => {
                Selection { package: package.to_owned(), target: Some(target.to_owned()) }
            }
            None => Selection { package: text.to_owned(), target: None },
        })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        self.target.iter().try_for_each(|target| write!(f, ":{target}"))
    }
}

/// A run of test binaries.
pub(crate) struct Run {
    pub(crate) hardware: Hardware,
    pub(crate) selections: Vec<Selection>,
    /// Cargo's profile. An optimised one takes longer to build but runs faster under emulation.
    pub(crate) profile: String,
    /// In addition to what the tests are known to read.
    pub(crate) files: Vec<Given>,
    pub(crate) environment: Vec<(String, String)>,
    /// Arguments for libtest: a filter, `--exact`, ...
    pub(crate) arguments: Vec<String>,
}

impl Run {
    /// Builds the tests, runs them in one guest and counts the results.
    ///
    /// # Errors
    /// When they cannot be built or the guest stops early. A failed test is a count, not an error.
    pub(crate) fn run(self) -> Result<Counts> {
        let architecture = self.hardware.architecture;
        let mut files = fixtures::of(architecture, &self.selections)?;
        files.extend(self.files);
        let mut commands = Vec::new();
        let mut titles = Vec::new();
        for selection in &self.selections {
            let Selection { package, target } = selection;
            for artifact in workspace::tests(architecture, &self.profile, package, target.as_deref())? {
                files.push(Given::same_path(&artifact.executable));
                if artifact.role == Role::Tests {
                    titles.push(format!("{package} {}", artifact.name));
                    commands.push(command(&artifact, &self.environment, &self.arguments)?);
                }
            }
        }
        let selected: Vec<String> = self.selections.iter().map(Selection::to_string).collect();
        ensure!(!commands.is_empty(), "no test targets in {}", selected.join(", "));
        let mut progress = Progress::of(titles);
        Job { hardware: self.hardware, commands, files }.run(&mut progress)?;
        Ok(progress.counts())
    }
}

/// Returns the command `cargo test` would run.
fn command(artifact: &Artifact, environment: &[(String, String)], arguments: &[String]) -> Result<Command> {
    let text = |path: &std::path::Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("{path:?} is not UTF-8"))
    };
    let directory = text(&artifact.directory)?;
    let mut environment = environment.to_vec();
    environment.push(("CARGO_MANIFEST_DIR".to_owned(), directory.clone()));
    // Passing tests must show their output: a test that did not run prints so.
    let mut all = vec![text(&artifact.executable)?, "--show-output".to_owned()];
    all.extend_from_slice(arguments);
    Ok(Command { streams: Streams::Port, directory, environment, arguments: all })
}

/// Prints the commands' output and counts the tests in it.
pub(crate) struct Progress {
    titles: Vec<String>,
    tally: Tally,
    counts: Counts,
}

impl Progress {
    /// For commands with these titles.
    pub(crate) fn of(titles: Vec<String>) -> Progress {
        Progress { titles, tally: Tally::default(), counts: Counts::default() }
    }

    /// Counts the tests of all finished commands; a command that failed without a failed test counts as one
    /// failure.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

impl Listener for Progress {
    fn begun(&mut self, index: usize) -> Result<()> {
        eprintln!("     Running {} in the guest", self.titles[index]);
        Ok(())
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        self.tally.push(bytes);
        let mut output = io::stdout().lock();
        output.write_all(bytes).and_then(|()| output.flush()).context("cannot write the output")
    }

    fn ended(&mut self, index: usize, status: Status) -> Result<()> {
        if !status.is_success() {
            eprintln!("     {}: {status}", self.titles[index]);
        }
        self.counts += std::mem::take(&mut self.tally).finish(status.is_success());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_name_a_package_and_maybe_a_target() {
        let selection = |text: &str| text.parse::<Selection>().unwrap();
        assert_eq!(selection("a"), Selection { package: "a".into(), target: None });
        assert_eq!(selection("a:b"), Selection { package: "a".into(), target: Some("b".into()) });
    }

    #[test]
    fn runs_as_under_cargo_test() {
        let artifact = Artifact {
            package: "a".into(),
            name: "guest".into(),
            role: Role::Tests,
            executable: "/t/guest-1".into(),
            directory: "/w/p".into(),
        };
        let command = command(&artifact, &[], &["--exact".into(), "x".into()]).unwrap();
        assert_eq!(command.arguments, ["/t/guest-1", "--show-output", "--exact", "x"]);
        assert_eq!(command.directory, "/w/p");
    }
}
