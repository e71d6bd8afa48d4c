//! A running proxy and its resource usage.

use std::fs::{self, File};
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_harness::netns::Netns;
use weir_parity::Programs;
use weir_parity::proxy::Access;

use crate::objects::NODE;

/// Interval between two readings of a proxy's processor time.
const LOOK: Duration = Duration::from_millis(500);

/// A proxy counts as idle if it uses less than this in two consecutive intervals.
const QUIET: Duration = Duration::from_millis(30);

/// Options that make kube-router only a service proxy.
const SERVICE_PROXY: [&str; 3] =
    ["--run-router=false", "--run-firewall=false", "--service-cluster-ip-range=10.96.0.0/16"];

/// The proxies that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Weir,
    Ipvs,
    Nftables,
    KubeRouter,
}

impl Kind {
    /// The name used in rows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Weir => "weir",
            Kind::Ipvs => "kube-proxy IPVS",
            Kind::Nftables => "kube-proxy nftables",
            Kind::KubeRouter => "kube-router",
        }
    }

    /// Everything else keeps each program's default.
    fn config(self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": if self == Kind::Nftables { "nftables" } else { "ipvs" },
            "hostnameOverride": NODE,
            "conntrack": { "maxPerCore": 0 },
        })
    }
}

/// A running proxy; killed when dropped.
pub(crate) struct Rival {
    child: Child,
    _access: Access,
    folder: TempDir,
}

impl Rival {
    /// Starts a proxy on a node.
    pub(crate) fn start(kind: Kind, programs: &Programs, node: &Netns) -> Result<Rival> {
        let folder = tempfile::tempdir().context("cannot create a directory for the proxy")?;
        let kubeconfig = match kind {
            Kind::Weir | Kind::Ipvs | Kind::Nftables => &programs.proxy_kubeconfig,
            // It also watches pods, namespaces and network policies.
            Kind::KubeRouter => &programs.kubeconfig,
        };
        let access = Access::new(kubeconfig, &kind.config(), node)?;
        let mut command = node.command(match kind {
            Kind::Weir => &programs.weir,
            Kind::Ipvs | Kind::Nftables => &programs.kube_proxy,
            Kind::KubeRouter => programs.kube_router.as_ref().context("no --kube-router")?,
        });
        match kind {
            Kind::Weir => command.arg("run").arg("--config").arg(&access.config),
            Kind::Ipvs | Kind::Nftables => command.arg("--config").arg(&access.config),
            Kind::KubeRouter => command
                .arg("--kubeconfig")
                .arg(&access.kubeconfig)
                .arg(format!("--hostname-override={NODE}"))
                .args(SERVICE_PROXY),
        };
        let log = File::create(folder.path().join("log")).context("cannot write a log")?;
        command.stdout(log.try_clone().context("cannot clone the log file")?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", kind.name()))?;
        Ok(Rival { child, _access: access, folder })
    }

    fn place(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    /// The processor time so far, including that of exited child processes.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.place("stat")).context("the proxy has exited")?;
        parse_times(&text).with_context(|| format!("unknown format of /proc/PID/stat: {text}"))
    }

    /// Resident memory in MB.
    pub(crate) fn memory(&self) -> Result<f64> {
        let text = fs::read_to_string(self.place("status")).context("the proxy has exited")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(size.context("no VmRSS in /proc/PID/status")? / 1e3)
    }

    /// Waits until it is idle; returns whether that happened within the limit.
    pub(crate) fn settle(&self, limit: Duration) -> Result<bool> {
        let end = Instant::now() + limit;
        let (mut quiet, mut before) = (0, self.processor_time()?);
        while quiet < 2 {
            if Instant::now() > end {
                return Ok(false);
            }
            thread::sleep(LOOK);
            let now = self.processor_time()?;
            quiet = if now - before < QUIET { quiet + 1 } else { 0 };
            before = now;
        }
        Ok(true)
    }

    /// Fails with the end of its log if it has exited.
    pub(crate) fn expect_running(&mut self) -> Result<()> {
        match self.child.try_wait().context("cannot check the proxy")? {
            Some(status) => bail!("the proxy exited: {status}; {}", self.log_tail()),
            None => Ok(()),
        }
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.folder.path().join("log"))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // Both fail only if it has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("last lines of its log:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
}

/// `utime`, `stime`, `cutime` and `cstime` of proc_pid_stat(5), which Linux counts in hundredths of a second.
fn parse_times(stat: &str) -> Option<Duration> {
    // The program's name may contain anything, including parentheses and spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: Option<Vec<u64>> = fields.get(11..15)?.iter().map(|field| field.parse().ok()).collect();
    Some(Duration::from_millis(10 * ticks?.iter().sum::<u64>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_process_and_of_those_that_it_started() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 5 6 7";
        assert_eq!(parse_times(stat), Some(Duration::from_millis(1240)));
        assert_eq!(parse_times("7 (a) S 1"), None);
    }
}
