//! A real Prometheus scrapes weir: the dashboard and kube-proxy's panels have data, and alerts fire on faults.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_api_server::Collection;
use weir_harness::http;
use weir_harness::patience::{self, GENEROUS};
use weir_harness::scenario;

use crate::api_server::{Cluster, guard};

/// The address of Prometheus, in the node's namespace.
const PORT: u16 = 9090;

/// Long enough for two scrapes; a scrape takes a while in the guest.
const RATE_INTERVAL: &str = "20s";

/// Parts of the dashboard's expressions that have no data on a healthy node.
const TROUBLE: [&str; 2] = [r#"outcome!="made""#, "weir_plugin_failures_total"];

/// Panels of common kube-proxy dashboards (kubernetes-mixin's "Proxy"), by title; the last two have no data under
/// weir, as `install/README.md` says.
const KUBE_PROXY: [(&str, &str, bool); 10] = [
    ("Up", "sum(up{job=\"kube-proxy\"})", true),
    ("Rules Sync Rate", "sum(rate(kubeproxy_sync_proxy_rules_duration_seconds_count[20s]))", true),
    (
        "Rules Sync Latency",
        "histogram_quantile(0.99, rate(kubeproxy_sync_proxy_rules_duration_seconds_bucket[20s]))",
        true,
    ),
    (
        "Network Programming Rate",
        "sum(rate(kubeproxy_network_programming_duration_seconds_count[20s]))",
        true,
    ),
    (
        "Network Programming Latency",
        "histogram_quantile(0.99, rate(kubeproxy_network_programming_duration_seconds_bucket[20s]))",
        true,
    ),
    ("Kube API Request Rate", "sum(rate(rest_client_requests_total{code=~\"2..\"}[20s]))", true),
    ("Memory", "process_resident_memory_bytes", true),
    ("CPU usage", "rate(process_cpu_seconds_total[20s])", true),
    ("Get Request Latency 99th Quantile", "rest_client_request_duration_seconds_bucket", false),
    ("Goroutines", "go_goroutines", false),
];

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("install/monitoring")
}

/// Prometheus; dropping it stops the process.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail only if it has already exited.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts Prometheus on the node.
fn start(cluster: &Cluster) -> Result<Prometheus> {
    let folder = cluster.stage.scratch();
    let config = folder.join("prometheus.json");
    let file = json!({
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [monitoring().join("rules.yaml")],
        "scrape_configs": [{"job_name": "kube-proxy", "static_configs": [{"targets": ["127.0.0.1:10249"]}]}],
    });
    fs::write(&config, file.to_string())?;
    let mut command = cluster.stage.netns.command("prometheus");
    command.arg("--config.file").arg(config);
    command.arg("--storage.tsdb.path").arg(folder.join("prometheus"));
    command.arg(format!("--web.listen-address=127.0.0.1:{PORT}"));
    Ok(Prometheus(command.spawn().context("cannot start prometheus")?))
}

/// Queries Prometheus.
fn ask(cluster: &Cluster, path: &str) -> Result<Value> {
    let page = cluster.stage.netns.inside(|| http::get(("127.0.0.1", PORT), path))??;
    let answer: Value = serde_json::from_str(&page.body).with_context(|| page.body.clone())?;
    ensure!(page.status == 200 && answer["status"] == "success", "{path}: {answer}");
    Ok(answer["data"].clone())
}

/// The current number of series of an expression.
fn series(cluster: &Cluster, expression: &str) -> Result<usize> {
    let query: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let data = ask(cluster, &format!("/api/v1/query?query={query}"))?;
    Ok(data["result"].as_array().context("no result")?.len())
}

/// The names of alerts that are pending or firing.
fn alerts(cluster: &Cluster) -> Result<Vec<String>> {
    let data = ask(cluster, "/api/v1/alerts")?;
    let alerts = data["alerts"].as_array().context("no alerts")?;
    Ok(alerts
        .iter()
        .map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned())
        .collect())
}

/// The dashboard's expressions, for all nodes.
fn board() -> Result<Vec<String>> {
    let board: Value = serde_json::from_str(&fs::read_to_string(monitoring().join("dashboard.json"))?)?;
    let panels = board["panels"].as_array().context("no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expression = |target: &Value| {
        let text = target["expr"].as_str().context("a target without an expression")?;
        let text = text.replace("$__rate_interval", RATE_INTERVAL);
        Ok(text.replace("$job", "weir|kube-proxy").replace("$instance", ".*"))
    };
    targets.map(expression).collect()
}

/// Changes endpoints as the controller does, including the time of the change.
fn touch(cluster: &Cluster) -> Result<()> {
    let date = cluster.stage.netns.run("date", &["-u", "+%FT%TZ"])?;
    for mut slice in cluster.server.objects(Collection::EndpointSlices) {
        slice["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"] =
            json!(date.trim());
        cluster.server.put(slice);
    }
    Ok(())
}

/// The dashboard, kube-proxy's panels, and alerts without a fault and with two.
pub(crate) fn board_and_alerts_work() -> Result<()> {
    let cluster = Cluster::named("clusterip-tcp")?;
    let objects = scenario::named("clusterip-tcp")?.steps().remove(0).objects()?;
    cluster.become_of(&objects)?;
    let policy = guard(&cluster.stage, &[])?;
    let running = cluster.run_with(&["--policy", &policy])?;
    // It is compiled first, which takes a while in the guest.
    running.await_line("that the plugin is used", |line| line.field("plugin") == "guard")?;
    cluster.stage.settle(&running, &cluster.stage.recorded()?)?;
    let _prometheus = start(&cluster)?;
    let board = board()?;
    ensure!(board.len() > 20, "{board:?}");
    patience::until(4 * GENEROUS, || {
        touch(&cluster)?;
        for expression in &board {
            let trouble = TROUBLE.iter().any(|part| expression.contains(part));
            ensure!((series(&cluster, expression)? == 0) == trouble, "{expression}");
        }
        for (panel, expression, works) in KUBE_PROXY {
            ensure!((series(&cluster, expression)? > 0) == works, "{panel}: {expression}");
        }
        Ok(())
    })?;
    // The last change may still be in progress.
    patience::until(GENEROUS, || {
        let all = alerts(&cluster)?;
        ensure!(all.is_empty(), "nothing is wrong: {all:?}");
        Ok(())
    })?;
    // Without these series, their alerts could never fire.
    for healthy in ["time() - weir_loop_last_turn_timestamp_seconds < 120", "weir_warnings == 0"] {
        ensure!(series(&cluster, healthy)? > 0, "{healthy}");
    }

    let becomes = |alert: &str| {
        patience::until(2 * GENEROUS, || {
            let all = alerts(&cluster)?;
            ensure!(all.iter().any(|name| name == alert), "no {alert} among {all:?}");
            Ok(())
        })
    };
    fs::write(&policy, "plugins: none")?;
    becomes("WeirPluginNotTaken")?;
    drop(running);
    becomes("WeirDown")?;
    Ok(())
}
