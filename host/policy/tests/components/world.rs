//! A small cluster, and plugins for it.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_core::cluster::Event;
use weir_core::node::{Capabilities, NodeView, ProxyConfig};
use weir_core::objects::Endpoint;
use weir_core::planner::Planner;
use weir_core::policy::Policy;
use weir_harness::components::component;
use weir_policy::configuration::{self, PluginConfiguration};
use weir_policy::{Artifact, Chain, Compiler, LoadError, Loader, Runtime};
use weir_world::build;

/// This node's name.
pub(crate) const NODE: &str = "node1";

/// Enough time for a machine that is busy with other tests.
pub(crate) fn ample() -> Value {
    json!({"callTimeout": "5s", "syncBudget": "10s"})
}

/// The configuration of one plugin; `more` replaces or adds fields.
pub(crate) fn configuration(package: &str, more: Value) -> PluginConfiguration {
    let mut entry = json!({"name": "plugin", "source": component(package), "limits": ample()});
    for (key, value) in more.as_object().unwrap() {
        entry[key] = value.clone();
    }
    let file =
        json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration", "plugins": [entry]});
    let parsed = configuration::parse(&file.to_string(), std::path::Path::new("")).unwrap();
    parsed.plugins[0].plugin.clone().unwrap()
}

/// A loader that compiles in this process.
pub(crate) fn loader() -> Loader {
    Loader::new(Runtime::new().unwrap(), Compiler::InProcess, NODE)
}

/// Loads a plugin.
pub(crate) fn load(package: &str, more: Value) -> Result<Arc<Artifact>, LoadError> {
    loader().load_one(&configuration(package, more))
}

/// Why a plugin is refused.
pub(crate) fn refusal(package: &str, more: Value) -> String {
    match load(package, more) {
        Ok(_) => panic!("{package} was accepted"),
        Err(error) => error.to_string(),
    }
}

/// A chain of one plugin.
pub(crate) fn chain(package: &str, more: Value) -> Chain {
    Chain::new(vec![load(package, more).unwrap()], NODE)
}

/// A service with one TCP port and some endpoints.
pub(crate) fn service(name: &str, annotations: &[(&str, &str)], endpoints: u8) -> [Event; 2] {
    let ip = name.bytes().fold(10u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    let number = name.bytes().map(u16::from).sum::<u16>();
    let service = build::service(name).cluster_ip(format!("10.96.{}.{ip}", number % 250)).port(80);
    let service = annotations.iter().fold(service, |service, (key, value)| service.annotation(key, value));
    let endpoint = |i| Endpoint { zone: Some("a".into()), ..build::endpoint(format!("10.0.1.{i}")) };
    let slice = build::slice(name).port(8080).endpoints((1..=endpoints).map(endpoint));
    [service.event(), slice.event()]
}

/// A planner that knows some services `s0`, `s1`, ….
pub(crate) fn planner(policy: impl Policy + 'static, services: u32) -> Planner {
    let node = NodeView::new(NODE, None, None, Vec::new(), ProxyConfig::default(), Capabilities::assumed());
    let mut planner = Planner::new(node, Box::new(policy));
    for i in 0..services {
        hear(&mut planner, service(&format!("s{i}"), &[], 2));
    }
    planner
}

/// Passes events to a planner.
pub(crate) fn hear(planner: &mut Planner, events: impl IntoIterator<Item = Event>) {
    events.into_iter().for_each(|event| {
        planner.apply(event);
    });
}
