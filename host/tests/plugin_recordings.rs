//! Plugins that decide nothing leave every step of every recording as the built-in policy plans it, which
//! `plan_recordings` compares with kube-proxy. One process goes through the steps of a recording, as `weir run` does.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use weir_core::cluster::Event;
use weir_core::node::{Capabilities, NodeView};
use weir_core::objects::Node;
use weir_core::planner::Planner;
use weir_core::policy::BuiltIn;
use weir_core::witness::render;
use weir_harness::components::component;
use weir_harness::scenario::{self, Scenario};
use weir_harness::weir::Manifests;
use weir_harness::witness::Dump;
use weir_k8s::config;
use weir_k8s::interfaces;
use weir_k8s::manifests::Folder;
use weir_policy::{Artifact, Chain, Compiler, Loader, Runtime, configuration, status};

/// Any time: nothing here depends on it.
const NOW: u64 = 1_800_000_000;

#[test]
fn an_identity_plugin_plans_every_recording_as_no_plugin() -> Result<()> {
    plans_as_no_plugin(&[("weir-guest-identity", json!(null))])
}

/// All except slow-start, which correctly slows the endpoints that steps add.
#[test]
fn stock_plugins_without_a_wish_plan_every_recording_as_no_plugin() -> Result<()> {
    plans_as_no_plugin(&[
        ("weir-plugin-annotations", json!(null)),
        ("weir-plugin-node-weights", json!(null)),
        // Only for services that request it; there are none.
        ("weir-plugin-load-aware", json!({"default": false})),
        ("weir-plugin-masquerade-by-vip", json!(null)),
        // Without this, it refuses VIPs that are addresses of nodes.
        ("weir-plugin-namespace-guard", json!({"node-addresses": "allow"})),
    ])
}

/// Asks these packages' components, with these configurations, in this order.
fn plans_as_no_plugin(plugins: &[(&str, Value)]) -> Result<()> {
    let artifacts = load(plugins)?;
    let scenarios = scenario::all()?;
    ensure!(!scenarios.is_empty(), "no recorded scenarios in {}", scenario::folder().display());
    for scenario in scenarios {
        follow(&scenario, &artifacts).with_context(|| scenario.name.clone())?;
    }
    Ok(())
}

/// Loaded once: the compiled code does not depend on the recording.
fn load(plugins: &[(&str, Value)]) -> Result<Vec<Arc<Artifact>>> {
    let entry = |(package, configuration): &(&str, Value)| {
        json!({
            "name": package,
            "source": component(package),
            "configuration": configuration,
            // Enough time on a machine that is busy with other tests.
            "limits": {"callTimeout": "5s", "syncBudget": "10s"},
        })
    };
    let entries: Vec<Value> = plugins.iter().map(entry).collect();
    let file =
        json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration", "plugins": entries});
    let loader = Loader::new(Runtime::new()?, Compiler::InProcess, "");
    let mut artifacts = Vec::new();
    for entry in configuration::parse(&file.to_string(), Path::new(""))?.plugins {
        let refusal = entry.refusal();
        let plugin = entry.plugin.ok().with_context(|| refusal.unwrap_or_default())?;
        artifacts.push(loader.load_one(&plugin).with_context(|| plugin.name.clone())?);
    }
    Ok(artifacts)
}

fn follow(scenario: &Scenario, artifacts: &[Arc<Artifact>]) -> Result<()> {
    let (configuration, _) = config::load(&scenario.config(), Map::new())?;
    let node = configuration.hostname_override().context("recordings name their node")?.to_owned();
    let chain = Chain::new(artifacts.to_vec(), &node);
    let view = |object: Option<&Node>| -> Result<NodeView> {
        let addresses = interfaces::load(&scenario.interfaces())?;
        let (proxy, bind) = (configuration.proxy_config(), configuration.bind_address());
        Ok(NodeView::new(&node, object, bind, addresses, proxy, Capabilities::assumed()))
    };
    let mut with = Planner::new(view(None)?, Box::new(chain));
    let mut without = Planner::new(view(None)?, Box::new(BuiltIn));
    let manifests = Manifests::new()?;
    manifests.put("node.json", &scenario.node()?)?;
    let mut folder = Folder::new(manifests.path(), &node);
    let mut services = 0;
    for step in scenario.steps() {
        manifests.put("objects.json", &step.objects()?)?;
        for event in folder.scan().0 {
            for planner in [&mut with, &mut without] {
                hear(planner, event.clone(), view)?;
            }
        }
        let (plan, expected) = (with.plan_at(NOW), without.plan_at(NOW));
        let [kernel, other] = [&plan, &expected].map(|plan| Dump::recorded(&render(&plan.state)));
        ensure!(
            plan == expected,
            "{}: the plan differs (+ with plugins, - without):\n{}{:?}, not {:?}",
            step.name,
            kernel.differences(&other),
            plan.reports,
            expected.reports
        );
        services += with.views().len();
    }
    for status in status(&with, NOW) {
        let account = status.account;
        ensure!(account.failures.is_empty(), "{}: {account:?}", status.name);
        ensure!((account.asked > 0) == (services > 0), "{} decided nothing: {account:?}", status.name);
    }
    Ok(())
}

/// Passes an event to a planner, and updates its view of the node if necessary.
fn hear(planner: &mut Planner, event: Event, view: impl Fn(Option<&Node>) -> Result<NodeView>) -> Result<()> {
    let is_node = matches!(event, Event::Node(_) | Event::NodeGone);
    planner.apply(event);
    if is_node {
        planner.set_node(view(planner.node_object())?);
    }
    Ok(())
}
