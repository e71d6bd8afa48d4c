//! What the host needs, and how to get it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::base::{Base, Freshness};
use crate::{packages, process, space, workspace};

/// Options of `cargo xtask setup`.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Rebuild the guest from the newest packages
    #[arg(long)]
    refresh: bool,
}

/// A program and the Debian package that contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) program: &'static str,
    package: &'static str,
}

const fn from(package: &'static str, program: &'static str) -> Requirement {
    Requirement { program, package }
}

/// All programs that the lab and the host tests start.
const REQUIREMENTS: &[Requirement] = &[
    from("apt", "apt-get"),
    from("dpkg", "dpkg-deb"),
    from("e2fsprogs", "mke2fs"),
    from("kmod", "depmod"),
    from("qemu-system-x86", "qemu-system-x86_64"),
    from("tar", "tar"),
    from("util-linux", "setpriv"),
    // Independent programs: tests compare what we wrote or read with their output.
    from("conntrack", "conntrack"),
    from("cpio", "cpio"),
    from("iproute2", "ip"),
    from("ipset", "ipset"),
    from("iptables", "iptables"),
];

/// The target of plugins, which are components.
const PLUGIN_TARGET: &str = "wasm32-wasip2";

/// Returns what is not installed.
pub(crate) fn missing() -> Vec<Requirement> {
    REQUIREMENTS.iter().filter(|requirement| !process::exists(requirement.program)).copied().collect()
}

/// Returns why a guest cannot run here.
pub(crate) fn reason() -> Option<String> {
    let programs: Vec<&str> = missing().iter().map(|requirement| requirement.program).collect();
    (!programs.is_empty()).then(|| format!("not installed: {}; run: cargo xtask setup", programs.join(", ")))
}

/// Installs what is missing, or prints how to, and builds the guest.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the guest is built from the host distribution's packages, which requires Linux on x86-64"
    );
    space::check()?;
    let freshness = if options.refresh { Freshness::Newest } else { Freshness::Any };
    let missing = missing();
    let base_is_ready = Base::is_ready(freshness);
    if !missing.is_empty() || !base_is_ready {
        update_lists()?;
    }
    install(&missing)?;
    add_plugin_target()?;
    Base::get(freshness)?;
    println!("ready; next: cargo xtask test, or cargo xtask vm --shell");
    Ok(ExitCode::SUCCESS)
}

fn update_lists() -> Result<()> {
    ensure!(
        process::exists("apt-get"),
        "apt-get not found: the guest is built from Debian or Ubuntu packages. Use a Debian or Ubuntu system or container with {}",
        REQUIREMENTS.iter().map(|r| r.program).collect::<Vec<_>>().join(", ")
    );
    match administrator("apt-get") {
        Some(mut command) => process::run(command.args(["--quiet=2", "update"])),
        // Without root, the existing lists have to do.
        None => packages::first_known(&["libc6"]).map(drop).context("run as root: apt-get update"),
    }
}

fn install(missing: &[Requirement]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|requirement| requirement.package).collect();
    let Some(mut apt) = administrator("apt-get") else {
        bail!("run as root: apt-get install --no-install-recommends {}", names.join(" "));
    };
    eprintln!("installing {}", names.join(" "));
    apt.args(["--quiet=2", "--yes", "--no-install-recommends", "install"]).args(names);
    // dpkg prints every package it unpacks; only errors matter.
    process::output(&mut apt).map(drop)
}

/// Returns `program` to be run as root, if that needs no password.
fn administrator(program: &str) -> Option<Command> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("env")
    } else {
        let allowed = Command::new("sudo").args(["--non-interactive", "true"]).output();
        if !allowed.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "env"]);
        sudo
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    Some(command)
}

/// rustup may be configured not to install the targets in `rust-toolchain.toml` by itself.
fn add_plugin_target() -> Result<()> {
    if !process::exists("rustup") {
        eprintln!("rustup not found: make sure the Rust target {PLUGIN_TARGET} is installed");
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.current_dir(workspace::root());
    process::run(rustup.args(["--quiet", "target", "add", PLUGIN_TARGET]))
}
