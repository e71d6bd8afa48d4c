//! Checks whether the tools that build an example are installed.

use std::process::{Command, Stdio};

use super::Language;
use crate::process;

/// A program that prints its version.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The argument that prints the version.
    pub(crate) argument: &'static str,
    pub(crate) at_least: Version,
}

/// Major and minor.
pub(crate) type Version = (u32, u32);

/// The oldest version the generated code works with.
const GO: Program = Program { name: "go", argument: "version", at_least: (1, 25) };
/// The oldest version whose test runner finds the tests by itself.
const NODE: Program = Program { name: "node", argument: "--version", at_least: (20, 0) };
/// The oldest version whose syntax the example uses and that componentize-py supports.
const PYTHON: Program = Program { name: "python3", argument: "--version", at_least: (3, 9) };

/// Returns why an example in this language cannot be built here.
pub(super) fn missing(language: Language) -> Option<String> {
    match language {
        Language::Go => GO.missing(),
        Language::Javascript => {
            NODE.missing().or_else(|| (!process::exists("npm")).then(|| "npm is not installed".to_owned()))
        }
        Language::Python => PYTHON.missing().or_else(without_venv),
    }
}

impl Program {
    /// Returns why it cannot be used.
    pub(crate) fn missing(&self) -> Option<String> {
        let Program { name, argument, at_least } = self;
        if !process::exists(name) {
            return Some(format!("{name} is not installed"));
        }
        // The search path may contain a wrapper without the program behind it.
        let Ok(text) = process::output(Command::new(name).arg(argument)) else {
            return Some(format!("{name} does not run"));
        };
        older(&text, *at_least).map(|found| format!("{name} {found}"))
    }
}

/// Returns what is wrong with the version a program prints.
fn older(text: &str, at_least: Version) -> Option<String> {
    let (major, minor) = at_least;
    match version(text) {
        None => Some(format!("prints `{}` instead of a version", text.trim())),
        Some(found) if found >= at_least => None,
        Some((m, n)) => Some(format!("{m}.{n} is too old; {major}.{minor} or newer is needed")),
    }
}

/// The first version in a text: `go version go1.26.8 linux/amd64`, `v20.20.2`, `Python 3.11.7`.
fn version(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        let number = word.trim_start_matches(|c: char| !c.is_ascii_digit());
        let (major, rest) = number.split_once('.')?;
        let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

/// Debian packages the module that creates environments separately.
fn without_venv() -> Option<String> {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]).stdout(Stdio::null()).stderr(Stdio::null());
    let there = python.status().is_ok_and(|status| status.success());
    (!there).then(|| "python3 has no venv module; on Debian, install python3-venv".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_versions_in_what_programs_say() {
        assert_eq!(version("go version go1.26.8 linux/amd64\n"), Some((1, 26)));
        assert_eq!(version("go version go1.27rc1 linux/amd64"), Some((1, 27)));
        assert_eq!(version("v20.20.2\n"), Some((20, 20)));
        assert_eq!(version("Python 3.11.7"), Some((3, 11)));
        assert_eq!(version("no such command"), None);
    }

    #[test]
    fn says_what_is_needed() {
        assert_eq!(older("go1.19.8", (1, 25)).unwrap(), "1.19 is too old; 1.25 or newer is needed");
        assert_eq!(older("go1.25", (1, 25)), None);
        assert_eq!(older("Python 3.11.7", (3, 9)), None, "versions compare as numbers");
        assert_eq!(older("devel\n", (1, 25)).unwrap(), "prints `devel` instead of a version");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let program = Program { name: "weir-has-no-such-program", argument: "version", at_least: (1, 0) };
        assert_eq!(program.missing().unwrap(), "weir-has-no-such-program is not installed");
    }
}
