//! Replaces a chain while traffic flows: the new one first decides in shadow, and is held back if it would change
//! too much.

use std::fmt;

use weir_core::planner::Planner;

use crate::chain::Chain;
use crate::configuration::{Digest, Mode};
use crate::load::Loaded;
use crate::plugin::Plugin;

/// The outcome of replacing a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// The new chain decides from now on.
    Taken {
        /// The number of services with a changed decision.
        changed: usize,
        /// How many services there are.
        services: usize,
    },
    /// The new chain would change more decisions than `maxChange` allows; the earlier one stays.
    Held {
        /// The number of services whose decision would change.
        changed: usize,
        /// How many services there are.
        services: usize,
        /// The plugins that are new in it and not confirmed.
        unconfirmed: Vec<(String, Digest)>,
    },
    /// These plugins are new and never answered; the earlier chain stays.
    Broken(Vec<String>),
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Replacement::Taken { changed, services } => {
                write!(
                    f,
                    "the new plugins are in use; the decisions for {changed} of {services} services changed"
                )
            }
            Replacement::Held { changed, services, unconfirmed } => {
                let list = |each: fn(&(String, Digest)) -> String| {
                    unconfirmed.iter().map(each).collect::<Vec<_>>().join(", ")
                };
                write!(
                    f,
                    "the new plugins would change the decisions for {changed} of {services} services, which is more \
                     than `maxChange` allows, so the old plugins stay in use; if the change by the new plugins ({}) \
                     is intended, add their digests to `confirmed` in the policy file: {}",
                    list(|(name, _)| name.clone()),
                    list(|(_, digest)| digest.to_string()),
                )
            }
            Replacement::Broken(names) => write!(
                f,
                "new plugins failed in every call ({}), so the old plugins stay in use; see the failures above, \
                 and try `weir plugin run`",
                names.join(", ")
            ),
        }
    }
}

impl Loaded {
    /// Lets this chain decide about all services alongside the planner's current chain. Then it replaces the current
    /// chain, unless the change is refused. A plugin that failed to load stays in its earlier version. `now` is in
    /// seconds since 1970.
    pub fn replace(mut self, planner: &mut Planner, now: u64) -> Replacement {
        let earlier = planner.policy::<Chain>().cloned().unwrap_or_default();
        let newcomers = self.chain.newcomers(&earlier);
        self.chain.inherit(earlier, &self.refused, &self.order);
        let candidate = planner.consider(self.chain, now);
        let (changed, services) = (candidate.changed, candidate.services);
        let broken = candidate.policy.silent(&newcomers);
        if !broken.is_empty() {
            return Replacement::Broken(broken);
        }
        let unconfirmed: Vec<_> =
            newcomers.into_iter().filter(|(_, digest)| !self.confirmed.contains(digest)).collect();
        if !unconfirmed.is_empty() && self.max_change.is_exceeded(changed, services) {
            return Replacement::Held { changed, services, unconfirmed };
        }
        candidate.accept();
        Replacement::Taken { changed, services }
    }
}

impl Chain {
    /// The deciding plugins that an earlier chain does not have with this component and configuration.
    fn newcomers(&self, earlier: &Chain) -> Vec<(String, Digest)> {
        let known = |new: &Plugin| {
            let same =
                |old: &Plugin| new.artifact.is(old.artifact.facts().digest, old.artifact.configuration());
            earlier.plugins().iter().any(same)
        };
        let decides = |plugin: &Plugin| plugin.artifact.configuration().mode == Mode::Enforce;
        let newcomers = self.plugins().iter().filter(|plugin| decides(plugin) && !known(plugin));
        newcomers.map(|plugin| (plugin.name().to_owned(), plugin.artifact.facts().digest)).collect()
    }

    /// The newcomers that were called and never answered.
    fn silent(&self, newcomers: &[(String, Digest)]) -> Vec<String> {
        let silent = |plugin: &&Plugin| {
            let account = plugin.account();
            account.calls > 0 && account.failures.values().sum::<u64>() == account.calls
        };
        let new = |plugin: &&Plugin| newcomers.iter().any(|(name, _)| name == plugin.name());
        let all = self.plugins().iter().filter(new).filter(silent);
        all.map(|plugin| plugin.name().to_owned()).collect()
    }
}
