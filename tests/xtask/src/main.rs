//! Development commands: `cargo xtask COMMAND`.

mod architecture;
mod base;
mod bench;
mod beside;
mod cluster;
mod cpio;
mod demo;
mod deny;
#[cfg(test)]
mod documented;
mod e2e;
mod examples;
mod experiment;
mod fixtures;
mod fuzz;
mod guest_tests;
mod image;
mod job;
mod kernel;
mod lines;
mod machine;
mod monitoring;
mod overlay;
mod packages;
mod page;
mod parity;
mod process;
mod relay;
mod release;
mod rivals;
mod setup;
mod space;
mod suite;
mod takeover;
mod tally;
mod tools;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install the packages that the other xtask commands need, then build the guest. If installing needs a password,
    /// only print the install command
    Setup(setup::Options),
    /// Run all checks and tests, then print one line of counts
    Test(suite::Options),
    /// Show weir at work on a small cluster in a guest: requests, how they spread over the pods, and a rollout
    Demo,
    /// Boot a guest, a QEMU virtual machine with a real IPVS kernel, and run a command or tests in it
    Vm(vm::Options),
    /// Count weir's processes, netlink messages and system calls on a real kernel; or measure planning and sync rounds
    /// without a kernel; or compare weir with other proxies
    Bench(bench::Options),
    /// Run a `weir lab` load on a real kernel in a guest and compare the results
    Experiment(experiment::Options),
    /// Open the status page in a real browser, Debian's Chromium, and check what the browser makes of the page
    Page,
    /// Build the container image, without a container daemon
    Image(image::Options),
    /// Build a release from the last commit: image, SBOM, provenance and checksums, signed on request
    Release(release::Options),
    /// Build or start a real API server with etcd, for tests and manual use
    Cluster(cluster::Options),
    /// Build the example plugins in Go, JavaScript and Python
    Examples(examples::Options),
    /// Compare weir with the real kube-proxy on random clusters, in a guest
    Parity(parity::Options),
    /// Switch a node under traffic from kube-proxy to weir and back, in a guest
    Takeover(takeover::Options),
    /// Run Kubernetes' own tests against a cluster with kubelets. The service proxy is weir or the real kube-proxy
    E2e(e2e::Options),
    /// Connect standard input and output to a loopback port; QEMU runs this for each connection from a guest
    #[command(hide = true)]
    Relay(relay::Options),
    /// Run every fuzz target for a limited time, with a nightly compiler
    Fuzz(fuzz::Options),
    /// Check the dependencies with cargo-deny: licences, sources and banned crates; or the advisory database
    Deny(deny::Options),
}

fn main() -> ExitCode {
    run(Arguments::parse().command).unwrap_or_else(|error| {
        // Prints the chain without the backtrace that anyhow adds when RUST_BACKTRACE is set for tests.
        let mut causes = error.chain();
        eprintln!("error: {}", causes.next().map(ToString::to_string).unwrap_or_default());
        causes.for_each(|cause| eprintln!("  because: {cause}"));
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup(options) => setup::main(&options),
        Command::Test(options) => suite::main(&options),
        Command::Demo => demo::main(),
        Command::Vm(options) => vm::main(options),
        Command::Bench(options) => bench::main(&options),
        Command::Experiment(options) => experiment::main(&options),
        Command::Page => page::main(),
        Command::Image(options) => image::main(&options),
        Command::Release(options) => release::main(&options),
        Command::Cluster(options) => cluster::main(&options),
        Command::Examples(options) => examples::main(&options),
        Command::Parity(options) => parity::main(&options),
        Command::Takeover(options) => takeover::main(&options),
        Command::E2e(options) => e2e::main(&options),
        Command::Relay(options) => relay::main(&options),
        Command::Fuzz(options) => fuzz::main(&options),
        Command::Deny(options) => deny::main(&options).map(|()| ExitCode::SUCCESS),
    }
}
