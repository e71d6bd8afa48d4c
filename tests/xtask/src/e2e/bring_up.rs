//! The run inside its namespaces: starts a cluster, waits until its nodes and system pods are ready, then runs tests.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use weir_cluster::{Cluster, Nodes};

use super::node::{self, Node, Task};
use super::{
    Options, Proxy, disk, install, kubernetes, load_balancer, network, scenario, traffic, weir_archive,
};
use crate::machine::{Disk, Writes};
use crate::process;

/// Long enough for two emulated nodes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let report = options.report();
    network::make(options.nodes)?;
    let names = (1..=options.nodes).map(|number| format!("node{number}")).collect();
    let cluster = Cluster::start_for(Nodes { address: network::HOST, names })?;
    eprintln!("API server and controllers run; booting {} node(s)", options.nodes);
    let nodes = RunningNodes::start(options, &cluster, &report)?;
    let result = use_cluster(options, &cluster, &nodes, &report);
    if let Err(error) = &result {
        eprintln!("{error:#}");
    }
    // Not after a signal: the nodes no longer run.
    if nodes.check().is_ok() {
        nodes.write_states("end");
        kubernetes::write_logs(&cluster, &report);
        nodes.stop();
    }
    eprintln!("logs: {}", report.display());
    result
}

fn use_cluster(
    options: &Options,
    cluster: &Cluster,
    nodes: &RunningNodes,
    report: &Path,
) -> Result<ExitCode> {
    match options.proxy() {
        Proxy::Weir => install::weir(cluster, report)?,
        Proxy::KubeProxy => install::kube_proxy(cluster, report)?,
    }
    load_balancer::start(cluster.client().clone());
    process::run(
        cluster.kubectl().arg("apply").arg("--filename").arg(install::folder().join("coredns.yaml")),
    )?;
    nodes.await_ready(cluster)?;
    if options.keep {
        // Both work only in the run's network; the command to enter it was printed at the start.
        println!("kubectl   {:?}", cluster.kubectl());
        println!("a node    kubectl debug, or a script to bash at {}:{}", network::node(1), node::SHELL_PORT);
    }
    let code = if options.no_tests {
        ExitCode::SUCCESS
    } else if options.scenario.is_empty() {
        kubernetes::test(options, cluster, nodes, report)?
    } else {
        scenario::play(options, cluster, nodes, report)?
    };
    if options.keep {
        eprintln!("the cluster stays until Ctrl-C");
        while nodes.check().is_ok() {
            thread::sleep(PAUSE);
        }
    }
    Ok(code)
}

/// The guests, each with the thread that waits for its end.
pub(super) struct RunningNodes {
    nodes: Vec<Node>,
    image: PathBuf,
    ends: Receiver<End>,
    ending: Sender<End>,
    /// The first node that ended, and how; the others may end a little later.
    ended: RefCell<Option<String>>,
    report: PathBuf,
}

/// A node's name, and how its guest ended.
type End = (String, Result<()>);

impl RunningNodes {
    fn start(options: &Options, cluster: &Cluster, report: &Path) -> Result<RunningNodes> {
        let (ending, ends) = mpsc::channel();
        let mut nodes = Vec::new();
        for number in 1..=options.nodes {
            let name = format!("node{number}");
            let mut files = vec![(cluster.node_kubeconfig(&name), "/etc/kubernetes/kubelet.conf")];
            if options.needs_weir() {
                files.push((weir_archive(report), "/images/weir.tar"));
            }
            files.extend(options.load.iter().map(|load| (load.clone(), traffic::PROGRAM)));
            let task = Task::Serve { kube_proxy: options.proxy() == Proxy::KubeProxy };
            let log = report.join(format!("{name}.log"));
            nodes.push(Node { number, of: options.nodes, log, files, task });
        }
        let report = report.to_owned();
        let nodes =
            RunningNodes { nodes, image: disk::get()?, ends, ending, ended: RefCell::default(), report };
        nodes.nodes.iter().for_each(|node| nodes.boot(node));
        Ok(nodes)
    }

