//! When the next round is due.

use std::time::{Duration, Instant};

/// The first pause after a round that could not be carried out; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The shortest pause before a round that nothing new asks for: whatever goes wrong, no processor is kept busy.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// When the next round is due, and whether it reads the whole kernel.
pub(super) struct Agenda {
    sync_period: Duration,
    min_sync_period: Duration,
    /// How often in succession the kernel could not be read.
    failures: u32,
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

    /// A round ended. The next one is due after `pause` if nothing asks for one before.
    pub(super) fn done(&mut self, started: Instant, pause: Option<Duration>) {
        let now = self.end(started);
        self.failures = 0;
        self.follow_up = pause.map(|pause| now + pause.max(SHORTEST_PAUSE));
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
        agenda.done(now, None);
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
    fn a_round_says_when_it_has_something_to_do() {
        let now = Instant::now();
        let mut agenda = agenda(now);
        agenda.done(now, Some(2 * SECOND));
        assert!(agenda.next() >= now + 2 * SECOND && agenda.next() < now + 10 * SECOND);
        agenda.done(now, Some(Duration::ZERO));
        assert!(agenda.next() >= now + SHORTEST_PAUSE, "and never at once");
        agenda.done(now, Some(3600 * SECOND));
        assert!(agenda.next() <= now + 31 * SECOND, "an audit comes before");
    }
}
