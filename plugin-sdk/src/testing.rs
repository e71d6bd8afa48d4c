//! A plugin as plain Rust, over views that were recorded or made up.
//!
//! A golden file holds a configuration, a context, services, and what the plugin answers about them:
//!
//! ```json
//! {"configuration": {}, "context": {"node": "n1", "default-scheduler": "rr"},
//!  "services": [{"namespace": "shop", "name": "web", "ports": [{"port": 80}]}],
//!  "schedules": [{"ports": [{"scheduler": "mh"}]}]}
//! ```
//!
//! With the variable `UPDATE_EXPECTED` set, what is expected is written anew instead of compared. weir's own tests run
//! the same files against the component.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_plugin_views::{Context, Schedule, Service, Treatments, Verdict};

use crate::{Error, Filter, Masquerade, Plugin, Scheduler};

/// A golden file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Golden {
    /// The plugin's configuration.
    #[serde(default)]
    pub configuration: Value,
    /// What is the same for all services.
    pub context: Context,
    /// The services.
    pub services: Vec<Service>,
    /// What an earlier plugin said of scheduling, per service; absent = nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prior_schedules: Vec<Schedule>,
    /// What an earlier plugin said of masquerading, per service; absent = nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prior_treatments: Vec<Treatments>,
    /// The filter's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Vec<Verdict>>,
    /// The scheduler's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<Schedule>>,
    /// The masquerade policy's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub treatments: Option<Vec<Treatments>>,
}

/// A configured plugin.
///
/// # Panics
/// If it refuses the configuration, with its reasons.
pub fn plugin<P: Plugin>(configuration: &Value) -> P {
    match P::configure(&configuration.to_string()) {
        Ok(plugin) => plugin,
        Err(refusals) => panic!("{} refuses {configuration}: {}", P::NAME, refusals.join("; ")),
    }
}

/// What a plugin finds wrong with a configuration; nothing if it takes it.
pub fn refusals<P: Plugin>(configuration: &Value) -> Vec<String> {
    P::configure(&configuration.to_string()).err().unwrap_or_default()
}

fn answers<A>(services: &[Service], mut answer: impl FnMut(usize, &Service) -> Result<A, Error>) -> Vec<A> {
    let name = |service: &Service| format!("{}/{}", service.namespace, service.name);
    let expect = |(index, service): (usize, &Service)| match answer(index, service) {
        Ok(answer) => answer,
        Err(error) => panic!("no answer about {}: {error:?}", name(service)),
    };
    services.iter().enumerate().map(expect).collect()
}

impl Golden {
    /// Asks a filter.
    pub fn select<P: Filter>(&self) -> Vec<Verdict> {
        let plugin: P = plugin(&self.configuration);
        answers(&self.services, |_, service| plugin.select(service, &self.context))
    }

    /// Asks a scheduler.
    pub fn schedule<P: Scheduler>(&self) -> Vec<Schedule> {
        let plugin: P = plugin(&self.configuration);
        let prior = |index| self.prior_schedules.get(index).cloned().unwrap_or_default();
        answers(&self.services, |index, service| plugin.schedule(service, &prior(index), &self.context))
    }

    /// Asks a masquerade policy.
    pub fn treat<P: Masquerade>(&self) -> Vec<Treatments> {
        let plugin: P = plugin(&self.configuration);
        let prior = |index| self.prior_treatments.get(index).cloned().unwrap_or_default();
        answers(&self.services, |index, service| plugin.treat(service, &prior(index), &self.context))
    }
}

/// The golden files of a folder, sorted by name.
///
/// # Panics
/// If the folder or a file cannot be read, or there is none.
pub fn goldens(folder: &Path) -> Vec<(PathBuf, Golden)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "{} has no golden files", folder.display());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let golden =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, golden)
    };
    paths.into_iter().map(read).collect()
}

/// Runs the golden files of a folder; `ask` fills in the answers.
///
/// # Panics
/// If an answer is not as expected.
pub fn check(folder: &Path, ask: impl Fn(&Golden) -> Golden) {
    for (path, golden) in goldens(folder) {
        let actual = ask(&golden);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            let text = serde_json::to_string_pretty(&actual).unwrap_or_default();
            fs::write(&path, text + "\n").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        } else {
            assert_eq!(actual, golden, "{}", path.display());
        }
    }
}