    fn boot(&self, node: &Node) {
        let disk = Disk { image: self.image.clone(), writes: Writes::Forgotten };
        let (node, ending) = (node.clone(), self.ending.clone());
        // Sending fails only if the run is over.
        thread::spawn(move || drop(ending.send((node.name(), node.run(disk)))));
    }

    /// Returns a node by its number, from 1.
    pub(super) fn node(&self, number: u8) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.number == number)
            .with_context(|| format!("the cluster has no node {number}"))
    }

    /// Stops a node and boots it again with a fresh kernel and disk, under the same name and address.
    pub(super) fn reboot(&self, number: u8) -> Result<()> {
        self.check()?;
        let node = self.node(number)?;
        node.stop()?;
        let (name, _) =
            self.ends.recv_timeout(PATIENCE).with_context(|| format!("{} did not stop", node.name()))?;
        ensure!(name == node.name(), "{name} ended during the reboot of {}", node.name());
        self.boot(node);
        Ok(())
    }

    /// Fails if a node has ended; Ctrl-C also ends nodes.
    pub(super) fn check(&self) -> Result<()> {
        let mut ended = self.ended.borrow_mut();
        if ended.is_none() {
            *ended = self.ends.try_recv().ok().map(|(name, result)| {
                let error = result.err().map(|error| format!(": {error:#}")).unwrap_or_default();
                format!("{name} has ended{error}")
            });
        }
        ended.as_ref().map_or(Ok(()), |end| Err(anyhow!("{end}")))
    }

    pub(super) fn await_ready(&self, cluster: &Cluster) -> Result<()> {
        let start = Instant::now();
        let mut last = String::new();
        loop {
            self.check()?;
            let waiting = self.not_ready(cluster)?;
            if waiting.is_empty() {
                eprintln!("nodes and system pods are ready after {:.0?}", start.elapsed());
                return Ok(());
            }
            let line = waiting.join(", ");
            if line != last {
                eprintln!("{:4} s: waiting for {line}", start.elapsed().as_secs());
            }
            if start.elapsed() > PATIENCE {
                bail!("not ready after {PATIENCE:?}: {line}");
            }
            last = line;
            thread::sleep(PAUSE);
        }
    }

    fn not_ready(&self, cluster: &Cluster) -> Result<Vec<String>> {
        let ready = cluster.client().list("Node")?.iter().filter(|node| is_ready(node)).count();
        let pods = cluster.client().list("Pod")?;
        let mut waiting: Vec<String> = pods.iter().filter(|pod| !is_ready(pod)).map(name_and_state).collect();
        if ready < self.nodes.len() {
            waiting.insert(0, format!("{} node(s)", self.nodes.len() - ready));
        } else if pods.is_empty() {
            waiting.push("pods to be created".to_owned());
        }
        Ok(waiting)
    }

    /// Writes the state of the nodes' kernels into the report.
    pub(super) fn write_states(&self, moment: &str) {
        for node in &self.nodes {
            let path = self.report.join(format!("{}-{moment}.txt", node.name()));
            let state = node.state().unwrap_or_else(|error| format!("{error:#}"));
            if let Err(error) = fs::write(&path, state) {
                eprintln!("cannot write {}: {error}", path.display());
            }
        }
    }

    /// Ends the guests, so that they leave no files.
    fn stop(&self) {
        for node in &self.nodes {
            if let Err(error) = node.stop() {
                eprintln!("{error:#}");
            }
        }
        for _ in &self.nodes {
            // Guests that do not stop in time are killed with the namespaces.
            let _ = self.ends.recv_timeout(Duration::from_secs(20));
        }
    }
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn name_and_state(pod: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let statuses = ["initContainerStatuses", "containerStatuses"].map(|key| &pod["status"][key]);
    let mut all = statuses.into_iter().filter_map(Value::as_array).flatten();
    let reason = all.find_map(|status| status["state"]["waiting"]["reason"].as_str());
    let state = reason.map_or_else(|| text(&pod["status"]["phase"]), str::to_owned);
    format!("{} ({state})", text(&pod["metadata"]["name"]))
}
