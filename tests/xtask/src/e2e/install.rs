//! How a cluster gets its service proxy: as users install it.

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

/// As `host/install/README.md` says: the address of the API server goes into a file, then the base is applied.
pub(super) fn weir(cluster: &Cluster, report: &Path) -> Result<()> {
    let (base, copy) = (workspace::root().join("host/install/base"), report.join("install/base"));
    fs::create_dir_all(&copy).context("cannot copy host/install/base")?;
    for entry in fs::read_dir(&base).context("no host/install/base")? {
        let entry = entry.context("cannot list host/install/base")?;
        let text = fs::read_to_string(entry.path()).context("cannot read host/install/base")?;
        let text = text.replace("https://control-plane.example:6443", &cluster.server_for_nodes()?);
        fs::write(copy.join(entry.file_name()), text).context("cannot copy host/install/base")?;
    }
    process::run(cluster.kubectl().arg("apply").arg("--kustomize").arg(&copy))
}

/// By kubeadm itself, as part of its `init`.
pub(super) fn kube_proxy(cluster: &Cluster, report: &Path) -> Result<()> {
    let text = fs::read_to_string(folder().join("kubeadm.yaml")).context("no tests/e2e/kubeadm.yaml")?;
    let server = cluster.server_for_nodes()?;
    let endpoint = server.strip_prefix("https://").unwrap_or(&server);
    let text = text.replace("VERSION", &programs::kubernetes_version()?).replace("ENDPOINT", endpoint);
    let file = report.join("kubeadm.yaml");
    fs::write(&file, text).context("cannot write kubeadm.yaml")?;
    let mut kubeadm = Command::new(weir_cluster::folder().join("kubeadm"));
    kubeadm.args(["init", "phase", "addon", "kube-proxy", "--config"]).arg(file);
    process::run(kubeadm.arg("--kubeconfig").arg(cluster.kubeconfig()))
}
