//! One round: compare, drain, apply, remember. The loop around it and its clocks belong to the daemon.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::actual::{Actual, Comparison};
use crate::desired::Desired;
use crate::diff::{Change, Changes, Failures, Wanted, order};
use crate::drain::{Drains, Leaving, empty_udp_servers, with_stale_flows};
use crate::kernel::{Failure, FailureKind, Kernel, Outcome, ReadError, Unread, apply_unless};
use crate::retry::{Retries, Retry};
use crate::set::{SetEntry, SetKind, SetName};
use crate::state::{RealServer, VirtualServer};

/// Brings a kernel to the desired state, round by round. Between rounds it remembers where the kernel differs, so
/// that the cost of a round depends on what changed, and a round with nothing to do sends nothing.
pub struct Syncer<K> {
    kernel: K,
    /// Where the kernel differs; `None` if not known for certain.
    actual: Option<Actual>,
    unread: Unread,
    /// Flows that could not be forgotten yet; they are not part of any comparable state.
    flows: BTreeSet<VirtualServer>,
    retries: Retries,
    drains: Drains,
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The changes that were tried, and those held back because another change failed, with their outcomes, in
    /// order.
    pub changes: Vec<(Change, Outcome)>,
    /// Real servers that still have connections and are removed when these have ended.
    pub waiting: Vec<(VirtualServer, RealServer)>,
    /// When the next round has something to do even if nothing changes until then, in the caller's time.
    pub next: Option<Duration>,
}

impl Round {
    /// Whether every change was made.
    pub fn succeeded(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The number of changes made.
    pub fn made(&self) -> usize {
        self.changes.iter().filter(|(_, outcome)| outcome.is_ok()).count()
    }

    /// The changes that were not made, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&Change, &Failure)> {
        self.changes.iter().filter_map(|(change, outcome)| Some((change, outcome.as_ref().err()?)))
    }
}

impl<K: Kernel> Syncer<K> {
    /// A syncer that knows nothing about the kernel yet. Failed changes are retried after 1 s, 2 s, 4 s …, at most
    /// `longest_pause`.
    pub fn new(kernel: K, longest_pause: Duration) -> Syncer<K> {
        Syncer {
            kernel,
            actual: None,
            unread: Unread::default(),
            flows: BTreeSet::new(),
            retries: Retries::new(longest_pause),
            drains: Drains::default(),
        }
    }

    /// The kernel.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Makes the next round read the whole kernel again, to find and repair what other programs changed.
    pub fn audit(&mut self) {
        self.actual = None;
    }

    /// Whether it is known for certain where the kernel differs from what is desired.
    pub fn is_certain(&self) -> bool {
        self.actual.is_some()
    }

    /// Whether the kernel is known to hold exactly what is desired.
    pub fn is_as_desired(&self) -> bool {
        self.actual.as_ref().is_some_and(Actual::is_as_wanted)
    }

    /// The failed changes that will be tried again.
    pub fn failing(&self) -> impl Iterator<Item = &Retry> {
        self.retries.waiting()
    }

    /// The number of real servers that still have connections and will be removed.
    pub fn draining(&self) -> usize {
        self.drains.waiting().count()
    }

    /// Real servers that still have connections and will be removed, each with the time when it started to leave and
    /// its deadline, if it has one. Times are those of [`Syncer::round`].
    pub fn leaving(&self, desired: &Desired) -> impl Iterator<Item = (Leaving, Duration, Option<Duration>)> {
        self.drains.leaving(|server| desired.drain(server))
    }

