//! From the configuration to a chain: what can be loaded is, and what cannot is named.

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
    /// Who compiles.
    pub compiler: Compiler,
    /// The name of this node.
    pub node: String,
    /// Plugins that only run beside the others, whatever the configuration says.
    pub shadow: Vec<String>,
    /// What was loaded last, so that a change of one plugin does not compile the others.
    known: Vec<Arc<Artifact>>,
}

/// A plugin that is not taken.
#[derive(Debug)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// Why not, in one sentence.
    pub why: String,
}

/// Names that are to be watched, of which the policy file has no plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--shadow {}: the policy file has no such plugin; it has: {}", shown(unknown), shown(names))]
pub struct UnknownShadow {
    /// The names.
    pub unknown: Vec<String>,
    /// Those that the file has.
    pub names: Vec<String>,
}

fn shown(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { printable(&names.join(", ")).into_owned() }
}

/// A chain, and what is missing from it.
pub struct Loaded {
    /// The plugins that were taken.
    pub chain: Chain,
    /// Those that were not.
    pub refused: Vec<Refused>,
    /// The names of all in the order of the configuration.
    pub order: Vec<String>,
    /// How much the chain may change at once.
    pub max_change: MaxChange,
    /// The digests of components whose large change is wanted.
    pub confirmed: Vec<Digest>,
}

impl Loader {
    /// A loader for a node of this name.
    pub fn new(runtime: Runtime, compiler: Compiler, node: &str) -> Loader {
        Loader { runtime, compiler, node: node.to_owned(), shadow: Vec::new(), known: Vec::new() }
    }

    /// Loads one plugin.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn load_one(&self, configuration: &PluginConfiguration) -> Result<Arc<Artifact>, LoadError> {
        Artifact::load(&self.runtime, &self.compiler, configuration, &self.known)
    }

    /// Loads all plugins. One that cannot be used does not keep the others away.
    ///
    /// # Errors
    /// If a plugin that is only to be watched is none of the file: its name is misspelt, and the one that was meant must
    /// not decide.
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
