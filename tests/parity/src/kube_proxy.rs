//! The real kube-proxy.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;
use weir_harness::netns::Netns;

use crate::process::Ended;

/// What counts its synchronisations, once for each family.
const SYNCS: &str = "kubeproxy_sync_proxy_rules_duration_seconds_count";

/// A running kube-proxy; killed when dropped, and the kernel keeps what it holds.
#[derive(Debug)]
pub struct KubeProxy {
    child: Ended,
    log: NamedTempFile,
}

impl KubeProxy {
    /// Starts it with a configuration file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, config: &Path, netns: &Netns) -> Result<KubeProxy> {
        let log = NamedTempFile::new().context("no file for kube-proxy's log")?;
        let writing = || File::create(log.path()).context("cannot write kube-proxy's log");
        let file = writing()?;
        let mut command: Command = netns.command(program);
        command.arg("--config").arg(config).stdin(Stdio::null());
        command.stdout(file.try_clone().context("the log")?).stderr(file);
        let child = Ended(command.spawn().context("cannot start kube-proxy")?);
        Ok(KubeProxy { child, log })
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// How it ended, and what it logged last.
    pub fn expect_health(&mut self) -> Result<()> {
        if let Some(status) = self.child.0.try_wait().context("cannot look after kube-proxy")? {
            bail!("kube-proxy has ended: {status}; {}", self.log_tail());
        }
        Ok(())
    }

    /// How many synchronisations it has finished for both families.
    ///
    /// # Errors
    /// When it does not tell, because it is not that far.
    pub fn syncs(&self, netns: &Netns) -> Result<u32> {
        let text = netns.run("curl", &["--silent", "--show-error", "http://127.0.0.1:10249/metrics"])?;
        syncs(&text)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("the end of kube-proxy's log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

/// The smaller of both families' counts.
fn syncs(metrics: &str) -> Result<u32> {
    let values: Vec<u32> = metrics
        .lines()
        .filter(|line| line.starts_with(SYNCS))
        .map(|line| line.rsplit(' ').next().unwrap_or_default().parse().context("a count"))
        .collect::<Result<_>>()?;
    ensure!(values.len() == 2, "{SYNCS} is there for {} families", values.len());
    values.into_iter().min().context("no family")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synchronisation_is_one_of_both_families() {
        let metrics =
            |lines: &[&str]| lines.iter().map(|line| format!("{SYNCS}{line}\n")).collect::<String>();
        let both = metrics(&["{ip_family=\"IPv4\"} 3", "{ip_family=\"IPv6\"} 2"]);
        assert_eq!(syncs(&both).unwrap(), 2);
        assert!(syncs(&metrics(&["{ip_family=\"IPv4\"} 3"])).is_err());
        assert!(syncs("").is_err());
    }
}
