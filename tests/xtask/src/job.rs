//! One guest, from its files to its end.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tempfile::TempDir;
use weir_guest_init::{Command, Streams};

use crate::architecture::Architecture;
use crate::base::{Base, Freshness};
use crate::machine::{Clock, Disk, Listener, Machine, Tap};
use crate::overlay::{self, Given};
use crate::workspace;

/// The guest's hardware, as options.
#[derive(Debug, Clone, Args)]
pub(crate) struct Hardware {
    /// Architecture of the guest and of the tests in it. For arm64, first run: cargo xtask setup --arch arm64
    #[arg(long = "arch", default_value_t)]
    pub(crate) architecture: Architecture,
    /// Stop the guest after this many seconds
    #[arg(long, default_value_t = Hardware::default().timeout)]
    pub(crate) timeout: u64,
    /// Memory of the guest in MiB [default: 1024, or more if many files are given]
    #[arg(long)]
    pub(crate) memory: Option<u64>,
    /// Number of emulated processors
    #[arg(long, default_value_t = Hardware::default().smp)]
    pub(crate) smp: u32,
    /// Make the guest's clock count instructions: slower, but the ratios between measured times are repeatable
    #[arg(long)]
    pub(crate) icount: bool,
    /// The host's loopback port at which a cluster's API server listens; the guest can reach this port
    #[arg(skip)]
    pub(crate) api_server: Option<u16>,
    #[arg(skip)]
    pub(crate) disk: Option<Disk>,
    #[arg(skip)]
    pub(crate) tap: Option<Tap>,
}

impl Default for Hardware {
    fn default() -> Self {
        Hardware {
            architecture: Architecture::HOST,
            timeout: 600,
            memory: None,
            smp: 2,
            icount: false,
            api_server: None,
            disk: None,
            tap: None,
        }
    }
}

impl Hardware {
    /// The usual guest, stopped after this many seconds.
    pub(crate) fn with_timeout(timeout: u64) -> Self {
        Hardware { timeout, ..Hardware::default() }
    }

    /// One processor whose clock counts instructions: other work on the host only makes the run take longer.
    pub(crate) fn counting_instructions(timeout: u64) -> Self {
        Hardware { smp: 1, icount: true, ..Hardware::with_timeout(timeout) }
    }

    fn machine(&self, root_size: u64, streams: Streams) -> Machine {
        // The archive and its unpacked content are in memory at the same time, and the content may fill half of
        // it.
        let needed = 512 + 3 * (root_size >> 20);
        Machine {
            architecture: self.architecture,
            memory: self.memory.unwrap_or(needed.max(1024)),
            processors: self.smp,
            clock: if self.icount { Clock::Instructions } else { Clock::Host },
            timeout: Duration::from_secs(self.timeout),
            streams,
            api_server: self.api_server,
            disk: self.disk.clone(),
            tap: self.tap.clone(),
        }
    }
}

/// The work of a guest.
pub(crate) struct Job {
    pub(crate) hardware: Hardware,
    pub(crate) commands: Vec<Command>,
    pub(crate) files: Vec<Given>,
}

impl Job {
    /// Boots a guest and runs the commands in it.
    pub(crate) fn run(&self, listener: &mut dyn Listener) -> Result<()> {
        let lab = workspace::lab();
        let architecture = self.hardware.architecture;
        let base = Base::get(architecture, Freshness::Any)?;
        let init = workspace::program_for(architecture, "lab", "weir-guest-init", "weir-guest-init")?;
        let run = RunDirectory::new(&lab)?;
        let directory = run.place.path();
        let root = directory.join("root.cpio");
        let size = overlay::write(&root, &base, &init, &self.commands, &self.files)?;
        let streams = self.commands.last().map_or(Streams::Port, |command| command.streams);
        self.hardware.machine(size, streams).run(&base.kernel(), &root, directory, listener)
    }
}

/// The files of a running guest. A lock distinguishes them from those of an xtask that was killed.
struct RunDirectory {
    place: TempDir,
    _alive: File,
}

impl RunDirectory {
    fn new(lab: &Path) -> Result<Self> {
        // Otherwise another xtask could consider this directory abandoned before it is locked.
        let _lock = workspace::lock_lab()?;
        let creating = "cannot create a directory for the guest's files";
        let place = tempfile::Builder::new().prefix("run-").tempdir_in(lab).context(creating)?;
        let alive = File::create(place.path().join("alive")).context(creating)?;
        alive.lock().context(creating)?;
        remove_abandoned(lab)?;
        Ok(RunDirectory { place, _alive: alive })
    }
}

fn remove_abandoned(lab: &Path) -> Result<()> {
    for entry in fs::read_dir(lab).with_context(|| format!("cannot list {}", lab.display()))? {
        let path = entry.context("cannot list the lab directory")?.path();
        // A directory without a lock file belongs to no guest; one that vanishes meanwhile was not abandoned.
        let Ok(alive) = File::open(path.join("alive")) else { continue };
        if alive.try_lock().is_ok() {
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}
