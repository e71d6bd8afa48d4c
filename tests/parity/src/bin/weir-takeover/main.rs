//! One node that is handed over between the real kube-proxy and weir, in the guest: what each finds, what it changes, and
//! what becomes of the connections meanwhile.
//!
//! Every step is a line that says `ok` or `FAILED`; the last line counts them as libtest does.

mod difference;
mod drift;
mod node;
mod objects;
mod swaps;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use node::Node;

/// kube-proxy and weir, one after the other, on the same node.
#[derive(Debug, Parser)]
#[command(name = "weir-takeover")]
struct Arguments {
    /// Of somebody who may write.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Of kube-proxy, for both programs.
    #[arg(long)]
    proxy_kubeconfig: PathBuf,
    /// The program kube-proxy.
    #[arg(long)]
    kube_proxy: PathBuf,
    /// The program weir.
    #[arg(long)]
    weir: PathBuf,
    /// Also what each of them does about what others change.
    #[arg(long)]
    drift: bool,
}

/// What the steps came to.
#[derive(Debug, Default)]
struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Counts a step, and says what it found.
    fn step(&mut self, name: &str, result: Result<String>) {
        match result {
            Ok(found) => {
                self.passed += 1;
                println!("takeover {name} ... ok: {found}");
            }
            Err(error) => {
                self.failed += 1;
                println!("takeover {name} ... FAILED: {error:#}");
            }
        }
    }
}

fn main() -> ExitCode {
    let mut report = Report::default();
    if let Err(error) = run(&Arguments::parse(), &mut report) {
        // What follows a step that could not be made was not tried.
        report.step("to its end", Err(error));
    }
    let verdict = if report.failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        report.passed, report.failed
    );
    if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let mut node = Node::new(arguments).context("no node")?;
    swaps::run(&mut node, report).context("the swaps")?;
    if arguments.drift {
        drift::run(&mut node, report).context("drift")?;
    }
    difference::run(&mut node, report).context("the meant difference")
}
