//! `cargo xtask vm`: runs one command, a shell or tests in a guest.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use weir_guest_init::{Command, Status, Streams};

use crate::guest_tests::{Run, Selection};
use crate::job::{Hardware, Job};
use crate::machine::Listener;
use crate::overlay::Given;

/// Options of `cargo xtask vm`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    hardware: Hardware,
    /// Open an interactive shell; leave it with `exit`
    #[arg(long)]
    shell: bool,
    /// Copy the file or directory HOST to the path GUEST in the guest; GUEST defaults to the same path. Can be repeated
    #[arg(long = "file", value_name = "HOST[:GUEST]")]
    files: Vec<Given>,
    /// Set this environment variable for the command. Can be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    environment: Vec<(String, String)>,
    /// Build and run the tests of this package, or of one of its test targets; arguments after `--` go to the tests.
    /// Can be repeated
    #[arg(long = "test", value_name = "PACKAGE[:TARGET]", conflicts_with = "shell")]
    tests: Vec<Selection>,
    /// Cargo profile for --test; `lab` is optimised, which pays off under emulation
    #[arg(long, default_value = "dev", requires = "tests")]
    profile: String,
    /// Command to run, with its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs what the options say; the exit code is the command's.
pub(crate) fn main(options: Options) -> Result<ExitCode> {
    if !options.tests.is_empty() {
        return run_tests(options);
    }
    let (streams, arguments) = match (options.shell, options.command.is_empty()) {
        (true, true) => (Streams::Console, shell()),
        (true, false) => (Streams::Console, options.command),
        (false, false) => (Streams::Port, options.command),
        (false, true) => bail!("nothing to run: give a command after `--`, or --shell, or --test"),
    };
    let directory = std::env::current_dir().context("cannot find the working directory")?;
    let directory = directory.to_str().context("the working directory is not UTF-8")?.to_owned();
    let command = Command { streams, directory, environment: options.environment, arguments };
    run_one(&Job { hardware: options.hardware, commands: vec![command], files: options.files })
}

/// Runs a job with a single command; the exit code is the command's.
pub(crate) fn run_one(job: &Job) -> Result<ExitCode> {
    let mut only = OnlyCommand { status: None };
    job.run(&mut only)?;
    Ok(match only.status.context("the guest did not run the command")? {
        Status::Exited(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        // As shells do.
        Status::Signaled(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Status::NotStarted => ExitCode::from(127),
    })
}

fn run_tests(options: Options) -> Result<ExitCode> {
    let run = Run {
        hardware: options.hardware,
        selections: options.tests,
        profile: options.profile,
        files: options.files,
        environment: options.environment,
        arguments: options.command,
    };
    let counts = run.run()?;
    println!("{counts}");
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An interactive shell that sets the host's terminal size, which a virtio console does not pass on.
fn shell() -> Vec<String> {
    let size = rustix::termios::tcgetwinsize(io::stdin()).ok().filter(|size| size.ws_row > 0);
    let resize =
        size.map(|size| format!("stty rows {} cols {}; ", size.ws_row, size.ws_col)).unwrap_or_default();
    vec!["bash".to_owned(), "-c".to_owned(), format!("{resize}exec bash -i")]
}

struct OnlyCommand {
    status: Option<Status>,
}

impl Listener for OnlyCommand {
    fn begun(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        let mut output = io::stdout().lock();
        output.write_all(bytes).and_then(|()| output.flush()).context("cannot write the output")
    }

    fn ended(&mut self, _: usize, status: Status) -> Result<()> {
        self.status = Some(status);
        Ok(())
    }
}
