//! The warnings in force.

use std::time::Duration;

use weir_core::node::DetectLocal;

use crate::host::Host;
use crate::message::Output;
use crate::warning::Warning;

use super::Daemon;

impl<H: Host> Daemon<H> {
    /// Outputs the warnings that are new at `now`.
    pub(super) fn warn(&mut self, now: Duration) {
        let warnings = self.warnings_at(now);
        let new = warnings.iter().filter(|warning| !self.warnings.contains(warning));
        self.outputs.extend(new.cloned().map(Output::Warning));
        self.warnings = warnings;
    }

    fn warnings_at(&self, now: Duration) -> Vec<Warning> {
        let known = self.addresses_known;
        let mut all: Vec<Warning> = Vec::new();
        all.extend(self.addresses_error.clone().map(|error| Warning::Addresses { error, known }));
        if self.complete {
            all.extend(self.node_warning());
            all.extend(self.lists_warnings(now));
            all.extend(self.others.warning());
        }
        all
    }

    fn node_warning(&self) -> Option<Warning> {
        let is_there = self.planner.node_object().is_some();
        match is_there {
            false => Some(Warning::NoNode(self.setup.node_name.clone())),
            true if self.node_is_gone => Some(Warning::NodeGone),
            true => self.lacks_networks().then_some(Warning::NoNetworks),
        }
    }

    fn lists_warnings(&self, now: Duration) -> impl Iterator<Item = Warning> {
        let unlisted = |reads, awaited| {
            let resources = self.missing.overdue(reads, now)?;
            Some(Warning::Unlisted { resources, awaited })
        };
        let next = self.next_policy.as_ref().and_then(|next| unlisted(next.reads(), true));
        unlisted(self.planner.reads(), false).into_iter().chain(next)
    }

    /// Whether masquerading needs pod networks, and no object of this node names any.
    pub(super) fn lacks_networks(&self) -> bool {
        let node = self.planner.node_object();
        self.setup.proxy.detect_local == DetectLocal::NodeCidr
            && node.is_none_or(|node| node.pod_cidrs.is_empty())
    }
}
