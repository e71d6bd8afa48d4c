//! Installs the service proxy of a cluster as users do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use weir_cluster::Cluster;

use crate::{cluster as programs, process, workspace};

/// Files of the cluster and its nodes.
pub(super) fn folder() -> PathBuf {
    workspace::root().join("tests/e2e")
}

/// The label by which a test finds the pods of the service proxy, to restart them.
const LABEL: &str = "labels:\n- pairs: {k8s-app: kube-proxy}\n  includeTemplates: true\n";

/// Follows `host/install/README.md`: puts the API server's address into a file and applies the base.
pub(super) fn weir(cluster: &Cluster, report: &Path) -> Result<()> {
    let server = cluster.server_for_nodes()?;
    let base = copy("base", report, |text| {
        let label = if text.contains("kind: Kustomization") { LABEL } else { "" };
        text.replace("https://control-plane.example:6443", &server) + label
    })?;
    process::run(cluster.kubectl().args(["apply", "--server-side", "--kustomize"]).arg(base))
}

/// Copies a folder of `host/install`, with the edits that a user makes, and returns the copy.
pub(super) fn copy(name: &str, report: &Path, edit: impl Fn(String) -> String) -> Result<PathBuf> {
    let (from, to) = (workspace::root().join("host/install").join(name), report.join("install").join(name));
    let copying = || format!("cannot copy {}", from.display());
    fs::create_dir_all(&to).with_context(copying)?;
    for entry in fs::read_dir(&from).with_context(copying)? {
        let entry = entry.with_context(copying)?;
        let text = fs::read_to_string(entry.path()).with_context(copying)?;
        fs::write(to.join(entry.file_name()), edit(text)).with_context(copying)?;
    }
    Ok(to)
}

/// Runs the step of `kubeadm init` that installs kube-proxy.
pub(super) fn kube_proxy(cluster: &Cluster, report: &Path) -> Result<()> {
    let text =
        fs::read_to_string(folder().join("kubeadm.yaml")).context("cannot read tests/e2e/kubeadm.yaml")?;
    let server = cluster.server_for_nodes()?;
    let endpoint = server.strip_prefix("https://").unwrap_or(&server);
    let text = text.replace("VERSION", &programs::kubernetes_version()?).replace("ENDPOINT", endpoint);
    let file = report.join("kubeadm.yaml");
    fs::write(&file, text).context("cannot write kubeadm.yaml")?;
    let mut kubeadm = Command::new(weir_cluster::folder().join("kubeadm"));
    kubeadm.args(["init", "phase", "addon", "kube-proxy", "--config"]).arg(file);
    process::run(kubeadm.arg("--kubeconfig").arg(cluster.kubeconfig()))
}
