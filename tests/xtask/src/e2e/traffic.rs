//! Clients in a pod, on a node and outside the cluster that send requests to a Service all the time, through each of
//! its addresses.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use weir_cluster::Cluster;

use crate::{process, workspace};

/// The clients' program on the nodes.
pub(super) const PROGRAM: &str = "/usr/local/bin/weir-e2e-load";

/// Pods with clients, and whether they have the node's network.
const PODS: [(&str, bool); 2] = [("load-pod", false), ("load-node", true)];

/// How long a new Service may take until all clients have answers.
const SETTLED: Duration = Duration::from_secs(600);

/// The clients print a line every second, but an emulated kubelet may take longer to deliver it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Builds the clients' program.
pub(super) fn build() -> Result<PathBuf> {
    workspace::program("dev", "weir-e2e-load", "weir-e2e-load")
}

/// Running clients.
pub(super) struct Traffic<'c> {
    cluster: &'c Cluster,
    report: PathBuf,
    outside: Outside,
    /// The totals at the last check.
    before: BTreeMap<&'static str, BTreeMap<String, Totals>>,
}

/// A line of the clients' program.
#[derive(Debug, Deserialize)]
struct Line {
    second: u64,
    clients: BTreeMap<String, Totals>,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct Totals {
    answers: u64,
    failures: BTreeMap<String, u64>,
}

/// The outcome of requests since the last check.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) answers: u64,
    pub(super) failures: u64,
    /// Clients with failures or without answers, with the causes.
    pub(super) complaints: Vec<String>,
}

/// Requests on kept connections, and on new ones.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) streams: Tally,
    pub(super) new: Tally,
}

impl Tally {
    fn add(&mut self, client: &str, before: &Totals, now: &Totals) {
        let answers = now.answers - before.answers;
        self.answers += answers;
        let mut causes = Vec::new();
        for (cause, count) in &now.failures {
            let count = count - before.failures.get(cause).unwrap_or(&0);
            self.failures += count;
            causes.extend((count > 0).then(|| format!("{count} x {cause}")));
        }
        if answers == 0 || !causes.is_empty() {
            self.complaints.push(format!("{client}: {answers} answers, {}", causes.join(", ")));
        }
    }

    /// Fails unless every client had answers and no failures.
    pub(super) fn expect_nothing_lost(&self) -> Result<()> {
        ensure!(self.complaints.is_empty(), "{}", self.complaints.join("\n"));
        Ok(())
    }
}

