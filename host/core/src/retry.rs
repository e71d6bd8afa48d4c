//! When failed changes are tried again: each on its own, after growing pauses.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::actual::Actual;
use crate::diff::{Change, Direction};
use crate::kernel::{Failure, FailureKind, Outcome};
use crate::net::Family;
use crate::rule::Table;
use crate::set::{SetEntry, SetName};
use crate::state::{Device, RealServer, Sysctl, VirtualServer};

/// The first pause after a failure; it doubles with each further failure.
const FIRST: Duration = Duration::from_secs(1);

/// What a change concerns: after a failure, no other change of the same subject is tried at once either.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A value below `/proc/sys`.
    Sysctl(Sysctl),
    /// The IPVS timeouts.
    Timeouts,
    /// A device.
    Device(Device),
    /// A set.
    Set(SetName),
    /// A member of a set.
    Entry(SetName, SetEntry),
    /// Rules of some tables of a family, added or only removed.
    Rules(Family, Direction, Vec<Table>),
    /// An address of the dummy device.
    Address(IpAddr),
    /// A virtual server.
    VirtualServer(VirtualServer),
    /// A real server.
    RealServer(VirtualServer, RealServer),
    /// The flows to a virtual server.
    Flows(VirtualServer),
}

impl Change {
    /// What the change concerns.
    pub fn subject(&self) -> Subject {
        match self {
            Change::SetSysctl(key, _) => Subject::Sysctl(key.clone()),
            Change::SetTimeouts(_) => Subject::Timeouts,
            Change::CreateDevice(device) | Change::DeleteDevice(device) => Subject::Device(*device),
            Change::CreateSet(name, _) | Change::ReplaceSet(name, ..) | Change::DestroySet(name) => {
                Subject::Set(*name)
            }
            Change::AddEntry(name, entry) | Change::DeleteEntry(name, entry) => Subject::Entry(*name, *entry),
            Change::WriteRules(rules) => {
                Subject::Rules(rules.family, rules.direction, rules.tables.keys().copied().collect())
            }
            Change::AddAddress(ip) | Change::DeleteAddress(ip) => Subject::Address(*ip),
            Change::CreateVirtualServer(server, _)
            | Change::UpdateVirtualServer(server, _)
            | Change::DeleteVirtualServer(server) => Subject::VirtualServer(*server),
            Change::AddRealServer(server, real, _)
            | Change::SetWeight(server, real, _)
            | Change::DeleteRealServer(server, real) => Subject::RealServer(*server, *real),
            Change::ForgetFlows(server, _) => Subject::Flows(*server),
        }
    }
}

/// A failed change that will be tried again. Times are counted from any fixed moment.
#[derive(Clone, Debug)]
pub struct Retry {
    /// The kind of the change.
    pub kind: &'static str,
    /// The change as text, because the value may have thousands of entries.
    pub change: String,
    /// The latest failure.
    pub failure: Failure,
    /// When it first failed.
    pub since: Duration,
    /// When it is tried next.
    pub next: Duration,
    pause: Duration,
}

impl Retry {
    fn new(change: &Change, failure: &Failure, now: Duration) -> Retry {
        let (kind, text) = (change.kind(), change.to_string());
        let failure = failure.clone();
        Retry { kind, change: text, failure, since: now, next: now, pause: Duration::ZERO }
    }
}

/// The failed changes, and when they are tried again. Times are counted from any fixed moment.
#[derive(Debug)]
pub(crate) struct Retries {
    waiting: BTreeMap<Subject, Retry>,
    longest: Duration,
}

impl Retries {
    /// No failures yet; no pause will be longer than `longest`.
    pub(crate) fn new(longest: Duration) -> Retries {
        Retries { waiting: BTreeMap::new(), longest }
    }

    /// Whether a change may be tried now.
    pub(crate) fn is_due(&self, change: &Change, now: Duration) -> bool {
        self.waiting.is_empty() || self.waiting.get(&change.subject()).is_none_or(|retry| retry.next <= now)
    }

