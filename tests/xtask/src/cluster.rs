//! `cargo xtask cluster`: a real API server for tests and manual use.

mod build;
mod serve;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use build::{
    build, build_for_nodes, build_kube_router, kubernetes_version, missing, missing_for_nodes,
};

/// Options of `cargo xtask cluster`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Use Go to build kube-apiserver, etcd, kubectl, kube-proxy, helm and a checker for Grafana dashboards; the first
    /// build takes several minutes
    Build {
        /// Also build what `cargo xtask e2e` needs: kubelet, containerd and the other programs of a cluster with
        /// nodes, and Kubernetes' own tests
        #[arg(long)]
        nodes: bool,
    },
    /// Start a cluster without nodes, print how to reach it, and run until Ctrl-C
    Run(serve::Options),
}

pub(crate) fn main(options: &Options) -> Result<ExitCode> {
    match &options.action {
        Action::Build { nodes: false } => build().map(|()| ExitCode::SUCCESS),
        Action::Build { nodes: true } => build_for_nodes().map(|()| ExitCode::SUCCESS),
        Action::Run(options) => serve::serve(options),
    }
}
