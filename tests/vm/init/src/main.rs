//! Process 1 of the guest: sets up the system, runs its commands, and powers off.
//!
//! An error stops process 1, so the kernel panics, QEMU exits, and the host prints the end of the console with the
//! reason.

mod network;
mod system;

use std::fs::{self, File};
use std::io::Write;
use std::process;

use anyhow::{Context, Result};
use rustix::process::{Pid, WaitOptions, WaitStatus};
use weir_guest_init::{COMMANDS, Command, Frame, Status, Streams};

fn main() -> Result<()> {
    system::mount_all()?;
    system::load_devices()?;
    network::configure()?;
    let mut port = system::open_port()?;
    let interactive = run_all(&mut port)?;
    write!(port, "{}", Frame::Done).context("cannot report the end")?;
    system::power_off(interactive)
}

/// Runs every command and returns the streams of the last one.
fn run_all(port: &mut File) -> Result<Streams> {
    let mut files: Vec<_> = fs::read_dir(COMMANDS)
        .with_context(|| format!("cannot list {COMMANDS}"))?
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot list {COMMANDS}"))?;
    files.sort_by_key(|file| file.file_name());
    let mut streams = Streams::Port;
    for (index, file) in files.iter().enumerate() {
        let bytes = fs::read(file.path()).with_context(|| format!("cannot read {:?}", file.path()))?;
        let command = Command::decode(&bytes).with_context(|| format!("in {:?}", file.path()))?;
        streams = command.streams;
        write!(port, "{}", Frame::Begin(index)).context("cannot report a start")?;
        let status = match spawn(&command, port) {
            Ok(child) => wait_for(child)?,
            Err(error) => {
                writeln!(port, "weir-guest-init: {error:#}").context("cannot report a failure")?;
                Status::NotStarted
            }
        };
        write!(port, "{}", Frame::End(index, status)).context("cannot report a status")?;
    }
    Ok(streams)
}

fn spawn(command: &Command, port: &File) -> Result<Pid> {
    fs::create_dir_all(&command.directory).with_context(|| format!("cannot create {}", command.directory))?;
    let (program, arguments) = command.arguments.split_first().context("no program")?;
    let mut child = match command.streams {
        Streams::Port => {
            let mut child = process::Command::new(program);
            let output = || port.try_clone().context("cannot share the port");
            child.stdin(process::Stdio::null()).stdout(output()?).stderr(output()?);
            child
        }
        Streams::Console => {
            let console = system::open_console()?;
            let share = || console.try_clone().context("cannot share the console");
            // A controlling terminal needs a new session, which only a child can open.
            let mut child = process::Command::new("/usr/bin/setsid");
            child.arg("-c").arg(program);
            child.stdin(share()?).stdout(share()?).stderr(share()?);
            child
        }
    };
    child.args(arguments).current_dir(&command.directory).env_clear();
    child.envs(system::ENVIRONMENT.iter().copied());
    child.envs(command.environment.iter().map(|(name, value)| (name, value)));
    let child = child.spawn().with_context(|| format!("cannot start {program}"))?;
    let raw = i32::try_from(child.id()).context("process number out of range")?;
    Pid::from_raw(raw).context("process number 0")
}

/// Waits for `child`, and reaps the orphans that process 1 inherits meanwhile.
fn wait_for(child: Pid) -> Result<Status> {
    loop {
        let waited = rustix::process::wait(WaitOptions::empty()).context("cannot wait")?;
        if let Some((pid, status)) = waited
            && pid == child
            && let Some(status) = ended(status)
        {
            return Ok(status);
        }
    }
}

fn ended(status: WaitStatus) -> Option<Status> {
    let exited = status.exit_status().map(Status::Exited);
    exited.or_else(|| status.terminating_signal().map(Status::Signaled))
}
