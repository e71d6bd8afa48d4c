//! Answers of plugins, parsed once: each is a patch of the decision about a service.
//!
//! A patch contains weir-core's values, so nothing in it can fail or turn into a default later. Memory stores
//! patches, and the answer of earlier plugins is a patch too, printed as the contract's types for the next plugin.
//! Whether a decision is wise is up to weir-core's guard; here it only has to be well-formed.

use ipnet::IpNet;
use weir_core::decision::{Decision, Handling};
use weir_core::node::NodeView;
use weir_core::text::abridged;
use weir_core::view::ServiceView;

use crate::bindings::types;
use crate::lower::{ip, net, network};

mod filter;
mod masquerade;
mod scheduler;
#[cfg(test)]
mod tests;

pub(crate) use filter::FilterPatch;
pub(crate) use masquerade::MasqueradePatch;
pub(crate) use scheduler::SchedulerPatch;

/// The maximum length of a plugin's text that is shown, in bytes.
const SHOWN: usize = 256;

/// A plugin's answer through one interface.
pub(crate) trait Patch: Clone + PartialEq {
    /// The answer as the contract's type.
    type Wire;

    /// The answer about a service, or what is wrong with it.
    fn parse(wire: &Self::Wire, view: &ServiceView) -> Result<Answer<Self>, String>;

    /// The patch in one line, for people; empty if it changes nothing.
    fn summary(&self, view: &ServiceView) -> String;

    /// The part of the patch that still applies after the service has changed.
    fn fitted(self, _view: &ServiceView) -> Option<Self> {
        Some(self)
    }

    /// Adds the patch to the answer of earlier plugins.
    fn add(&self, opinion: &mut Opinion);

    /// Applies the patch to a decision.
    fn apply(&self, decision: &mut Decision);
}

/// An answer about one service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer<P> {
    /// What it changes.
    pub(crate) patch: P,
    /// The plugin's reason, safe to print; may be empty.
    pub(crate) reason: String,
    /// Seconds until the question is repeated.
    pub(crate) lifetime: Option<u32>,
    /// Its metrics, in the order of their declarations; may be empty.
    pub(crate) metrics: Box<[u64]>,
}

/// The combined answer of the plugins called so far about a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opinion {
    filters: Vec<FilterPatch>,
    pub(crate) scheduler: SchedulerPatch,
    pub(crate) masquerade: MasqueradePatch,
    /// Why the service is ignored although no plugin said so.
    pub(crate) skipped: Option<String>,
}

impl Opinion {
    /// Whether the service is ignored, so that no further question is needed.
    pub(crate) fn ignores(&self) -> bool {
        self.skipped.is_some() || self.filters.iter().any(FilterPatch::ignores)
    }

    /// The decision.
    pub(crate) fn decision(&self, view: &ServiceView, node: &NodeView) -> Decision {
        let mut decision = Decision::upstream(view, node);
        if let Some(reason) = &self.skipped {
            decision.handling = Handling::Ignore(reason.clone());
        }
        self.filters.iter().for_each(|patch| patch.apply(&mut decision));
        self.scheduler.apply(&mut decision);
        self.masquerade.apply(&mut decision);
        decision
    }
}

/// The metrics of an answer.
fn metrics(said: &Option<Vec<u64>>) -> Box<[u64]> {
    said.as_deref().unwrap_or_default().into()
}

/// A reason as it is shown; empty if none was given.
fn reason(said: &Option<String>) -> String {
    said.as_deref().map(shown).unwrap_or_default()
}

fn shown(text: &str) -> String {
    abridged(text, SHOWN)
}

fn no_extra(extra: &Option<types::Attributes>) -> Result<(), String> {
    match extra.iter().flatten().next() {
        None => Ok(()),
        Some((key, _)) => Err(format!(
            "it contains `{}`, which this version of weir does not know; use a newer weir or an older plugin",
            shown(key)
        )),
    }
}

fn networks(list: &[types::Network]) -> Result<Vec<IpNet>, String> {
    let parse = |network: &types::Network| {
        net(*network)
            .ok_or_else(|| format!("{}/{} is not a network", ip(network.address), network.prefix_length))
    };
    list.iter().map(parse).collect()
}

fn print_networks(networks: &[IpNet]) -> Vec<types::Network> {
    networks.iter().map(network).collect()
}

fn names(nets: &[IpNet]) -> String {
    let names: Vec<String> = nets.iter().take(8).map(ToString::to_string).collect();
    let more = if nets.len() > 8 { format!(" and {} more", nets.len() - 8) } else { String::new() };
    format!("{}{more}", names.join(","))
}

/// Replaces an earlier answer with a later one, if there is one.
fn supersede<T: Clone>(earlier: &mut Option<T>, later: &Option<T>) {
    if later.is_some() {
        earlier.clone_from(later);
    }
}

/// The value for a word of the contract.
fn value<T: Copy>(words: &[(&str, T)], word: &str, what: &str) -> Result<T, String> {
    let known = words.iter().find(|(known, _)| *known == word);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        format!("`{}` is not one of the {what} {}", shown(word), known.join(", "))
    })
}
