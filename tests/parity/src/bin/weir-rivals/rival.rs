//! A proxy that runs, and what it takes.

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

/// Between two looks at the processor time of a proxy.
const LOOK: Duration = Duration::from_millis(500);

/// Processor time in two looks, one after the other, below which a proxy counts as quiet.
const QUIET: Duration = Duration::from_millis(30);

/// The proxies that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Weir,
    Ipvs,
    Nftables,
}

impl Kind {
    /// As rows say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Weir => "weir",
            Kind::Ipvs => "kube-proxy IPVS",
            Kind::Nftables => "kube-proxy nftables",
        }
    }

    /// Everything that is not said is as each program has it by default.
    fn config(self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": match self { Kind::Weir | Kind::Ipvs => "ipvs", Kind::Nftables => "nftables" },
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
    /// Starts one on a node.
    pub(crate) fn start(kind: Kind, programs: &Programs, node: &Netns) -> Result<Rival> {
        let folder = tempfile::tempdir().context("no folder for a proxy")?;
        let access = Access::new(&programs.proxy_kubeconfig, &kind.config(), node)?;
        let mut command = match kind {
            Kind::Weir => {
                let mut command = node.command(&programs.weir);
                command.arg("run");
                command
            }
            Kind::Ipvs | Kind::Nftables => node.command(&programs.kube_proxy),
        };
        let log = File::create(folder.path().join("log")).context("cannot write a log")?;
        command.arg("--config").arg(&access.config);
        command.stdout(log.try_clone().context("the log")?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", kind.name()))?;
        Ok(Rival { child, _access: access, folder })
    }

    fn place(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    /// The processor time so far, with that of the programs that it started and that have ended.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.place("stat")).context("the proxy is gone")?;
        parse_times(&text).with_context(|| format!("unknown format of /proc/PID/stat: {text}"))
    }

    /// Resident memory in MB.
    pub(crate) fn memory(&self) -> Result<f64> {
        let text = fs::read_to_string(self.place("status")).context("the proxy is gone")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(size.context("no VmRSS in /proc/PID/status")? / 1e3)
    }

    /// Waits until it does nothing; whether that came within the limit.
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

    /// Fails with the end of its log if it has ended.
    pub(crate) fn expect_running(&mut self) -> Result<()> {
        match self.child.try_wait().context("cannot look after the proxy")? {
            Some(status) => bail!("it has ended: {status}; {}", self.log_tail()),
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
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("the end of its log:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
}

/// `utime`, `stime`, `cutime` and `cstime` of proc_pid_stat(5), which Linux counts in hundredths of a second.
fn parse_times(stat: &str) -> Option<Duration> {
    // The name of the program may hold anything, parentheses and spaces too.
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
