//! One node, two programs, one after the other: checks what the second finds and what traffic notices.
//!
//! Runs in the guest, on the cluster of the packet tests; both programs watch the API server on the host. Started
//! by `cargo xtask takeover`.

mod difference;
mod drift;
mod node;
mod report;
mod traffic;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use weir_parity::Programs;

use node::{Node, Program, nothing};
use report::Report;
use traffic::Traffic;

/// Switches a node under traffic between kube-proxy and weir.
#[derive(Debug, Parser)]
#[command(name = "weir-takeover")]
struct Arguments {
    #[command(flatten)]
    programs: Programs,
    /// Do not test the switch. Instead, damage the kernel state that each program has programmed, and report how the
    /// program reacts.
    #[arg(long)]
    drift: bool,
}

fn main() -> ExitCode {
    weir_parity::exit_code(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut node = Node::new(arguments)?;
    if arguments.drift {
        return drift::table(&mut node);
    }
    let mut report = Report::default();
    node.start(Program::KubeProxy)?;
    let theirs = node.dump()?;

    // The same traffic runs throughout: a stream that lives to the end has survived every step.
    let mut traffic = Traffic::start(&node)?;
    for (during, killed) in
        [("from_kube_proxy_to_weir", false), ("weir_restarted", false), ("weir_killed", true)]
    {
        if killed {
            node.kill()?
        } else {
            node.stop()?
        }
        let requests = node.requests_while(|node| node.start(Program::Weir))?;
        report.claim(&format!("{during}_asks_the_kernel_for_no_change"), nothing(&requests));
        report.claim(&format!("{during}_logs_no_change"), nothing(&node.changes()?));
        report.claim(&format!("{during}_is_the_same"), node.dump()?.expect(&theirs));
        traffic.claim(&mut report, during);
    }

    node.stop()?;
    let requests = node.requests_while(|node| node.start(Program::KubeProxy))?;
    println!("changes made by kube-proxy after weir: {requests:?}");
    report.claim("from_weir_to_kube_proxy_is_the_same", node.dump()?.expect(&theirs));
    report.claim("from_weir_to_kube_proxy_it_goes_on", node.follows_a_change());
    traffic.claim(&mut report, "from_weir_to_kube_proxy");
    traffic.stop();

    node.stop()?;
    report.claim("weir_changes_what_is_meant_to_differ_and_nothing_else", difference::taken_over(&mut node));
    report.claim("kube_proxy_cleans_up_after_weir", node.clean_up_by_kube_proxy());
    Ok(report.finish())
}
