//! The stock plugins answer the same as components and natively: addresses, indexes and numbers pass through the
//! contract unchanged, and components lack nothing they need.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weir_plugin_sdk::testing::{self, Golden};
use weir_policy::Artifact;
use weir_policy::configuration::Interface;

use crate::world::{configuration, loader};

/// Asks a package's component everything in its golden files, as one batch and for each service alone.
fn answers_as_written_down(plugin: &str) {
    let package = format!("weir-plugin-{plugin}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    check(&package, &json!({}), &root.join("plugins").join(plugin).join("tests/views"));
}

/// Asks a component everything in a folder's golden files.
pub(crate) fn check(package: &str, source: &Value, views: &Path) {
    let loader = loader();
    for (path, golden) in testing::goldens(views) {
        let mut more = source.clone();
        more["configuration"] = golden.configuration.clone();
        let artifact = loader.load_one(&configuration(package, more)).unwrap();
        let golden = golden.reduced(&artifact.facts().needs);
        assert_eq!(answers(&artifact, &golden), golden, "{}", path.display());
        for index in 0..golden.services.len() {
            let alone = alone(&golden, index);
            let name = &alone.services[0].name;
            assert_eq!(answers(&artifact, &alone), alone, "{name} alone in {}", path.display());
        }
    }
}

/// The file with the component's answers instead of the expected ones.
fn answers(artifact: &Artifact, golden: &Golden) -> Golden {
    Golden {
        verdicts: ask(artifact, Interface::Filter, golden, &[]),
        schedules: ask(artifact, Interface::Scheduler, golden, &values(&golden.prior_schedules)),
        treatments: ask(artifact, Interface::Masquerade, golden, &values(&golden.prior_treatments)),
        ..golden.clone()
    }
}

fn values(list: &[impl Serialize]) -> Vec<Value> {
    list.iter().map(|item| serde_json::to_value(item).unwrap()).collect()
}

/// Empty if the component does not have the interface: a golden file has no answers for it either.
fn ask<A: DeserializeOwned>(
    artifact: &Artifact,
    interface: Interface,
    golden: &Golden,
    priors: &[Value],
) -> Option<Vec<A>> {
    let asked = || artifact.replay(interface, golden.context.clone(), golden.services.clone(), priors);
    let has = artifact.facts().interfaces.contains(&interface);
    has.then(|| asked().unwrap().into_iter().map(|answer| serde_json::from_value(answer).unwrap()).collect())
}

/// One service of the file, with everything that belongs to it.
fn alone(golden: &Golden, index: usize) -> Golden {
    fn only<T: Clone>(list: &[T], index: usize) -> Vec<T> {
        list.get(index).cloned().into_iter().collect()
    }
    Golden {
        services: only(&golden.services, index),
        prior_schedules: only(&golden.prior_schedules, index),
        prior_treatments: only(&golden.prior_treatments, index),
        verdicts: golden.verdicts.as_ref().map(|list| only(list, index)),
        schedules: golden.schedules.as_ref().map(|list| only(list, index)),
        treatments: golden.treatments.as_ref().map(|list| only(list, index)),
        ..golden.clone()
    }
}

#[test]
fn annotations() {
    answers_as_written_down("annotations");
}

#[test]
fn load_aware() {
    answers_as_written_down("load-aware");
}

#[test]
fn masquerade_by_vip() {
    answers_as_written_down("masquerade-by-vip");
}

#[test]
fn namespace_guard() {
    answers_as_written_down("namespace-guard");
}

#[test]
fn node_weights() {
    answers_as_written_down("node-weights");
}

#[test]
fn slow_start() {
    answers_as_written_down("slow-start");
}