    /// Records a round: changes that were made, or are no longer needed, are forgotten.
    pub(crate) fn note(&mut self, changes: &[(Change, Outcome)], now: Duration) {
        if self.waiting.is_empty() && changes.iter().all(|(_, outcome)| outcome.is_ok()) {
            return;
        }
        let mut failed = BTreeSet::new();
        for (change, outcome) in changes {
            let Err(failure) = outcome else { continue };
            let subject = change.subject();
            if !matches!(failure.kind, FailureKind::Prerequisite | FailureKind::Postponed) {
                let entry = self.waiting.entry(subject.clone());
                let retry = entry.or_insert_with(|| Retry::new(change, failure, now));
                retry.failure.clone_from(failure);
                // Locks are held briefly, and `iptables-restore` also waits for its lock.
                let locked = failure.kind == FailureKind::Locked;
                let pause = if locked { FIRST } else { retry.pause.saturating_mul(2).max(FIRST) };
                retry.pause = pause.min(self.longest.max(FIRST));
                // On whole seconds, so that changes that fail at different times are retried in the same round.
                retry.next = whole_seconds(now + retry.pause);
            }
            failed.insert(subject);
        }
        self.waiting.retain(|subject, _| failed.contains(subject));
    }

    /// Forgets the failures of subjects whose wanted state has changed: the new change need not wait.
    pub(crate) fn lift(&mut self, touched: &Actual) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|subject, _| !touched.concerns(subject));
        }
    }

    /// Whether a set is waiting for its next attempt.
    pub(crate) fn holds_set(&self, name: SetName, now: Duration) -> bool {
        self.waiting.get(&Subject::Set(name)).is_some_and(|retry| retry.next > now)
    }

    /// The failed changes that will be tried again, in the order of [`Subject`]s.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Retry> {
        self.waiting.values()
    }

    /// When the first failed change is tried again after a round at `now`. Changes that were due then but not tried are
    /// waiting for another failed change.
    pub(crate) fn next(&self, now: Duration) -> Option<Duration> {
        self.waiting.values().map(|retry| retry.next).filter(|next| *next > now).min()
    }
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Failure;
    use crate::net::Protocol;

    fn delete(port: u16) -> Change {
        Change::DeleteVirtualServer(VirtualServer::new(Protocol::Tcp, "10.96.0.10".parse().unwrap(), port))
    }

    fn failed(change: &Change, kind: FailureKind) -> (Change, Outcome) {
        (change.clone(), Err(Failure { kind, message: String::new() }))
    }

    /// The seconds until the next attempt, if each attempt is made when it is due.
    fn pauses(change: &Change, kind: FailureKind, count: usize) -> Vec<u64> {
        let mut retries = Retries::new(Duration::from_secs(5));
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..count {
            retries.note(&[failed(change, kind)], now);
            let next = retries.next(now).unwrap();
            assert!(!retries.is_due(change, next - Duration::from_millis(1)) && retries.is_due(change, next));
            pauses.push((next - now).as_secs());
            now = next;
        }
        pauses
    }

    #[test]
    fn pauses_grow() {
        assert_eq!(pauses(&delete(80), FailureKind::Refused, 5), [1, 2, 4, 5, 5]);
    }

    #[test]
    fn rules_that_a_lock_holds_up_are_tried_every_second() {
        let (direction, tables) = (crate::diff::Direction::Adds, BTreeMap::new());
        let rules = Change::WriteRules(crate::diff::RulesChange { family: Family::V4, direction, tables });
        assert_eq!(pauses(&rules, FailureKind::Locked, 4), [1, 1, 1, 1]);
    }

    #[test]
    fn what_fails_for_the_first_time_does_not_wait_for_what_fails_for_ever() {
        let mut retries = Retries::new(Duration::from_secs(60));
        let (old, new) = (delete(80), delete(81));
        for second in [0, 1, 3] {
            retries.note(&[failed(&old, FailureKind::Refused)], Duration::from_secs(second));
        }
        let now = Duration::from_secs(4);
        retries.note(&[failed(&new, FailureKind::Refused), failed(&old, FailureKind::Prerequisite)], now);
        assert_eq!(retries.next(now), Some(Duration::from_secs(5)));
        assert!(
            !retries.is_due(&old, Duration::from_secs(6)) && retries.is_due(&old, Duration::from_secs(7))
        );
        retries.note(&[(new.clone(), Ok(()))], now);
        assert_eq!(retries.next(now), None, "one was made, the other is no longer needed");
        retries.note(&[failed(&new, FailureKind::Refused)], now);
        let later = Duration::from_secs(60);
        retries.note(&[failed(&new, FailureKind::Prerequisite)], later);
        assert_eq!(
            retries.next(later),
            None,
            "it waits for the change that failed before it, without a hot loop"
        );
        assert!(retries.is_due(&new, later));
    }
}
