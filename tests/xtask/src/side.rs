//! Programs in the guest that drive both the real kube-proxy and weir, against an API server here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use weir_cluster::{Cluster, Programs};
use weir_guest_init::{Command, Streams};

use crate::job::{Hardware, Job};
use crate::machine::Listener;
use crate::overlay::Given;
use crate::workspace::{self, Role};
use crate::{cluster, setup};

/// Runs a program of `weir-parity` with these arguments beside those that say where everything is. `weir` is built unless
/// it is given.
pub(crate) fn run(
    driver: &str,
    weir: Option<&Path>,
    arguments: &[&str],
    timeout: u64,
    listener: &mut dyn Listener,
) -> Result<()> {
    let missing: Vec<&str> = setup::missing().iter().map(|requirement| requirement.program).collect();
    ensure!(missing.is_empty(), "{} not installed; run: cargo xtask setup", missing.join(", "));
    cluster::build()?;
    let kube_proxy = Programs::find()?.kube_proxy;
    let driver = program("weir-parity", driver)?;
    let weir = match weir {
        Some(program) => program.canonicalize().with_context(|| format!("--weir {}", program.display()))?,
        None => program("weir", "weir")?,
    };
    let cluster = Cluster::start()?;
    let [admin, proxy] = [cluster.guest_kubeconfig(), cluster.guest_proxy_kubeconfig()];
    let mut words = vec![text(&driver)?];
    for (name, path) in [
        ("--kubeconfig", &admin),
        ("--proxy-kubeconfig", &proxy),
        ("--kube-proxy", &kube_proxy),
        ("--weir", &weir),
    ] {
        words.extend([name.to_owned(), text(path)?]);
    }
    words.extend(arguments.iter().map(|&word| word.to_owned()));
    let command = Command {
        streams: Streams::Port,
        directory: "/root".to_owned(),
        environment: Vec::new(),
        arguments: words,
    };
    let mut hardware = Hardware::with_timeout(timeout);
    hardware.api_server = Some(cluster.port());
    let files = [&driver, &weir, &kube_proxy, &admin, &proxy].map(|path| Given::same_path(path)).into();
    Job { hardware, commands: vec![command], files }.run(listener)
}

fn program(package: &str, name: &str) -> Result<PathBuf> {
    let built = workspace::build(&["build", "--package", package, "--bins"])?;
    let found = built.into_iter().find(|artifact| artifact.role == Role::Program && artifact.name == name);
    found.map(|artifact| artifact.executable).with_context(|| format!("cargo built no {name}"))
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{path:?} is not UTF-8"))
}
