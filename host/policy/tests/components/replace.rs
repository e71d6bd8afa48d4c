//! Plugins that are replaced while they decide.

use std::path::Path;

use serde_json::{Value, json};
use weir_core::planner::{Plan, Planner};
use weir_harness::components::component;
use weir_policy::configuration::{self, PolicyConfiguration};
use weir_policy::{Loader, Replacement, status};

use crate::world::{ample, loader, planner};

const HOSTILE: &str = "weir-guest-hostile";
const IDENTITY: &str = "weir-guest-identity";

/// A policy file with these plugins; `more` adds top-level fields.
fn policy(plugins: &[(&str, &str, Value)], more: Value) -> PolicyConfiguration {
    let entry = |(name, package, configuration): &(&str, &str, Value)| {
        json!({"name": name, "source": component(package), "limits": ample(), "interfaces": ["scheduler"],
               "configuration": configuration})
    };
    let mut file = json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration",
                          "plugins": plugins.iter().map(entry).collect::<Vec<_>>()});
    for (key, value) in more.as_object().unwrap() {
        file[key] = value.clone();
    }
    configuration::parse(&file.to_string(), Path::new("")).unwrap()
}

/// A policy file of plugins that share one configuration and use all their interfaces.
pub(crate) fn policy_file(plugins: &[(&str, &str)], configuration: &str) -> PolicyConfiguration {
    let entry = |(name, package): &(&str, &str)| json!({"name": name, "source": component(package), "limits": ample(), "configuration": configuration});
    let plugins: Vec<Value> = plugins.iter().map(entry).collect();
    let file =
        json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration", "plugins": plugins});
    configuration::parse(&file.to_string(), Path::new("")).unwrap()
}

struct World {
    loader: Loader,
    planner: Planner,
}

impl World {
    /// This many services, decided by the plugins of a file.
    fn new(services: u32, file: &PolicyConfiguration) -> World {
        let mut loader = loader();
        let mut planner = planner(loader.load(file).unwrap().chain, services);
        planner.plan();
        World { loader, planner }
    }

    fn replace(&mut self, file: &PolicyConfiguration) -> Replacement {
        self.loader.load(file).unwrap().replace(&mut self.planner, 0)
    }

    fn plan(&mut self) -> Plan {
        self.planner.plan()
    }

    fn calls(&self) -> Vec<(String, u64)> {
        status(&self.planner, 0).into_iter().map(|plugin| (plugin.name, plugin.account.calls)).collect()
    }
}

fn wrr(plan: &Plan) -> usize {
    plan.state.virtual_servers.values().filter(|server| server.scheduling.scheduler.as_str() == "wrr").count()
}

#[test]
fn a_large_change_is_held_until_it_is_confirmed() {
    let mut world = World::new(300, &policy(&[("p", IDENTITY, Value::Null)], json!({})));
    let before = world.plan();
    let all = policy(&[("p", HOSTILE, json!("good"))], json!({}));
    let held = world.replace(&all);
    let Replacement::Held { changed: 300, services: 300, unconfirmed } = &held else { panic!("{held}") };
    let digest = unconfirmed[0].1.to_string();
    assert!(held.to_string().ends_with(&format!("to `confirmed` in the policy file: {digest}")), "{held}");
    assert_eq!(world.plan(), before, "the old one stays");
    let confirmed = policy(&[("p", HOSTILE, json!("good"))], json!({"confirmed": [digest]}));
    assert_eq!(world.replace(&confirmed), Replacement::Taken { changed: 300, services: 300 });
    assert_eq!(wrr(&world.plan()), 300);
}

#[test]
fn a_small_change_needs_no_confirmation_and_less_is_never_held() {
    let mut world = World::new(40, &policy(&[], json!({})));
    let all = policy(&[("p", HOSTILE, json!("good"))], json!({}));
    assert_eq!(world.replace(&all), Replacement::Taken { changed: 40, services: 40 });
    assert_eq!(wrr(&world.plan()), 40);
    let strict = json!({"maxChange": {"percent": 0, "services": 0}});
    assert_eq!(
        world.replace(&policy(&[], strict)),
        Replacement::Taken { changed: 40, services: 40 },
        "removing a plugin is always intended"
    );
    assert_eq!(wrr(&world.plan()), 0);
}

#[test]
fn a_version_that_never_answers_does_not_replace_one_that_does() {
    let mut world = World::new(40, &policy(&[("p", HOSTILE, json!("good"))], json!({})));
    let broken = world.replace(&policy(&[("p", HOSTILE, json!("trap"))], json!({})));
    assert_eq!(broken, Replacement::Broken(vec!["p".to_owned()]));
    assert_eq!(wrr(&world.plan()), 40);
    let one = world.replace(&policy(&[("p", HOSTILE, json!("trap s7"))], json!({})));
    assert!(
        matches!(one, Replacement::Taken { .. }),
        "a plugin that answers about some services is accepted: {one}"
    );
}

#[test]
fn the_others_go_on_with_what_they_remember_and_the_refused_in_its_old_version() {
    let good = ("good", HOSTILE, json!("good"));
    let mut world = World::new(40, &policy(&[("same", IDENTITY, Value::Null), good], json!({})));
    assert_eq!(world.calls(), [("same".to_owned(), 1), ("good".to_owned(), 1)]);
    let refused = ("good", HOSTILE, json!("configure-trap"));
    let added = ("more", IDENTITY, Value::Null);
    let taken = world.replace(&policy(&[refused, ("same", IDENTITY, Value::Null), added], json!({})));
    assert_eq!(taken, Replacement::Taken { changed: 0, services: 40 });
    assert_eq!(wrr(&world.plan()), 40);
    // The order is the new file's, and only the new plugin was asked.
    let expected = [("good", 1), ("same", 2), ("more", 1)].map(|(name, calls)| (name.to_owned(), calls));
    assert_eq!(world.calls(), expected, "`same` is asked again because another plugin now precedes it");
}