impl<'c> Traffic<'c> {
    /// Starts clients for these addresses (`NAME=ADDRESS:PORT`) on this node and outside. Addresses in `inside` cannot
    /// be reached from outside.
    pub(super) fn start(
        cluster: &'c Cluster,
        node: &str,
        inside: &[String],
        everywhere: &[String],
        program: &Path,
        report: &Path,
    ) -> Result<Traffic<'c>> {
        let all = [inside, everywhere].concat();
        // A failed scenario leaves its clients running.
        delete(cluster)?;
        for (name, on_node) in PODS {
            cluster.client().apply_value(&pod(name, node, on_node, &all))?;
            process::run(cluster.kubectl().args([
                "wait",
                "--for=condition=Ready",
                "--timeout=300s",
                "pod",
                name,
            ]))?;
        }
        // The node that receives requests from outside replaces their source, as it does for clients on the node.
        let arguments = [&[format!("--leave={}", 2 * all.len())], everywhere].concat();
        let outside = Outside::start(program, &arguments, &report.join("load.log"))?;
        let mut traffic = Traffic { cluster, report: report.to_owned(), outside, before: BTreeMap::new() };
        // kube-proxy takes more than a minute for a new Service on an emulated node that is busy.
        let start = Instant::now();
        loop {
            let Look { streams, new } = traffic.look()?;
            match streams.expect_nothing_lost().and_then(|()| new.expect_nothing_lost()) {
                Err(error) if start.elapsed() > SETTLED => {
                    return Err(error.context("the clients do not get all answers from the Service web"));
                }
                Err(_) => thread::sleep(Duration::from_secs(1)),
                Ok(()) => return Ok(traffic),
            }
        }
    }

    /// Counts the requests since the last check.
    pub(super) fn look(&mut self) -> Result<Look> {
        let mut look = Look::default();
        for place in PODS.map(|(name, _)| name).into_iter().chain(["outside"]) {
            let now = self.totals(place).with_context(|| format!("clients of {place}"))?;
            let before = self.before.insert(place, now.clone()).unwrap_or_default();
            for (client, totals) in now {
                let tally = if client.ends_with("stream") { &mut look.streams } else { &mut look.new };
                tally.add(
                    &format!("{place}, {client}"),
                    before.get(&client).unwrap_or(&Totals::default()),
                    &totals,
                );
            }
        }
        Ok(look)
    }

    /// Totals that were counted after the call.
    fn totals(&self, place: &str) -> Result<BTreeMap<String, Totals>> {
        let start = Instant::now();
        let mut first = None;
        loop {
            let text = if place == "outside" {
                self.outside.last_line()?
            } else {
                process::output(self.cluster.kubectl().args(["logs", "--tail=1", place]))?
            };
            if let Ok(line) = serde_json::from_str::<Line>(&text) {
                // The first line may be older than the call.
                if line.second >= *first.get_or_insert(line.second) + 2 {
                    return Ok(line.clients);
                }
            }
            if start.elapsed() > PATIENCE {
                bail!("the log of the clients has no line with totals: {text}");
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Stops the clients, and keeps their logs.
    pub(super) fn stop(self) -> Result<()> {
        for (name, _) in PODS {
            let text = process::output(self.cluster.kubectl().args(["logs", name]))?;
            let log = self.report.join(format!("{name}.log"));
            fs::write(&log, text).with_context(|| format!("cannot write {}", log.display()))?;
        }
        delete(self.cluster)
    }
}

fn delete(cluster: &Cluster) -> Result<()> {
    let names = PODS.map(|(name, _)| name);
    process::run(
        cluster.kubectl().args(["delete", "pod", "--ignore-not-found", "--grace-period=1"]).args(names),
    )
}

/// Clients on this machine.
struct Outside {
    _clients: process::Killed,
    log: PathBuf,
}

impl Outside {
    fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Outside> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = output.try_clone().context("cannot clone the log file")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(errors);
        Ok(Outside { _clients: process::Killed::start(&mut command)?, log: log.to_owned() })
    }

    fn last_line(&self) -> Result<String> {
        let text = fs::read_to_string(&self.log)
            .context("cannot read the log of the clients outside the cluster")?;
        // The text after the last newline is incomplete.
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        Ok(complete.lines().next_back().unwrap_or_default().to_owned())
    }
}

fn pod(name: &str, node: &str, on_node: bool, targets: &[String]) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "nodeName": node,
            "hostNetwork": on_node,
            "containers": [{
                "name": "load",
                "image": "registry.k8s.io/e2e-test-images/busybox:1.37.0-2",
                "command": [PROGRAM],
                "args": targets,
                "volumeMounts": [{ "name": "program", "mountPath": PROGRAM, "readOnly": true }],
            }],
            "volumes": [{ "name": "program", "hostPath": { "path": PROGRAM, "type": "File" } }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_what_is_new_and_complains_of_silence() {
        let totals = |text: &str| serde_json::from_str::<Totals>(text).unwrap();
        let before = totals(r#"{"answers": 7, "failures": {"refused": 2}}"#);
        let mut tally = Tally::default();
        tally.add("a", &before, &totals(r#"{"answers": 9, "failures": {"refused": 2}}"#));
        tally.expect_nothing_lost().unwrap();
        tally.add("b", &before, &totals(r#"{"answers": 8, "failures": {"refused": 3, "reset": 1}}"#));
        tally.add("c", &before, &before);
        assert_eq!((tally.answers, tally.failures), (3, 2));
        assert_eq!(tally.complaints, ["b: 1 answers, 1 x refused, 1 x reset", "c: 0 answers, "]);
        assert!(tally.expect_nothing_lost().is_err());
    }
}
