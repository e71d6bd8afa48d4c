//! The way from a node's namespace to the API server.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_cluster::{GUEST_ADDRESS, GUEST_PORT};
use weir_harness::netns::Netns;

use crate::process::Ended;

/// A relay and a kubeconfig that uses it; both end with it.
#[derive(Debug)]
pub struct Access {
    _relay: Ended,
    folder: TempDir,
}

impl Access {
    /// For who a kubeconfig says, from this namespace.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read, or the relay not started.
    pub fn new(kubeconfig: &Path, netns: &Netns) -> Result<Access> {
        let folder = tempfile::tempdir().context("no folder for configurations")?;
        let text = fs::read_to_string(kubeconfig).context("cannot read the proxy's kubeconfig")?;
        let text = text.replace(GUEST_ADDRESS, "127.0.0.1");
        fs::write(folder.path().join("kubeconfig"), text).context("cannot write a kubeconfig")?;
        let mut relay = netns.command("socat");
        relay.arg(format!("TCP-LISTEN:{GUEST_PORT},bind=127.0.0.1,reuseaddr,fork"));
        // Each connection goes on from the guest's own namespace, where the way to the host is.
        relay.arg(format!(
            "EXEC:nsenter --net=/proc/1/ns/net socat STDIO TCP\\:{GUEST_ADDRESS}\\:{GUEST_PORT}"
        ));
        let relay = Ended(relay.spawn().context("cannot start socat")?);
        Ok(Access { _relay: relay, folder })
    }

    /// Writes a `KubeProxyConfiguration` that goes this way, in place of an earlier one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, config: &Value) -> Result<PathBuf> {
        let mut config = config.clone();
        config["clientConnection"] = json!({ "kubeconfig": self.folder.path().join("kubeconfig") });
        let path = self.folder.path().join("config.json");
        fs::write(&path, config.to_string()).context("cannot write a configuration")?;
        Ok(path)
    }
}
