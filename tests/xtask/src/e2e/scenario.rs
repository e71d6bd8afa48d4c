//! Changes of a running cluster, under traffic.

mod migration;
mod page;
mod restarts;
mod rolling;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};
use weir_cluster::Cluster;

use super::bring_up::RunningNodes;
use super::traffic::Traffic;
use super::{Options, load_balancer};
use crate::tally::Counts;
use crate::{process, workspace};

/// For operations that are slow on emulated nodes.
const PATIENCE: Duration = Duration::from_secs(300);

const PAUSE: Duration = Duration::from_secs(1);

/// A series of changes to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// Migrate from kube-proxy to weir and back with the commands from host/install/MIGRATE.md and ROLLBACK.md
    Migration,
    /// Update weir, change plugins, restart a kubelet, let the kernel kill weir for lack of memory, and drain and
    /// reboot a node
    Restarts,
    /// Update a Deployment many times, with and without a preStop sleep
    RollingUpdates,
}

/// Fails if these scenarios need more nodes.
pub(super) fn check(scenarios: &[Scenario], nodes: u8) -> Result<()> {
    let is_enough = !scenarios.contains(&Scenario::Restarts) || nodes >= restarts::DRAINED;
    ensure!(is_enough, "the scenario `restarts` drains one of two nodes; add --nodes 2");
    Ok(())
}

/// Builds the plugin that these scenarios need, if any.
pub(super) fn build_plugin(scenarios: &[Scenario]) -> Result<Option<PathBuf>> {
    if !scenarios.contains(&Scenario::Restarts) {
        return Ok(None);
    }
    Ok(workspace::components(&[restarts::PLUGIN])?.pop().map(|component| component.file))
}

/// Runs the scenarios and prints which claims hold.
pub(super) fn play(
    options: &Options,
    cluster: &Cluster,
    nodes: &RunningNodes,
    report: &Path,
) -> Result<ExitCode> {
    let mut stage = Stage { options, cluster, nodes, report, counts: Counts::default() };
    for scenario in &options.scenario {
        let (name, result) = match scenario {
            Scenario::Migration => ("migration", migration::play(&mut stage)),
            Scenario::Restarts => ("restarts", restarts::play(&mut stage)),
            Scenario::RollingUpdates => ("rolling_updates", rolling::play(&mut stage)),
        };
        stage.claim(&format!("{name}_runs_to_its_end"), result);
        // Without nodes, the others cannot run.
        nodes.check()?;
    }
    println!("{}", stage.counts);
    Ok(if stage.counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A running cluster, and the claims so far.
struct Stage<'c> {
    options: &'c Options,
    cluster: &'c Cluster,
    nodes: &'c RunningNodes,
    report: &'c Path,
    counts: Counts,
}

impl<'c> Stage<'c> {
    /// Prints whether a claim holds. A failed claim does not stop the scenario.
    fn claim(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                self.counts.passed += 1;
                println!("test e2e::{name} ... ok");
            }
            Err(error) => {
                if self.counts.failed == 0 {
                    self.nodes.write_states("first-failure");
                }
                self.counts.failed += 1;
                println!("test e2e::{name} ... FAILED\n{error:#}");
            }
        }
    }

    /// Claims that no request failed since the last check.
    fn claim_nothing_lost(&mut self, traffic: &mut Traffic<'_>, during: &str) -> Result<()> {
        let look = traffic.look()?;
        let (streams, new) = (look.streams, look.new);
        println!("{during}: {} answers on streams, {} on new connections", streams.answers, new.answers);
        self.claim(&format!("{during}_resets_no_stream"), streams.expect_nothing_lost());
        self.claim(&format!("{during}_refuses_no_connection"), new.expect_nothing_lost());
        Ok(())
    }

    /// Runs `kubectl` with these arguments, separated by spaces.
    fn kubectl(&self, words: &str) -> Result<String> {
        process::output(self.cluster.kubectl().args(words.split(' ')))
    }

    /// Starts the Deployment `web`, and its Service of type LoadBalancer.
    fn deploy_web(&self, replicas: u32, pre_stop: Option<u32>) -> Result<()> {
        self.cluster.client().apply_value(&service())?;
        let file = self.report.join("web.json");
        let items = [deployment(replicas, pre_stop), disruption_budget()];
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        std::fs::write(&file, list.to_string()).context("cannot write web.json")?;
        process::run(self.cluster.kubectl().arg("apply").arg("--filename").arg(file))?;
        self.kubectl("rollout status deployment/web --timeout=900s").map(drop)
    }

    /// Starts clients of `web`: through the cluster IP, a node port and the load balancer's address.
    fn start_traffic(&self) -> Result<Traffic<'c>> {
        let path = "/api/v1/namespaces/default/services/web";
        let service = until(PATIENCE, || {
            let service = self.cluster.client().get(path)?;
            ensure!(
                !service["status"]["loadBalancer"]["ingress"].is_null(),
                "the Service has no load-balancer address"
            );
            Ok(service)
        })?;
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .context("the Service web has no cluster IP or load-balancer address")
        };
        let node = self.nodes.node(1)?;
        let cluster_ip = text(&service["spec"]["clusterIP"])?;
        let node_port = &service["spec"]["ports"][0]["nodePort"];
        let balancer = text(&service["status"]["loadBalancer"]["ingress"][0]["ip"])?;
        let inside = [format!("cluster IP={cluster_ip}:80")];
        let everywhere =
            [format!("node port={}:{node_port}", node.address()), format!("load balancer={balancer}:80")];
        let program =
            self.options.load.as_deref().context("the program that generates traffic is missing (--load)")?;
        Traffic::start(self.cluster, &node.name(), &inside, &everywhere, program, self.report)
    }
}

/// Retries until it works or the time is up.
fn until<T>(patience: Duration, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match work() {
            Err(_) if start.elapsed() < patience => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web", "namespace": "default", "annotations": { load_balancer::MODE: "VIP" } },
        "spec": {
            "type": "LoadBalancer", "selector": { "app": "web" },
            "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP" }],
        },
    })
}

/// As operators configure it: while a node is drained, its pods are evicted one after the other.
fn disruption_budget() -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": "web" } } },
    })
}

fn deployment(replicas: u32, pre_stop: Option<u32>) -> Value {
    let lifecycle = pre_stop.map(|seconds| json!({ "preStop": { "sleep": { "seconds": seconds } } }));
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": {
                    "containers": [{
                        "name": "web",
                        "image": "registry.k8s.io/e2e-test-images/agnhost:2.66.1",
                        "args": ["netexec", "--http-port=8080"],
                        // A pod that answers slowly on a busy emulated node must stay an endpoint.
                        "readinessProbe": {
                            "httpGet": { "path": "/hostname", "port": 8080 },
                            "periodSeconds": 2, "timeoutSeconds": 10, "failureThreshold": 30,
                        },
                        "lifecycle": lifecycle,
                    }],
                },
            },
        },
    })
}
