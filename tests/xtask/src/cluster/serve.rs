//! A cluster for manual use.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::{Context, Result};
use clap::Args;
use weir_cluster::Cluster;

/// Options of `cargo xtask cluster run`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Manifest files (YAML or JSON) to apply at the start
    #[arg(value_name = "FILE")]
    manifests: Vec<PathBuf>,
}

/// Runs a cluster until a signal arrives.
pub(crate) fn serve(options: &Options) -> Result<ExitCode> {
    super::build()?;
    let (sender, signals) = mpsc::channel();
    let mut watched = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ])
    .context("cannot watch signals")?;
    let cluster = Cluster::start()?;
    for path in &options.manifests {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        cluster.apply(&text).with_context(|| format!("cannot apply {}", path.display()))?;
    }
    println!("API server   {}", cluster.server());
    println!("admin        --kubeconfig {}", cluster.kubeconfig().display());
    println!("kube-proxy   --kubeconfig {}", cluster.proxy_kubeconfig().display());
    println!("kubectl      {:?}", cluster.kubectl());
    println!(
        "There are no nodes and no controllers: apply Nodes and EndpointSlices yourself. Press Ctrl-C to stop."
    );
    std::thread::spawn(move || watched.forever().next().map(|signal| sender.send(signal)));
    let signal = signals.recv().context("the signal watcher has stopped")?;
    drop(cluster);
    eprintln!("stopped by signal {signal}");
    Ok(ExitCode::SUCCESS)
}
