//! From the configuration to a chain: loads every usable plugin and reports the others.

use std::sync::Arc;

use weir_core::text::printable;

use crate::artifact::{Artifact, LoadError};
use crate::chain::Chain;
use crate::compile::Compiler;
use crate::configuration::{Digest, MaxChange, Mode, PluginConfiguration, PolicyConfiguration};
use crate::engine::Runtime;

/// Loads plugins.
pub struct Loader {
    /// The engine.
    pub runtime: Runtime,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// The name of this node.
    pub node: String,
    /// Plugins that run in shadow mode, whatever the configuration says.
    pub shadow: Vec<String>,
    /// The plugins loaded last, so that a change to one plugin does not recompile the other plugins.
    known: Vec<Arc<Artifact>>,
}

/// A plugin that was rejected.
#[derive(Debug)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// Why, in one sentence.
    pub why: String,
}

/// Names given to `--shadow` that the policy file does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--shadow {}: the policy file has no such plugin; its plugins: {}", shown(unknown), shown(names))]
pub struct UnknownShadow {
    /// The unknown names.
    pub unknown: Vec<String>,
    /// The names in the file.
    pub names: Vec<String>,
}

fn shown(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { printable(&names.join(", ")).into_owned() }
}

/// A chain, and what is missing from it.
pub struct Loaded {
    /// The plugins that were loaded.
    pub chain: Chain,
    /// The plugins that were rejected.
    pub refused: Vec<Refused>,
    /// All names in the order of the configuration.
    pub order: Vec<String>,
    /// How many decisions the chain may change at once.
    pub max_change: MaxChange,
    /// The digests of components whose large change is confirmed.
    pub confirmed: Vec<Digest>,
}

impl Loader {
    /// A loader for the node with this name.
    pub fn new(runtime: Runtime, compiler: Compiler, node: &str) -> Loader {
        Loader { runtime, compiler, node: node.to_owned(), shadow: Vec::new(), known: Vec::new() }
    }

    /// Loads one plugin.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn load_one(&self, configuration: &PluginConfiguration) -> Result<Arc<Artifact>, LoadError> {
        Artifact::load(&self.runtime, &self.compiler, configuration, &self.known)
    }

    /// Loads all plugins. One that cannot be used does not block the others.
    ///
    /// # Errors
    /// If a plugin meant to run in shadow mode is not in the file: the name is probably misspelt, and the intended
    /// plugin must not decide.
    pub fn load(&mut self, configuration: &PolicyConfiguration) -> Result<Loaded, UnknownShadow> {
        let names: Vec<String> = configuration.plugins.iter().map(|entry| entry.name.clone()).collect();
        let unknown: Vec<String> = self.shadow.iter().filter(|name| !names.contains(name)).cloned().collect();
        if !unknown.is_empty() {
            return Err(UnknownShadow { unknown, names });
        }
        let mut artifacts = Vec::new();
        let mut refused = Vec::new();
        for entry in &configuration.plugins {
            let plugin = match &entry.plugin {
                Ok(plugin) => plugin,
                Err(_) => {
                    refused
                        .push(Refused { name: entry.name.clone(), why: entry.refusal().unwrap_or_default() });
                    continue;
                }
            };
            let mut plugin = plugin.clone();
            if self.shadow.contains(&plugin.name) {
                plugin.mode = Mode::Shadow;
            }
            match self.load_one(&plugin) {
                Ok(artifact) => artifacts.push(artifact),
                Err(error) => refused.push(Refused { name: entry.name.clone(), why: error.with_causes() }),
            }
        }
        self.known.clone_from(&artifacts);
        Ok(Loaded {
            chain: Chain::new(artifacts, &self.node),
            refused,
            order: names,
            max_change: configuration.max_change,
            confirmed: configuration.confirmed.clone(),
        })
    }
}
