//! Network namespaces without names: they vanish with the process, however it exits.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use weir_core::net::Protocol;

/// The calling thread's own network namespace (`/proc/self` is that of the process's first thread).
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    handle: File,
}

impl Namespace {
    /// Creates a namespace whose loopback is up. IPv6 addresses work at once: no duplicates are possible.
    ///
    /// # Errors
    /// When the kernel refuses, usually because of missing privileges.
    pub fn new() -> Result<Namespace> {
        let handle = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network namespace")?;
            File::open(OWN).context("cannot open the new network namespace")
        })?;
        let namespace = Namespace { handle };
        for scope in ["all", "default"] {
            for setting in ["accept_dad", "accept_ra", "router_solicitations"] {
                namespace.set(&format!("net/ipv6/conf/{scope}/{setting}"), "0")?;
            }
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Runs `action` in a thread inside; sockets and processes it creates stay inside.
    ///
    /// # Errors
    /// The errors of `action`, and when the namespace cannot be entered.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            self.enter()?;
            action()
        })
    }

    /// Moves the calling thread inside; sockets and files it already has stay where they are.
    ///
    /// # Errors
    /// When it cannot be entered.
    pub fn enter(&self) -> Result<()> {
        setns(&self.handle, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")
    }

    /// The path for other processes, valid while this one runs.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd()).into()
    }

    /// Runs commands of `ip -batch`, one per line.
    ///
    /// # Errors
    /// The first command that fails, with the message of `ip`.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.run(|| {
            let mut command = Command::new("ip");
            command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().context("cannot start ip")?;
            let mut input = child.stdin.take().context("ip has no input")?;
            input.write_all(batch.as_bytes()).context("cannot write to ip")?;
            drop(input);
            let output = child.wait_with_output().context("cannot wait for ip")?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "ip -batch: {}\n{batch}", errors.trim_end());
            Ok(())
        })
    }

    /// Writes a sysctl below `/proc/sys`.
    ///
    /// # Errors
    /// When it does not exist or rejects the value.
    pub fn set(&self, sysctl: &str, value: &str) -> Result<()> {
        self.run(|| {
            let path = format!("/proc/sys/{sysctl}");
            fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))
        })
    }

    /// Returns a program's output; it must succeed.
    ///
    /// # Errors
    /// When it cannot be started or fails; contains its standard error.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.run(|| {
            let mut command = Command::new(program);
            command.args(arguments).output().with_context(|| format!("cannot start {program}"))
        })?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {arguments:?}: {}", errors.trim_end());
        String::from_utf8(output.stdout).with_context(|| format!("{program} did not print UTF-8"))
    }

    /// The real servers of a virtual server with their weights, as `ipvsadm` prints them.
    ///
    /// # Errors
    /// When `ipvsadm` fails, including when there is no such virtual server.
    pub fn real_servers(&self, protocol: Protocol, server: SocketAddr) -> Result<Vec<(String, u32)>> {
        let option = match protocol {
            Protocol::Tcp => "-t",
            Protocol::Udp => "-u",
            Protocol::Sctp => "--sctp-service",
        };
        let text = self.output("ipvsadm", &["-Ln", option, &server.to_string()])?;
        text.lines()
            .filter_map(|line| line.trim_start().strip_prefix("-> "))
            .filter(|line| !line.starts_with("RemoteAddress"))
            .map(|line| {
                let mut columns = line.split_whitespace();
                let address = columns.next().context("a real server without an address")?;
                let weight = columns.nth(1).context("a real server without a weight")?;
                Ok((address.to_owned(), weight.parse().context("invalid weight")?))
            })
            .collect()
    }
}

/// Uses a separate thread, because a namespace belongs to a thread and the caller's must not change.
fn in_thread<T: Send>(action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(action);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
