//! What an audit checks in addition to the kernel's state: networks on the dummy device, and whether a missing match
//! or target is available now.

use weir_core::diff::Change;
use weir_core::kernel::{Failure, FailureKind};
use weir_core::net::Family;
use weir_core::sync::Round;

use crate::host::Host;
use crate::message::Output;

use super::Daemon;

impl<H: Host> Daemon<H> {
    pub(super) fn look_after_node(&mut self) {
        self.host().clear_device();
        // Nothing is probed while all is well: a module that rules use cannot be unloaded.
        let missing = &self.planner().node().capabilities.missing;
        if self.rules_failed || !(missing.v4.is_empty() && missing.v6.is_empty()) {
            self.look_for_extensions();
        }
    }

    fn look_for_extensions(&mut self) {
        let mut view = self.planner().node().clone();
        let missing = self.host().missing_extensions(&view.capabilities.families);
        if missing == view.capabilities.missing {
            return;
        }
        if missing.v4.is_empty() && missing.v6.is_empty() {
            self.tell(Output::ExtensionsBack);
        }
        view.capabilities.missing = missing;
        self.planner_mut().set_node(view);
    }
}

/// Whether rules were refused for a reason other than a lock; `None` while they wait for their retry.
pub(super) fn rules_failed(round: &Round) -> Option<bool> {
    let mut failures = round.failures().filter(|(change, _)| matches!(change, Change::WriteRules(_)));
    let Some((_, first)) = failures.next() else { return Some(false) };
    let refused = |failure: &Failure| failure.kind == FailureKind::Refused;
    (refused(first) || failures.any(|(_, failure)| refused(failure))).then_some(true)
}

/// Whether a family has everything that all of its services need after this round. Without this part, kube-proxy aborts
/// its synchronisation, and is unhealthy until it succeeds. A single failing service is no reason to take the node out
/// of rotation.
pub(super) fn has_foundation(round: &Round, family: Family) -> bool {
    !round.failures().any(|(change, _)| is_foundation(change, family))
}

fn is_foundation(change: &Change, family: Family) -> bool {
    match change {
        Change::WriteRules(rules) => rules.family == family,
        Change::CreateDevice(_) | Change::CreateSet(..) | Change::ReplaceSet(..) => true,
        _ => false,
    }
}