    /// Brings the kernel as close to the desired state as possible. `now` is the time since any moment that is
    /// fixed for this syncer.
    ///
    /// # Errors
    /// When the kernel had to be read and could not be; nothing was changed then.
    pub fn round(&mut self, desired: &mut Desired, now: Duration) -> Result<Round, ReadError> {
        let actual = match (self.actual.take(), desired.take_touched()) {
            (Some(mut actual), Some(touched)) => {
                self.drains.wake(touched.servers.keys());
                self.retries.lift(&touched);
                actual.absorb(touched, desired);
                actual
            }
            _ => self.compare(desired)?,
        };
        let desired = &*desired;
        let (changes, empty) = self.changes(&actual, desired, now);
        let mut made = self.make(changes, &actual, desired, now);
        let served = |ip| desired.servers_at(ip);
        let done = made.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(change, _)| change);
        self.flows.extend(with_stale_flows(done, &empty, served));
        let flows = self.flows.iter().map(|server| {
            let kept = desired.server(*server).into_iter().flat_map(|want| want.server.real_servers.keys());
            Change::ForgetFlows(*server, kept.copied().collect())
        });
        let flows = Changes(flows.collect());
        made.extend(self.make(flows, &actual, desired, now));
        self.remember(actual, &made, desired, now);
        let next = self.retries.next(now).into_iter().chain(self.drains.next()).min();
        Ok(Round { changes: made, waiting: self.drains.waiting().collect(), next })
    }

    /// Reads the kernel and finds the differences.
    fn compare(&mut self, desired: &mut Desired) -> Result<Actual, ReadError> {
        desired.follow();
        let mut comparison = Comparison::new(desired);
        self.unread = self.kernel.read(&mut |fact| comparison.see(fact))?;
        self.drains.wake_all();
        Ok(comparison.end())
    }

    /// The changes to make now, in order, and the UDP virtual servers that have no real servers yet.
    fn changes(
        &mut self,
        actual: &Actual,
        desired: &Desired,
        now: Duration,
    ) -> (Changes, BTreeSet<VirtualServer>) {
        let differences = actual.differences(desired, |server| self.drains.is_asleep(server, now));
        let waits = |name| self.retries.holds_set(name, now);
        let changes = order(&differences, desired, desired.first(), waits);
        let how = |server| desired.drain(server);
        let connections = match self.drains.to_ask(&changes, how, now) {
            asked if asked.is_empty() => Default::default(),
            asked => self.kernel.connections(&asked),
        };
        let weight = |(server, real): &(_, RealServer)| {
            actual.server(*server, desired)?.real_servers.get(real).copied()
        };
        let mut changes = self.drains.apply(changes, &connections, how, weight, now);
        self.unread.split(&mut changes);
        (changes, empty_udp_servers(&differences))
    }

    fn make(
        &mut self,
        changes: Changes,
        actual: &Actual,
        desired: &Desired,
        now: Duration,
    ) -> Vec<(Change, Outcome)> {
        let refuse = |change: &Change| {
            if !self.retries.is_due(change, now) {
                let message = format!("{change}: it failed before; weir will retry it later");
                return Some(Failure { kind: FailureKind::Postponed, message });
            }
            // Tables that could not be read are not written either.
            let Change::WriteRules(rules) = change else { return None };
            self.unread.of(rules).cloned()
        };
        let wanted = Known { desired, actual };
        let outcomes = apply_unless(&mut self.kernel, &changes.0, &wanted, &mut Failures::default(), refuse);
        changes.0.into_iter().zip(outcomes).collect()
    }

    /// Records the outcomes of the changes.
    fn remember(
        &mut self,
        mut actual: Actual,
        changes: &[(Change, Outcome)],
        desired: &Desired,
        now: Duration,
    ) {
        for (change, outcome) in changes {
            if outcome.is_ok() {
                actual.record(change, desired);
                if let Change::ForgetFlows(server, _) = change {
                    self.flows.remove(server);
                }
            }
        }
        self.drains
            .note_gone(changes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(change, _)| change));
        actual.prune(desired);
        self.retries.note(changes, now);
        self.drains.put_to_sleep(|server| {
            Some((actual.servers.get(&server)?.as_ref()?, &desired.server(server)?.server))
        });
        let doubt = changes.iter().any(|(change, outcome)| leaves_doubt(change, outcome));
        self.actual = (!doubt).then_some(actual);
    }
}

/// The desired state, combined with what is known about the kernel.
struct Known<'a> {
    desired: &'a Desired,
    actual: &'a Actual,
}

impl Wanted for Known<'_> {
    fn entries_of(&self, name: SetName) -> Vec<SetEntry> {
        self.desired.entries_of(name)
    }

    fn count(&self, name: SetName) -> usize {
        self.desired.count(name)
    }

    fn kind_of(&self, name: SetName) -> Option<&SetKind> {
        self.desired.kind_of(name)
    }

    fn has_entry(&self, name: SetName, entry: SetEntry) -> bool {
        self.desired.has_entry(name, entry)
    }

    fn is_served(&self, ip: IpAddr) -> bool {
        self.actual.serves(ip, self.desired)
    }

    fn closing(&self, server: VirtualServer) -> Vec<(SetName, SetEntry)> {
        self.desired.closing(server)
    }
}

/// Whether an outcome leaves the kernel's state unknown. Rules are written table by table, so a refused or
/// interrupted change may have been made in part.
fn leaves_doubt(change: &Change, outcome: &Outcome) -> bool {
    let Err(failure) = outcome else { return false };
    match failure.kind {
        FailureKind::Stale => true,
        FailureKind::Refused | FailureKind::Busy | FailureKind::Locked => {
            matches!(change, Change::WriteRules(_))
        }
        FailureKind::Prerequisite | FailureKind::Postponed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Family;

    /// Another program may take the lock between two tables of one write.
    #[test]
    fn rules_are_read_again_after_a_write_that_met_a_lock() {
        let (direction, tables) = (crate::diff::Direction::Adds, Default::default());
        let change = Change::WriteRules(crate::diff::RulesChange { family: Family::V4, direction, tables });
        let failed = |kind| Err(Failure { kind, message: String::new() });
        assert!(leaves_doubt(&change, &failed(FailureKind::Locked)));
        assert!(!leaves_doubt(&change, &failed(FailureKind::Prerequisite)));
        assert!(!leaves_doubt(&change, &Ok(())));
    }
}
