//! One round: compare, drain, apply, remember. The loop around it, with its clocks, is the daemon's.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::diff::{Change, diff, record};
use crate::drain::{Deadlines, Situation, candidates, drain};
use crate::kernel::{Failure, FailureKind, Kernel, Outcome, ReadError};
use crate::planner::Plan;
use crate::state::{KernelState, RealServer, VirtualServer};

/// Brings a kernel to a plan, round by round. Between rounds it remembers what the kernel holds, so that a round
/// with nothing to do sends nothing.
pub struct Syncer<K> {
    kernel: K,
    /// What the kernel holds; `None` when that is not known for certain.
    actual: Option<KernelState>,
    /// Flows that could not be forgotten yet; they are not part of any state that could be compared.
    flows: BTreeSet<VirtualServer>,
    deadlines: Deadlines,
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The changes with their outcomes, in order.
    pub changes: Vec<(Change, Outcome)>,
    /// Real servers that keep connections and go when these have ended.
    pub waiting: Vec<(VirtualServer, RealServer)>,
    /// When the first of them must go although it has connections, in the caller's time.
    pub deadline: Option<Duration>,
}

impl Round {
    /// Whether every change was made.
    pub fn succeeded(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The changes that were not made, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&Change, &Failure)> {
        self.changes.iter().filter_map(|(change, outcome)| Some((change, outcome.as_ref().err()?)))
    }
}

impl<K: Kernel> Syncer<K> {
    /// A syncer that knows nothing of the kernel yet.
    pub fn new(kernel: K) -> Syncer<K> {
        Syncer { kernel, actual: None, flows: BTreeSet::new(), deadlines: Deadlines::default() }
    }

    /// The kernel.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Makes the next round read the whole kernel again: what others changed is found and repaired then.
    pub fn audit(&mut self) {
        self.actual = None;
    }

    /// Brings the kernel as close to the plan as it goes. What failed is tried again by the next round. `now` is the
    /// time since any moment that stays the same for this syncer.
    pub fn round(&mut self, plan: &Plan, now: Duration) -> Result<Round, ReadError> {
        let actual = match self.actual.take() {
            Some(actual) => actual,
            None => self.kernel.read()?,
        };
        let actual = self.actual.insert(actual);
        actual.forget_excluded(&plan.excluded, &plan.state);
        let changes = diff(&plan.state, actual).with_first(&plan.first);
        let connections = match candidates(&changes) {
            asked if asked.is_empty() => Default::default(),
            asked => self.kernel.connections(&asked),
        };
        let situation =
            Situation { connections: &connections, desired: &plan.state, actual, drains: &plan.drains, now };
        let (mut changes, waiting) = drain(changes, situation, &mut self.deadlines);
        let deadline = self.deadlines.next(&waiting, &plan.drains);
        changes.0.extend(std::mem::take(&mut self.flows).into_iter().map(|server| {
            let kept = plan.state.real_servers_of(server).map(|(real, _)| real).collect();
            Change::ForgetFlows(server, kept)
        }));
        if changes.is_empty() {
            return Ok(Round { changes: Vec::new(), waiting, deadline });
        }
        let outcomes = self.kernel.apply(&changes);
        let changes: Vec<(Change, Outcome)> = changes.0.into_iter().zip(outcomes).collect();
        for (change, outcome) in &changes {
            match (outcome, change) {
                (Ok(()), _) => record(actual, change),
                (Err(_), Change::ForgetFlows(server, _)) => {
                    self.flows.insert(*server);
                }
                (Err(_), _) => {}
            }
        }
        if changes.iter().any(|(change, outcome)| leaves_doubt(change, outcome)) {
            self.actual = None;
        }
        Ok(Round { changes, waiting, deadline })
    }
}

/// Whether nobody knows what the kernel holds now. Rules are written table by table, so that a refused or
/// interrupted change may have been made in part.
fn leaves_doubt(change: &Change, outcome: &Outcome) -> bool {
    let Err(failure) = outcome else { return false };
    match failure.kind {
        FailureKind::Stale => true,
        FailureKind::Refused | FailureKind::Busy => matches!(change, Change::WriteRules(_)),
        FailureKind::Prerequisite => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Failure;
    use crate::net::Family;
    use crate::rule::{Chain, Table};

    /// Whoever holds the lock may take it between two tables of one write.
    #[test]
    fn rules_are_read_again_after_a_write_that_met_a_lock() {
        let mut wanted = KernelState::default();
        wanted.rules.insert((Family::V4, Table::Nat, Chain::KubeServices), Vec::new());
        let changes = diff(&wanted, &KernelState::default());
        let [change @ Change::WriteRules(_)] = changes.0.as_slice() else { panic!("{changes:?}") };
        let failed = |kind| Err(Failure { kind, message: String::new() });
        assert!(leaves_doubt(change, &failed(FailureKind::Busy)));
        assert!(!leaves_doubt(change, &failed(FailureKind::Prerequisite)));
        assert!(!leaves_doubt(change, &Ok(())));
    }
}
