//! Runs the real kube-proxy, and connects namespaces to the API server.

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

/// A connection from a namespace to the API server, valid until dropped.
#[derive(Debug)]
pub struct Access {
    /// The configuration with a kubeconfig.
    pub config: PathBuf,
    /// That kubeconfig.
    pub kubeconfig: PathBuf,
    _relay: Ended,
    _folder: TempDir,
}

impl Access {
    /// Creates access for a program with this configuration and this kubeconfig in this namespace.
    ///
    /// # Errors
    /// When files cannot be written or read, or the relay cannot be started.
    pub fn new(kubeconfig: &Path, config: &Value, netns: &Netns) -> Result<Access> {
        let folder = tempfile::tempdir().context("cannot create a directory for the kubeconfig")?;
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display())).map(|()| path)
        };
        let text = fs::read_to_string(kubeconfig).context("cannot read the kubeconfig")?;
        let text = text.replace(GUEST_ADDRESS, "127.0.0.1");
        let mut config = config.clone();
        let kubeconfig = file("kubeconfig", &text)?;
        config["clientConnection"] = json!({ "kubeconfig": kubeconfig });
        let config = file("config.json", &config.to_string())?;

        let mut relay = netns.command("socat");
        relay.arg(format!("TCP-LISTEN:{GUEST_PORT},bind=127.0.0.1,reuseaddr,fork"));
        // Each connection continues from the guest's own namespace, which has a route to the host.
        relay.arg(format!(
            "EXEC:nsenter --net=/proc/1/ns/net socat STDIO TCP\\:{GUEST_ADDRESS}\\:{GUEST_PORT}"
        ));
        let relay = Ended(relay.spawn().context("cannot start socat")?);
        Ok(Access { config, kubeconfig, _relay: relay, _folder: folder })
    }
}

/// A process that is stopped on drop.
#[derive(Debug)]
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only if it has already exited.
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
        let folder = tempfile::tempdir().context("cannot create a directory for kube-proxy")?;
        let access = Access::new(kubeconfig, config, netns)?;
        let log = File::create(folder.path().join("log")).context("cannot write kube-proxy's log")?;
        let mut command: Command = netns.command(program);
        command.arg("--config").arg(&access.config).stdin(Stdio::null());
        command.stdout(log.try_clone().context("cannot clone the log file")?).stderr(log);
        let child = Ended(command.spawn().context("cannot start kube-proxy")?);
        Ok(KubeProxy { child, _access: access, folder })
    }

    /// Stops it as a DaemonSet does.
    ///
    /// # Errors
    /// When the signal cannot be sent, or it does not exit within a generous time.
    pub fn stop(mut self) -> Result<()> {
        let id = i32::try_from(self.child.0.id()).context("invalid process id")?;
        kill(Pid::from_raw(id), Signal::SIGTERM).context("cannot stop kube-proxy")?;
        patience::until(patience::GENEROUS, || {
            let status = self.child.0.try_wait().context("cannot check kube-proxy")?;
            status.context("kube-proxy is still running").map(drop)
        })
    }

    /// Fails if it has exited.
    ///
    /// # Errors
    /// The exit status, and the end of its log.
    pub fn expect_health(&mut self) -> Result<()> {
        if let Some(status) = self.child.0.try_wait().context("cannot check kube-proxy")? {
            bail!("kube-proxy exited: {status}; {}", self.log_tail());
        }
        Ok(())
    }

    /// The end of its log, for error messages.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("last lines of kube-proxy's log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}
