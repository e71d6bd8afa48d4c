//! The real kube-proxy, and how a program in a namespace reaches the API server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_cluster::{GUEST_ADDRESS, GUEST_PORT};
use weir_harness::netns::Netns;
use weir_harness::patience;

/// A running kube-proxy; killed when dropped.
#[derive(Debug)]
pub struct KubeProxy {
    child: Ended,
    _access: Access,
    folder: TempDir,
}

/// A way from a namespace to the API server, for as long as it is kept.
#[derive(Debug)]
pub struct Access {
    /// The configuration with a kubeconfig.
    pub config: PathBuf,
    _relay: Ended,
    _folder: TempDir,
}

impl Access {
    /// For a program with this configuration and this kubeconfig in this namespace.
    ///
    /// # Errors
    /// When files cannot be written or read, or the relay cannot be started.
    pub fn new(kubeconfig: &Path, config: &Value, netns: &Netns) -> Result<Access> {
        let folder = tempfile::tempdir().context("no folder for a kubeconfig")?;
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display())).map(|()| path)
        };
        let text = fs::read_to_string(kubeconfig).context("cannot read the kubeconfig")?;
        let text = text.replace(GUEST_ADDRESS, "127.0.0.1");
        let mut config = config.clone();
        config["clientConnection"] = json!({ "kubeconfig": file("kubeconfig", &text)? });
        let config = file("config.json", &config.to_string())?;

        let mut relay = netns.command("socat");
        relay.arg(format!("TCP-LISTEN:{GUEST_PORT},bind=127.0.0.1,reuseaddr,fork"));
        // Each connection goes on from the guest's own namespace, where the way to the host is.
        relay.arg(format!(
            "EXEC:nsenter --net=/proc/1/ns/net socat STDIO TCP\\:{GUEST_ADDRESS}\\:{GUEST_PORT}"
        ));
        let relay = Ended(relay.spawn().context("cannot start socat")?);
        Ok(Access { config, _relay: relay, _folder: folder })
    }
}

/// A process that ends with its value.
#[derive(Debug)]
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl KubeProxy {
    /// Starts it with this configuration in this namespace.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, kubeconfig: &Path, config: &Value, netns: &Netns) -> Result<KubeProxy> {
        let folder = tempfile::tempdir().context("no folder for kube-proxy")?;
        let access = Access::new(kubeconfig, config, netns)?;
        let log = File::create(folder.path().join("log")).context("cannot write kube-proxy's log")?;
        let mut command: Command = netns.command(program);
        command.arg("--config").arg(&access.config).stdin(Stdio::null());
        command.stdout(log.try_clone().context("the log")?).stderr(log);
        let child = Ended(command.spawn().context("cannot start kube-proxy")?);
        Ok(KubeProxy { child, _access: access, folder })
    }

    /// Ends it as a DaemonSet does.
    ///
    /// # Errors
    /// When it cannot be told, or does not end within a generous time.
    pub fn stop(mut self) -> Result<()> {
        let id = i32::try_from(self.child.0.id()).context("a process id")?;
        kill(Pid::from_raw(id), Signal::SIGTERM).context("cannot end kube-proxy")?;
        patience::until(patience::GENEROUS, || {
            let status = self.child.0.try_wait().context("cannot look after kube-proxy")?;
            status.context("kube-proxy goes on running").map(drop)
        })
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// How, and what it said last.
    pub fn expect_health(&mut self) -> Result<()> {
        if let Some(status) = self.child.0.try_wait().context("cannot look after kube-proxy")? {
            bail!("kube-proxy has ended: {status}; {}", self.log_tail());
        }
        Ok(())
    }

    /// The end of its log, for error messages.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("the end of kube-proxy's log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}
