//! A policy file and its components, in a folder where they can be exchanged while a program uses them.

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
    /// The package that it is made of.
    pub package: &'static str,
    /// Its own configuration.
    pub configuration: Value,
}

impl Plugin {
    /// One of the stock plugins, or of the guests that tests have.
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
            // The guest is emulated, and its host may be busy: how long answers take is not what is asked here.
            "limits": {"callTimeout": "5s", "syncBudget": "10s"},
        })
    }
}

/// The folder, and where compiled plugins are kept.
#[derive(Debug)]
pub struct Policy {
    folder: Manifests,
    state: PathBuf,
    plugins: Vec<Plugin>,
}

/// The policy file's name.
const FILE: &str = "policy.json";

impl Policy {
    /// A policy of these plugins, in this order, for programs with this directory for what outlives them.
    ///
    /// # Errors
    /// When the folder cannot be written.
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

    /// The plugins as they are now.
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// Puts another component in the place of a plugin's; everything else of the plugin stays.
    ///
    /// # Errors
    /// When there is no such plugin, or its file cannot be written.
    pub fn exchange(&mut self, name: &str, package: &'static str) -> Result<()> {
        let plugin = self.plugins.iter_mut().find(|plugin| plugin.name == name);
        let plugin = plugin.with_context(|| format!("there is no plugin {name}"))?;
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
