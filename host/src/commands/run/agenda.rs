//! When the next round is due.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weir_core::diff::Change;
use weir_core::kernel::FailureKind;
use weir_core::sync::Round;

/// The first pause after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How often real servers that wait for their connections are looked at.
const DRAIN_CHECK: Duration = Duration::from_secs(5);

/// When the next round is due, and whether it reads the whole kernel.
pub(super) struct Agenda {
    sync_period: Duration,
    min_sync_period: Duration,
    /// How often in succession the same failed.
    failures: u32,
    /// What failed in the last round, in words.
    failing: BTreeSet<String>,
    last_end: Option<Instant>,
    next_audit: Instant,
    requested: Option<Instant>,
    follow_up: Option<Instant>,
}

impl Agenda {
    pub(super) fn new(sync_period: Duration, min_sync_period: Duration, now: Instant) -> Agenda {
        Agenda {
            sync_period,
            min_sync_period,
            failures: 0,
            failing: BTreeSet::new(),
            last_end: None,
            next_audit: now,
            requested: None,
            follow_up: None,
        }
    }

    /// Something changed: a round is due, but not before the pause that the configuration asks for.
    pub(super) fn request(&mut self, now: Instant) {
        let earliest = self.last_end.map_or(now, |end| now.max(end + self.min_sync_period));
        self.requested = Some(self.requested.map_or(earliest, |old| old.min(earliest)));
    }

    /// Something will be due at this time although nothing changes until then.
    pub(super) fn expect(&mut self, at: Instant) {
        self.follow_up = Some(self.follow_up.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) fn next(&self) -> Instant {
        let others = self.requested.into_iter().chain(self.follow_up);
        others.fold(self.next_audit, Instant::min)
    }

    pub(super) fn audit_is_due(&self, now: Instant) -> bool {
        self.next_audit <= now
    }

    /// A round ended; what it could not do is tried again after a pause that grows while the same fails. What fails for the
    /// first time does not wait for what fails for ever, and rules that a lock holds up do not wait longer than that. The
    /// round's deadline counts from `epoch`.
    pub(super) fn done(&mut self, started: Instant, round: &Round, epoch: Instant) {
        let failing: BTreeSet<String> = round
            .failures()
            .filter(|(_, failure)| failure.kind != FailureKind::Prerequisite)
            .map(|(change, _)| change.to_string())
            .collect();
        // `iptables-restore` waits for its lock by itself, which makes the pauses longer.
        let locked = round.failures().any(|(change, failure)| {
            matches!(change, Change::WriteRules(_)) && failure.kind == FailureKind::Busy
        });
        if locked || !failing.is_subset(&self.failing) {
            self.failures = 0;
        }
        self.failing = failing;
        if !round.succeeded() {
            self.failed(started);
            return;
        }
        let now = self.end(started);
        self.failures = 0;
        let check = (!round.waiting.is_empty()).then(|| now + DRAIN_CHECK);
        let deadline = round.deadline.map(|deadline| epoch + deadline);
        self.follow_up = check.into_iter().chain(deadline).min();
    }

    /// A round could not be carried out yet.
    pub(super) fn postponed(&mut self, started: Instant) {
        let now = self.end(started);
        self.follow_up = Some(now + FIRST_RETRY);
    }

    /// A round could not be carried out.
    pub(super) fn failed(&mut self, started: Instant) {
        let now = self.end(started);
        let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(self.sync_period);
        self.failures = self.failures.saturating_add(1);
        self.follow_up = Some(now + pause);
    }

    fn end(&mut self, started: Instant) -> Instant {
        let now = Instant::now();
        if self.next_audit <= started {
            self.next_audit = now + self.sync_period;
        }
        self.last_end = Some(now);
        self.requested = None;
        now
    }
}

#[cfg(test)]
mod tests {
    use weir_core::diff::diff;
    use weir_core::kernel::Failure;
    use weir_core::net::{Family, Protocol};
    use weir_core::rule::{Chain, Table};
    use weir_core::state::{KernelState, VirtualServer};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn agenda(now: Instant) -> Agenda {
        Agenda::new(30 * SECOND, 2 * SECOND, now)
    }

