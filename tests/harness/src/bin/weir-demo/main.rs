//! A demo of weir on a small cluster; `cargo xtask demo` runs it in the guest.
//!
//! ```text
//! cluster ─▶ manifests ─▶ weir plan ─▶ weir run ─▶ ipvsadm -Ln ─▶ requests ─▶ an edit while requests run
//! ```
//!
//! Every claim is checked; the exit status is 1 if one does not hold.

mod page;
#[cfg(test)]
mod quoted;
mod requests;
mod rollout;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use stage::Stage;

/// Runs weir on a small cluster of network namespaces. Needs root and a kernel with IPVS.
#[derive(Debug, Parser)]
#[command(name = "weir-demo")]
struct Arguments {
    /// The weir binary.
    #[arg(long, value_name = "PROGRAM")]
    weir: PathBuf,
    /// Directory with the demo's manifests; edits are made in a copy.
    #[arg(long, value_name = "FOLDER")]
    manifests: PathBuf,
}

fn main() -> ExitCode {
    match play(&Arguments::parse()) {
        Ok(()) => {
            page::say("All checks passed.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            page::say(&format!("CHECK FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &Arguments) -> Result<()> {
    page::headline("A small cluster on one kernel: machines and pods are network namespaces");
    let cluster = stage::cluster()?;
    page::headline("Two Services, as manifests");
    let manifests = stage::manifests(&arguments.manifests)?;
    page::headline("weir run: from manifests to the kernel");
    let stage = Stage::start(&cluster, &arguments.weir, manifests)?;
    page::headline("The planned kernel state for the cluster IP of `web` (weir plan)");
    stage.show_plan()?;
    page::headline("The actual kernel state (ipvsadm -Ln)");
    stage.show_kernel()?;
    page::headline("Requests: which server answers, and which client address does it see?");
    requests::through_all_vips(&stage)?;
    page::headline("Where would a packet go? (weir trace)");
    stage.show_trace()?;
    page::headline("A rollout under traffic: web-4 replaces web-2");
    rollout::replace_a_pod(&stage)
}
