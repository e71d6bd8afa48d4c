//! A policy file and its components, in a directory where they can be replaced while a program uses them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::components::component;
use crate::weir::Manifests;

/// A plugin of a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its name, and that of its file.
    pub name: &'static str,
    /// The package it is built from.
    pub package: &'static str,
    /// Its own configuration.
    pub configuration: Value,
}

impl Plugin {
    /// A stock plugin, or a guest used by tests.
    pub fn new(name: &'static str, package: &'static str, configuration: Value) -> Plugin {
        Plugin { name, package, configuration }
    }

    fn file(&self) -> String {
        format!("{}.wasm", self.name)
    }

    fn entry(&self) -> Value {
        json!({
            "name": self.name,
            "source": self.file(),
            "configuration": self.configuration,
            "limits": limits(),
        })
    }
}

/// The longest limits for calls. The guest is emulated, and its host may be busy: tests with these limits do not check
/// how long answers take.
pub fn limits() -> Value {
    json!({"callTimeout": "5s", "syncBudget": "10s"})
}

/// The directory, and the one for compiled plugins.
#[derive(Debug)]
pub struct Policy {
    folder: Manifests,
    state: PathBuf,
    plugins: Vec<Plugin>,
}

/// The policy file's name.
const FILE: &str = "policy.json";

impl Policy {
    /// Creates a policy with these plugins, in this order, for programs with this state directory.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn new(plugins: &[Plugin], state: &Path) -> Result<Policy> {
        let state = state.to_owned();
        let policy = Policy { folder: Manifests::new()?, state, plugins: plugins.to_vec() };
        plugins.iter().try_for_each(|plugin| policy.put(plugin))?;
        let entries: Vec<Value> = plugins.iter().map(Plugin::entry).collect();
        let file =
            json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration", "plugins": entries});
        policy.folder.put(FILE, file.to_string())?;
        Ok(policy)
    }

    /// `--policy`
    pub fn file(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    /// `--state-dir`
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The current plugins.
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// Replaces a plugin's component; everything else about the plugin stays.
    ///
    /// # Errors
    /// When there is no such plugin, or its file cannot be written.
    pub fn exchange(&mut self, name: &str, package: &'static str) -> Result<()> {
        let plugin = self.plugins.iter_mut().find(|plugin| plugin.name == name);
        let plugin = plugin.with_context(|| format!("the policy has no plugin `{name}`"))?;
        plugin.package = package;
        let plugin = plugin.clone();
        self.put(&plugin)
    }

    fn put(&self, plugin: &Plugin) -> Result<()> {
        let source = component(plugin.package);
        let bytes = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        self.folder.put(&plugin.file(), bytes)
    }
}