    #[test]
    fn rounds_keep_their_distance() {
        let now = Instant::now();
        let mut agenda = agenda(now);
        assert!(agenda.audit_is_due(now));
        agenda.done(now, &Round::default(), now);
        assert!(!agenda.audit_is_due(now));
        assert!(agenda.next() >= now + 30 * SECOND);
        agenda.request(now);
        assert!(agenda.next() >= now + 2 * SECOND && agenda.next() < now + 10 * SECOND);
    }

    #[test]
    fn failures_are_tried_again_with_growing_pauses() {
        let now = Instant::now();
        let mut agenda = agenda(now);
        agenda.failed(now);
        let first = agenda.next();
        assert!(first >= now + SECOND && first < now + 2 * SECOND);
        agenda.failed(now);
        assert!(agenda.next() >= now + 2 * SECOND);
        (0..20).for_each(|_| agenda.failed(now));
        assert!(agenda.next() <= now + 31 * SECOND);
    }

    #[test]
    fn what_fails_for_the_first_time_does_not_wait_for_what_fails_for_ever() {
        let server = |port| VirtualServer::new(Protocol::Tcp, "10.96.0.10".parse().unwrap(), port);
        let round = |failures: &[(u16, FailureKind)]| {
            let failed = |&(port, kind)| {
                (Change::DeleteVirtualServer(server(port)), Err(Failure { kind, message: String::new() }))
            };
            Round { changes: failures.iter().map(failed).collect(), ..Round::default() }
        };
        let now = Instant::now();
        let mut agenda = agenda(now);
        let mut after = |failures: &[(u16, FailureKind)]| {
            agenda.done(now, &round(failures), now);
            (agenda.next() - now).as_secs()
        };
        let old = (80, FailureKind::Refused);
        assert_eq!([after(&[old]), after(&[old]), after(&[old])], [1, 2, 4]);
        assert_eq!(after(&[old, (81, FailureKind::Refused)]), 1);
        assert_eq!(after(&[old]), 2, "one of them is mended");
    }

    #[test]
    fn rules_that_a_lock_holds_up_are_tried_every_second() {
        let mut wanted = KernelState::default();
        wanted.rules.insert((Family::V4, Table::Nat, Chain::KubeServices), Vec::new());
        let failure = || Failure { kind: FailureKind::Busy, message: String::new() };
        let changes = diff(&wanted, &KernelState::default()).0;
        let changes = changes.into_iter().map(|change| (change, Err(failure()))).collect();
        let round = Round { changes, ..Round::default() };
        let now = Instant::now();
        let mut agenda = agenda(now);
        for _ in 0..5 {
            agenda.done(now, &round, now);
            assert!(agenda.next() < now + 2 * SECOND);
        }
    }

    #[test]
    fn waiting_for_objects_is_no_failure() {
        let now = Instant::now();
        let mut agenda = agenda(now);
        (0..5).for_each(|_| agenda.postponed(now));
        agenda.failed(now);
        assert!(agenda.next() < now + 2 * SECOND);
    }

    #[test]
    fn what_is_expected_is_due_in_time_and_takes_nothing_else_away() {
        let now = Instant::now();
        let mut agenda = agenda(now + 30 * SECOND);
        agenda.expect(now + 20 * SECOND);
        agenda.expect(now + 25 * SECOND);
        assert_eq!(agenda.next(), now + 20 * SECOND);
    }

    #[test]
    fn draining_is_looked_at_soon_and_a_deadline_in_time() {
        let now = Instant::now();
        let mut agenda = agenda(now);
        let server = "tcp 10.96.0.10:53".split_once(' ').map(|(_, address)| address.parse().unwrap());
        let server = weir_core::state::VirtualServer {
            protocol: weir_core::net::Protocol::Tcp,
            address: server.unwrap(),
        };
        let real = weir_core::state::RealServer("10.0.0.1:53".parse().unwrap());
        let round = |deadline| Round { changes: Vec::new(), waiting: vec![(server, real)], deadline };
        agenda.done(now, &round(None), now);
        assert!(agenda.next() >= now + DRAIN_CHECK && agenda.next() < now + 2 * DRAIN_CHECK);
        let epoch = now - 30 * SECOND;
        agenda.done(now, &round(Some(32 * SECOND)), epoch);
        assert_eq!(agenda.next(), now + 2 * SECOND);
        agenda.done(now, &round(Some(3600 * SECOND)), epoch);
        assert!(agenda.next() < now + 2 * DRAIN_CHECK);
    }
}
