//! `cargo xtask demo`: shows weir on a small cluster in a guest.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode, Stdio};

use anyhow::{Context, Result};
use weir_guest_init::{Command, Streams};

use crate::architecture::Architecture;
use crate::base::{Base, Freshness};
use crate::job::{Hardware, Job};
use crate::overlay::Given;
use crate::workspace;
use crate::{setup, vm};

const MANIFESTS: &str = "tests/demo/manifests";

const WHAT_NEXT: &str = "
What next
  cargo xtask vm --shell             explore the guest: ipvsadm, ipset, iptables, ip
  tests/demo/manifests               change the Services and run this again
  cargo xtask test                   run all checks and tests
  README.md, Your first plugin       a policy of your own, in force in the guest
  README.md                          what weir is, and how to run it on a node";

/// Installs what is missing, builds weir and runs the demo.
pub(crate) fn main() -> Result<ExitCode> {
    if !setup::missing().is_empty() || !Base::is_ready(Architecture::HOST, Freshness::Any) {
        eprintln!("Preparing the guest: downloading packages and unpacking them below .lab");
        setup::prepare(&setup::Options::default())?;
    }
    eprintln!("Building weir; the first build takes several minutes");
    let programs = Programs::build()?;
    eprintln!("Booting a guest with a real IPVS kernel");
    let status = vm::run_one(&programs.job()?)?;
    if status == ExitCode::SUCCESS {
        println!("{WHAT_NEXT}");
        if this_machine_has_ipvs() {
            println!("{}", programs.without_the_guest());
        }
    }
    Ok(status)
}

/// The programs that run in the guest.
struct Programs {
    weir: PathBuf,
    demo: PathBuf,
}

impl Programs {
    fn build() -> Result<Programs> {
        let build = |package, name| workspace::program("dev", package, name);
        Ok(Programs { weir: build("weir", "weir")?, demo: build("weir-harness", "weir-demo")? })
    }

    fn job(&self) -> Result<Job> {
        let root = workspace::root();
        let manifests = root.join(MANIFESTS);
        let colour = if io::stdout().is_terminal() { None } else { Some(("NO_COLOR".into(), "1".into())) };
        let command = Command {
            streams: Streams::Port,
            directory: text(root)?,
            environment: colour.into_iter().collect(),
            arguments: vec![
                text(&self.demo)?,
                "--weir".into(),
                text(&self.weir)?,
                "--manifests".into(),
                text(&manifests)?,
            ],
        };
        let files = [&self.weir, &self.demo, &manifests].map(Given::same_path).into();
        Ok(Job { hardware: Hardware::default(), commands: vec![command], files })
    }

    fn without_the_guest(&self) -> String {
        format!(
            "\nThis machine's kernel has IPVS. To run the demo here, in separate network namespaces, use this command. \
             It needs\nroot, and loads the modules ip_vs, sctp and br_netfilter (see tests/demo/README.md):\n  sudo {} \
             --weir {} --manifests {MANIFESTS}",
            self.demo.display(),
            self.weir.display()
        )
    }
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{path:?} is not UTF-8"))
}

/// Checks without loading anything.
fn this_machine_has_ipvs() -> bool {
    let mut modprobe = process::Command::new("modprobe");
    modprobe.args(["--dry-run", "--quiet", "ip_vs"]).stdout(Stdio::null()).stderr(Stdio::null());
    Path::new("/proc/net/ip_vs").exists() || modprobe.status().is_ok_and(|status| status.success())
}
