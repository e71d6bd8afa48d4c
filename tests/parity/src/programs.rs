//! The paths that `cargo xtask` passes to the programs in the guest.

use std::path::PathBuf;

use clap::Args;

/// The programs to compare, and how to reach the API server.
#[derive(Args, Debug)]
pub struct Programs {
    /// Kubeconfig of a user who may write to the API server.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Kubeconfig of kube-proxy and weir.
    #[arg(long)]
    pub proxy_kubeconfig: PathBuf,
    /// The kube-proxy binary.
    #[arg(long)]
    pub kube_proxy: PathBuf,
    /// The weir binary.
    #[arg(long)]
    pub weir: PathBuf,
    /// The kube-router binary.
    #[arg(long)]
    pub kube_router: Option<PathBuf>,
}
