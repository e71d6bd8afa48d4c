//! From one chain to the next while traffic flows: decided in shadow first, and held back if it would change too much.

use std::fmt;

use weir_core::planner::Planner;

use crate::chain::Chain;
use crate::configuration::{Digest, Mode};
use crate::load::Loaded;
use crate::plugin::Plugin;

/// What became of a chain that was to take the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// It decides from now on.
    Taken {
        /// For how many services it decides otherwise.
        changed: usize,
        /// How many services there are.
        services: usize,
    },
    /// It would change more than `maxChange` allows; the earlier one goes on.
    Held {
        /// For how many services it would decide otherwise.
        changed: usize,
        /// How many services there are.
        services: usize,
        /// The plugins that are new in it and not confirmed.
        unconfirmed: Vec<(String, Digest)>,
    },
    /// These plugins are new and answered nothing at all; the earlier chain goes on.
    Broken(Vec<String>),
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Replacement::Taken { changed, services } => {
                write!(f, "the new plugins decide; it changed {changed} of {services} services")
            }
            Replacement::Held { changed, services, unconfirmed } => {
                let list = |each: fn(&(String, Digest)) -> String| {
                    unconfirmed.iter().map(each).collect::<Vec<_>>().join(", ")
                };
                write!(
                    f,
                    "the new plugins would change {changed} of {services} services, which is more than maxChange allows, \
                     so the old ones go on; if {} should do that, add {} to `confirmed` in the policy file",
                    list(|(name, _)| name.clone()),
                    list(|(_, digest)| digest.to_string()),
                )
            }
            Replacement::Broken(names) => write!(
                f,
                "no call of {} succeeded, so the old plugins go on; see the failures above, and `weir plugin run`",
                names.join(", ")
            ),
        }
    }
}

impl Loaded {
    /// Lets the chain decide about all services beside the one that a planner decides by, and then in its place, unless that
    /// is refused. What was refused while loading goes on in its earlier version. `now` is in seconds since 1970.
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
    /// The deciding plugins that are not in an earlier chain, or not with this component and configuration.
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

    /// Those of the newcomers that were called and never answered.
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
