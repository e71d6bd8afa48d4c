//! From one chain to the next while traffic flows: decided in shadow first, and held back if it would change too much.

use std::fmt;

use crate::configuration::{Digest, Mode};
use weir_core::planner::Planner;

use crate::chain::{Chain, SharedChain};
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
    /// Lets the chain decide about all services beside the running one, and then in its place, unless that is refused.
    /// What was refused while loading goes on in its earlier version. `now` is in seconds since 1970.
    pub fn replace(mut self, running: &SharedChain, planner: &mut Planner, now: u64) -> Replacement {
        let earlier = running.chain().clone();
        let newcomers: Vec<usize> = self.chain.newcomers(&earlier);
        let unconfirmed = newcomers.iter().map(|i| self.chain.introduction(*i));
        let unconfirmed: Vec<_> =
            unconfirmed.filter(|(_, digest)| !self.confirmed.contains(digest)).collect();
        let names: Vec<String> = newcomers.iter().map(|i| self.chain.introduction(*i).0).collect();
        self.chain.inherit(earlier, &self.refused, &self.order);
        let (changed, services) = planner.changes_under(&mut self.chain, now);
        let broken = self.chain.silent(&names);
        if !broken.is_empty() {
            return Replacement::Broken(broken);
        }
        if !unconfirmed.is_empty() && self.max_change.is_exceeded(changed, services) {
            return Replacement::Held { changed, services, unconfirmed };
        }
        *running.chain() = self.chain;
        planner.set_policy(Box::new(running.clone()));
        Replacement::Taken { changed, services }
    }
}

impl Chain {
    /// The places of the deciding plugins that are not in an earlier chain, or not with this component and configuration.
    fn newcomers(&self, earlier: &Chain) -> Vec<usize> {
        let known = |new: &Plugin| {
            earlier
                .plugins()
                .iter()
                .any(|old| new.artifact.is(old.artifact.facts().digest, &old.artifact.configuration))
        };
        let decides = |plugin: &Plugin| plugin.artifact.configuration.mode == Mode::Enforce;
        let places = self.plugins().iter().enumerate();
        places.filter(|(_, plugin)| decides(plugin) && !known(plugin)).map(|(i, _)| i).collect()
    }

    fn introduction(&self, place: usize) -> (String, Digest) {
        let plugin = &self.plugins()[place];
        (plugin.name().to_owned(), plugin.artifact.facts().digest)
    }

    /// Those of the named plugins that were called and never answered.
    fn silent(&self, names: &[String]) -> Vec<String> {
        let silent = |plugin: &&Plugin| {
            let account = plugin.account();
            account.calls > 0 && account.failures.values().sum::<u64>() == account.calls
        };
        let named = self.plugins().iter().filter(|plugin| names.iter().any(|name| name == plugin.name()));
        named.filter(silent).map(|plugin| plugin.name().to_owned()).collect()
    }
}
