//! One node, two programs, one after the other: what the second finds of the first, and what traffic notices.
//!
//! Runs in the guest, on the cluster of the packet tests; both programs watch the API server on the host. `cargo xtask
//! takeover` starts it.

mod difference;
mod drift;
mod node;
mod report;
mod traffic;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use weir_parity::Programs;

use node::{Node, Program};
use report::Report;
use traffic::Traffic;

/// kube-proxy and weir take a node over from each other.
#[derive(Debug, Parser)]
#[command(name = "weir-takeover")]
struct Arguments {
    #[command(flatten)]
    programs: Programs,
    /// Break things on a programmed node, and tell what each program does about it.
    #[arg(long)]
    drift: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut node = Node::new(arguments)?;
    if arguments.drift {
        return drift::table(&mut node);
    }
    let mut report = Report::default();
    node.start(Program::KubeProxy)?;
    let theirs = node.dump()?;

    let traffic = Traffic::start(&node)?;
    node.stop()?;
    node.start(Program::Weir)?;
    let messages = node.changes()?;
    report.claim("weir_changes_nothing_that_kube_proxy_left", node::nothing(&messages));
    report.claim("weir_holds_what_kube_proxy_left", node.dump()?.expect(&theirs));
    traffic.stop(&mut report, "from_kube_proxy_to_weir");

    let traffic = Traffic::start(&node)?;
    node.stop()?;
    node.start(Program::Weir)?;
    report.claim("weir_changes_nothing_that_weir_left", node::nothing(&node.changes()?));
    traffic.stop(&mut report, "weir_restarted");

    let traffic = Traffic::start(&node)?;
    node.kill()?;
    node.start(Program::Weir)?;
    report.claim("weir_changes_nothing_after_a_kill", node::nothing(&node.changes()?));
    traffic.stop(&mut report, "weir_killed");

    let traffic = Traffic::start(&node)?;
    node.stop()?;
    node.start(Program::KubeProxy)?;
    report.claim("kube_proxy_holds_what_weir_left", node.dump()?.expect(&theirs));
    report.claim("kube_proxy_goes_on_with_what_weir_left", node.follows_a_change());
    traffic.stop(&mut report, "from_weir_to_kube_proxy");

    node.stop()?;
    report.claim("weir_changes_what_is_meant_to_differ_and_nothing_else", difference::taken_over(&mut node));
    Ok(report.finish())
}
