//! Answers of plugins, parsed once: each is a patch of the decision about a service.
//!
//! A patch holds weir-core's values, so that nothing in it can fail or turn into a default later. What is remembered are
//! patches, and what earlier plugins said is one, printed in the contract's words for the next plugin. Whether a decision
//! is wise is for weir-core's guard; here it must only be one.

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

/// The longest text of a plugin that is shown, in bytes.
const SHOWN: usize = 256;

/// What a plugin answers through one interface.
pub(crate) trait Patch: Clone + PartialEq {
    /// The answer as the contract has it.
    type Wire;

    /// The answer about a service, or what is wrong with it.
    fn parse(wire: &Self::Wire, view: &ServiceView) -> Result<Answer<Self>, String>;

    /// The patch in one line, for people; empty if it changes nothing.
    fn summary(&self, view: &ServiceView) -> String;

    /// What is left of the patch when the service is no longer the one it was about.
    fn fitted(self, _view: &ServiceView) -> Option<Self> {
        Some(self)
    }

    /// Adds the patch to what earlier plugins said.
    fn add(&self, opinion: &mut Opinion);

    /// Changes a decision.
    fn apply(&self, decision: &mut Decision);
}

/// An answer about one service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer<P> {
    /// What it changes.
    pub(crate) patch: P,
    /// The plugin's reason, fit to be shown; may be empty.
    pub(crate) reason: String,
    /// Seconds after which to ask again.
    pub(crate) lifetime: Option<u32>,
    /// Its numbers, in the order in which they were declared; may be none.
    pub(crate) metrics: Box<[u64]>,
}

/// What the plugins asked so far say of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opinion {
    filters: Vec<FilterPatch>,
    pub(crate) scheduler: SchedulerPatch,
    pub(crate) masquerade: MasqueradePatch,
    /// Why the service is left alone although no plugin said so.
    pub(crate) skipped: Option<String>,
}

impl Opinion {
    /// Whether the service is left alone, so that there is no need to ask about the rest.
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

/// The numbers of an answer.
fn metrics(said: &Option<Vec<u64>>) -> Box<[u64]> {
    said.as_deref().unwrap_or_default().into()
}

/// A reason as it is shown; empty if there is none.
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
            "it holds `{}`, which this version of weir does not know; use a newer weir or an older plugin",
            shown(key)
        )),
    }
}

fn networks(list: &[types::Network]) -> Result<Vec<IpNet>, String> {
    let parse = |network: &types::Network| {
        net(*network)
            .ok_or_else(|| format!("{}/{} is no network", ip(network.address), network.prefix_length))
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

/// Puts a later answer in the place of an earlier one, if there is one.
fn supersede<T: Clone>(earlier: &mut Option<T>, later: &Option<T>) {
    if later.is_some() {
        earlier.clone_from(later);
    }
}

/// The value of a word of the contract.
fn value<T: Copy>(words: &[(&str, T)], word: &str, what: &str) -> Result<T, String> {
    let known = words.iter().find(|(known, _)| *known == word);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        format!("`{}` is none of the {what} {}", shown(word), known.join(", "))
    })
}
