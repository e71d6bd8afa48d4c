//! The programs that the host needs, and their installation.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::architecture::Architecture;
use crate::base::{Base, Freshness};
use crate::{packages, process, space, workspace};

/// Options of `cargo xtask setup`.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Rebuild the guest from the newest packages
    #[arg(long)]
    refresh: bool,
    /// Also install the cross-compiler, the emulator and the guest for this architecture
    #[arg(long = "arch", value_name = "ARCH", default_value_t)]
    architecture: Architecture,
}

/// A program, or another file by its absolute path, and the Debian package that contains it.
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

/// Further programs for building and testing arm64.
const FOR_ARM64: &[Requirement] = &[
    from("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
    from("libc6-dev-arm64-cross", "/usr/aarch64-linux-gnu/include/stdio.h"),
    from("qemu-system-arm", "qemu-system-aarch64"),
];

fn extra_requirements(architecture: Architecture) -> &'static [Requirement] {
    match architecture {
        Architecture::Amd64 => &[],
        Architecture::Arm64 => FOR_ARM64,
    }
}

/// The target of plugins, which are components.
const PLUGIN_TARGET: &str = "wasm32-wasip2";

/// Returns what is not installed.
pub(crate) fn missing() -> Vec<Requirement> {
    absent(REQUIREMENTS)
}

fn absent(requirements: &[Requirement]) -> Vec<Requirement> {
    requirements.iter().filter(|requirement| !process::exists(requirement.program)).copied().collect()
}

/// Fails if this machine is not prepared for a foreign architecture.
pub(crate) fn require(architecture: Architecture) -> Result<()> {
    let is_ready = architecture == Architecture::HOST
        || packages::has_lists(architecture) && absent(extra_requirements(architecture)).is_empty();
    ensure!(
        is_ready,
        "this machine is not prepared for {architecture}; run: cargo xtask setup --arch {architecture}"
    );
    Ok(())
}

/// Returns why a guest cannot run here.
pub(crate) fn reason() -> Option<String> {
    let programs: Vec<&str> = missing().iter().map(|requirement| requirement.program).collect();
    (!programs.is_empty()).then(|| format!("not installed: {}; run: cargo xtask setup", programs.join(", ")))
}

/// Prepares this machine and says what can follow.
pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    prepare(options)?;
    println!("ready; next: cargo xtask test, or cargo xtask vm --shell");
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing, or prints how to, and builds the guest.
pub(crate) fn prepare(options: &Options) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the guest is built from the host distribution's packages, which requires Linux on x86-64"
    );
    space::check()?;
    let freshness = if options.refresh { Freshness::Newest } else { Freshness::Any };
    let architecture = options.architecture;
    let mut missing = missing();
    missing.extend(absent(extra_requirements(architecture)));
    if !missing.is_empty() || !Base::is_ready(Architecture::HOST, freshness) {
        update_lists()?;
    }
    install(&missing)?;
    add_target(PLUGIN_TARGET)?;
    Base::get(Architecture::HOST, freshness)?;
    if architecture != Architecture::HOST {
        add_target(architecture.target())?;
        if !packages::has_lists(architecture) || !Base::is_ready(architecture, freshness) {
            packages::update_lists(architecture)?;
        }
        Base::get(architecture, freshness)?;
    }
    Ok(())
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
        None => packages::first_known(Architecture::HOST, &["libc6"])
            .map(drop)
            .context("the package lists are missing; run as root: apt-get update"),
    }
}

fn install(missing: &[Requirement]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|requirement| requirement.package).collect();
    let Some(mut apt) = administrator("apt-get") else {
        bail!(
            "packages are missing; run as root: apt-get install --no-install-recommends {}",
            names.join(" ")
        );
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
fn add_target(target: &str) -> Result<()> {
    if !process::exists("rustup") {
        eprintln!("rustup not found: make sure the Rust target {target} is installed");
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.current_dir(workspace::root());
    process::run(rustup.args(["--quiet", "target", "add", target]))
}
