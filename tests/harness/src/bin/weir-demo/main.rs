//! A demonstration of weir on a small cluster: `cargo xtask demo` runs it in the guest.
//!
//! ```text
//! cluster ─▶ manifests ─▶ weir plan ─▶ weir run ─▶ ipvsadm -Ln ─▶ requests ─▶ an edit while requests run
//! ```
//!
//! Never: a claim that is not checked. The exit status is 1 as soon as one does not hold.

mod page;
mod requests;
mod rollout;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use stage::Stage;

/// weir on a small cluster of network namespaces. Needs root and a kernel with IPVS.
#[derive(Debug, Parser)]
#[command(name = "weir-demo")]
struct Arguments {
    /// The program weir.
    #[arg(long, value_name = "PROGRAM")]
    weir: PathBuf,
    /// Folder with the demonstration's manifests; what is edited is a copy.
    #[arg(long, value_name = "FOLDER")]
    manifests: PathBuf,
}

fn main() -> ExitCode {
    match play(&Arguments::parse()) {
        Ok(()) => {
            page::say("Everything was as announced.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            page::say(&format!("NOT as announced: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &Arguments) -> Result<()> {
    page::headline("A small cluster on one kernel; machines and pods are network namespaces");
    let cluster = stage::cluster()?;
    page::headline("Two Services, as manifests");
    let manifests = stage::manifests(&arguments.manifests)?;
    page::headline("weir run: from manifests to the kernel");
    let stage = Stage::start(&cluster, &arguments.weir, manifests)?;
    page::headline("What weir wants in the kernel for the cluster IP of `web` (weir plan)");
    stage.show_plan()?;
    page::headline("What the kernel says (ipvsadm -Ln)");
    stage.show_kernel()?;
    page::headline("Requests: who answers, and which client address do the servers see?");
    requests::through_all_vips(&stage)?;
    page::headline("Where would a packet go? (weir trace)");
    stage.show_trace()?;
    page::headline("A rollout while requests run: web-4 takes the place of web-2");
    rollout::replace_a_pod(&stage)
}
