//! The real kube-proxy.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use crate::Arguments;

/// A running kube-proxy; killed when dropped.
pub(crate) struct KubeProxy {
    child: Child,
    folder: TempDir,
}

/// As in the recorded scenarios, but for the time between two synchronisations: the result is the same, only sooner.
pub(crate) fn config() -> serde_json::Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "ipvs",
        "hostnameOverride": weir_parity::world::NODE,
        "ipvs": { "syncPeriod": "30s", "minSyncPeriod": "0s" },
        "conntrack": { "maxPerCore": 0 },
    })
}

impl KubeProxy {
    pub(crate) fn start(arguments: &Arguments) -> Result<KubeProxy> {
        let folder = tempfile::tempdir().context("no folder for kube-proxy")?;
        let mut config = config();
        config["clientConnection"] = json!({ "kubeconfig": arguments.proxy_kubeconfig });
        let file = folder.path().join("config.json");
        fs::write(&file, config.to_string()).context("cannot write kube-proxy's configuration")?;
        let log = File::create(folder.path().join("log")).context("cannot write kube-proxy's log")?;
        let mut command = Command::new(&arguments.kube_proxy);
        command.arg("--config").arg(file).stdin(Stdio::null());
        command.stdout(log.try_clone().context("the log")?).stderr(log);
        let child = command.spawn().context("cannot start kube-proxy")?;
        Ok(KubeProxy { child, folder })
    }

    pub(crate) fn expect_health(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot look after kube-proxy")? {
            bail!("kube-proxy has ended: {status}; {}", self.log_tail());
        }
        Ok(())
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("the end of kube-proxy's log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for KubeProxy {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
