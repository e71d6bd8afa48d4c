//! Network namespaces: each test gets its own node in the same kernel.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::cluster::Namespace;

/// A network namespace with `lo` up. It has its own IPVS, ipset, iptables, addresses and network sysctls. Dropping
/// it removes it; processes inside must have exited before.
#[derive(Debug)]
pub struct Netns {
    /// None for the namespace of this process, which is not removed.
    name: Option<String>,
}

/// Distinguishes the namespaces of one process.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Netns {
    /// Creates a namespace.
    ///
    /// # Errors
    /// When `ip` cannot create it; needs root.
    pub fn new() -> Result<Netns> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-{}-{count}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))?;
        let netns = Netns { name: Some(name) };
        // Without a routing table, IPVS takes every real server for a broadcast address and refuses it.
        netns.run("ip", &["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Gives a name to a namespace without one. Dropping it removes only the name.
    ///
    /// # Errors
    /// When it cannot be mounted; needs root.
    pub fn named(namespace: &Namespace) -> Result<Netns> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-{}-{count}", std::process::id());
        let place = Path::new("/run/netns").join(&name);
        std::fs::create_dir_all("/run/netns").context("cannot create /run/netns")?;
        File::create(&place).with_context(|| format!("cannot create {}", place.display()))?;
        output(Command::new("mount").arg("--bind").arg(namespace.path()).arg(place))?;
        Ok(Netns { name: Some(name) })
    }

    /// The namespace of this process.
    pub fn own() -> Netns {
        Netns { name: None }
    }

    /// The name for `ip netns`; empty for [`Netns::own`].
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Calls a function on a thread inside: sockets it creates belong to this namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if let Some(name) = &self.name {
                    let place = format!("/run/netns/{name}");
                    let handle = File::open(&place).with_context(|| format!("cannot open {place}"))?;
                    setns(handle, CloneFlags::CLONE_NEWNET)
                        .with_context(|| format!("cannot enter {place}"))?;
                }
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that will run inside; its process id is that of the program itself.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.name {
            None => Command::new(program),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(program);
                command
            }
        };
        command.stdin(Stdio::null());
        command
    }

    /// Runs a program inside and returns its output.
    ///
    /// # Errors
    /// When it does not start or fails; contains its output.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program).args(arguments))
    }

    /// Runs lines of bash inside, stopping at the first that fails, and returns their output.
    ///
    /// # Errors
    /// As [`Netns::run`].
    pub fn script(&self, lines: &str) -> Result<String> {
        self.run("bash", &["-euo", "pipefail", "-c", lines])
    }

    /// Adds a dummy interface with these addresses, each with its prefix length, and brings it up.
    ///
    /// # Errors
    /// As [`Netns::run`].
    pub fn add_interface(&self, name: &str, mac: &str, addresses: &[&str]) -> Result<()> {
        let mut lines = format!("ip link add {name} address {mac} type dummy\nip link set {name} up\n");
        for address in addresses {
            // Duplicate address detection would make IPv6 addresses unusable for a while.
            let nodad = if address.contains(':') { "nodad" } else { "" };
            lines.push_str(&format!("ip addr add {address} dev {name} {nodad}\n"));
        }
        self.script(&lines).map(drop)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let Some(name) = &self.name else { return };
        if let Err(error) = output(Command::new("ip").args(["netns", "del", name])) {
            eprintln!("cannot remove the namespace: {error:#}");
        }
    }
}

/// Returns a program's output; it must succeed.
///
/// # Errors
/// When it does not start or fails; contains its output.
pub fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}: {}", String::from_utf8_lossy(&stderr).trim());
    }
    String::from_utf8(stdout).with_context(|| format!("{command:?} does not print UTF-8"))
}
