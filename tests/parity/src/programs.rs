//! Where everything is, as `cargo xtask` says it to the programs in the guest.

use std::path::PathBuf;

use clap::Args;

/// The programs to be compared, and how the API server is reached.
#[derive(Args, Debug)]
pub struct Programs {
    /// Of somebody who may write.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Of kube-proxy, and of weir.
    #[arg(long)]
    pub proxy_kubeconfig: PathBuf,
    /// The program kube-proxy.
    #[arg(long)]
    pub kube_proxy: PathBuf,
    /// The program weir.
    #[arg(long)]
    pub weir: PathBuf,
}
