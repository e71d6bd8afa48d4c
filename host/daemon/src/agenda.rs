//! When the next round is due.

use std::time::Duration;

/// How long to wait for more changes after each one, so that a program that writes ten files causes one round.
const GATHER: Duration = Duration::from_millis(20);

/// The longest such wait: a program that never stops writing must not delay its changes forever.
const GATHER_AT_MOST: Duration = Duration::from_millis(200);

/// The first pause after a round that failed; it doubles with each further failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The shortest pause before a round without new input, so that no failure can keep a CPU busy.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The pause after an audit that found nothing is at least this many times as long as the audit, but this rule never
/// requires more than [`RAREST_AUDIT`]. So audits of thousands of services on a slow processor become rarer.
const AUDIT_SHARE: u32 = 100;

/// The longest pause that [`AUDIT_SHARE`] can require.
const RAREST_AUDIT: Duration = Duration::from_secs(300);

/// When the next round is due, and whether it reads the whole kernel. Times are those of
/// [`Host::time`](crate::Host::time).
#[derive(Debug)]
pub(crate) struct Agenda {
    sync_period: Duration,
    min_sync_period: Duration,
    /// How often in a row the kernel could not be read.
    failures: u32,
    last_end: Option<Duration>,
    next_audit: Duration,
    /// The shortest pause before the next audit, derived from the duration of this round's audit.
    audit_pause: Duration,
    requested: Option<Requested>,
    follow_up: Option<Duration>,
}

/// Changes that no round has seen yet.
#[derive(Clone, Copy, Debug)]
struct Requested {
    first: Duration,
    due: Duration,
}

impl Agenda {
    pub(crate) fn new(sync_period: Duration, min_sync_period: Duration, now: Duration) -> Agenda {
        Agenda {
            sync_period,
            min_sync_period,
            failures: 0,
            last_end: None,
            next_audit: now,
            audit_pause: Duration::ZERO,
            requested: None,
            follow_up: None,
        }
    }

    /// Records a change: a round is due when no more changes arrive for a moment, but not before the configured pause
    /// has passed.
    pub(crate) fn request(&mut self, now: Duration) {
        let first = self.requested.map_or(now, |requested| requested.first);
        let gathered = (now + GATHER).min(first + GATHER_AT_MOST);
        let earliest = self.last_end.map_or(now, |end| end + self.min_sync_period);
        self.requested = Some(Requested { first, due: gathered.max(earliest) });
    }

    /// Records that a round will be due at this time even if nothing changes.
    pub(crate) fn expect(&mut self, at: Duration) {
        self.follow_up = Some(self.follow_up.map_or(at, |earlier| earlier.min(at)));
    }

    pub(crate) fn next(&self) -> Duration {
        let requested = self.requested.map(|requested| requested.due);
        requested.into_iter().chain(self.follow_up).fold(self.next_audit, Duration::min)
    }

    pub(crate) fn audit_is_due(&self, now: Duration) -> bool {
        self.next_audit <= now
    }

    /// Records that this round's audit found nothing and took this long.
    pub(crate) fn audited(&mut self, took: Duration) {
        self.audit_pause = took.saturating_mul(AUDIT_SHARE).min(RAREST_AUDIT);
    }

    /// Ends the round that started at `started`. The next one is due after `pause` unless requested earlier.
    pub(crate) fn done(&mut self, started: Duration, now: Duration, pause: Option<Duration>) {
        self.end(started, now);
        self.failures = 0;
        self.follow_up = pause.map(|pause| now + pause.max(SHORTEST_PAUSE));
    }

    /// Ends a round that could not do anything yet.
    pub(crate) fn postponed(&mut self, started: Duration, now: Duration) {
        self.end(started, now);
        self.follow_up = Some(now + FIRST_RETRY);
    }

    /// Ends a round that failed.
    pub(crate) fn failed(&mut self, started: Duration, now: Duration) {
        self.end(started, now);
        let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(self.sync_period);
        self.failures = self.failures.saturating_add(1);
        self.follow_up = Some(now + pause);
    }

    /// Pauses count from the end, so that a long round is not followed immediately by the next one.
    fn end(&mut self, started: Duration, now: Duration) {
        if self.next_audit <= started {
            self.next_audit = now + self.sync_period.max(std::mem::take(&mut self.audit_pause));
        }
        self.last_end = Some(now);
        self.requested = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Duration = Duration::from_secs(1000);

    fn agenda() -> Agenda {
        Agenda::new(30 * SECOND, 2 * SECOND, NOW)
    }

    #[test]
    fn a_slow_audit_is_repeated_later() {
        let next_audit = |took| {
            let mut agenda = agenda();
            agenda.audited(took);
            agenda.done(NOW, NOW, None);
            agenda.next() - NOW
        };
        assert_eq!(next_audit(SECOND / 10), 30 * SECOND);
        assert_eq!(next_audit(SECOND), 100 * SECOND);
        assert_eq!(next_audit(60 * SECOND), RAREST_AUDIT);
    }

    #[test]
    fn news_are_gathered_but_not_for_ever() {
        let mut agenda = Agenda::new(30 * SECOND, Duration::ZERO, NOW);
        agenda.done(NOW, NOW, None);
        agenda.request(NOW);
        assert_eq!(agenda.next(), NOW + GATHER);
        for n in 1..100 {
            agenda.request(NOW + n * GATHER / 2);
        }
        assert_eq!(agenda.next(), NOW + GATHER_AT_MOST);
        agenda.done(NOW + SECOND, NOW + SECOND, None);
        agenda.request(NOW + 2 * SECOND);
        assert_eq!(agenda.next(), NOW + 2 * SECOND + GATHER, "each time again");
    }

    #[test]
    fn failures_are_tried_again_with_growing_pauses() {
        let mut agenda = agenda();
        agenda.failed(NOW, NOW);
        assert_eq!(agenda.next(), NOW + SECOND);
        agenda.failed(NOW, NOW);
        assert_eq!(agenda.next(), NOW + 2 * SECOND);
        (0..20).for_each(|_| agenda.failed(NOW, NOW));
        assert_eq!(agenda.next(), NOW + 30 * SECOND);
    }

    #[test]
    fn waiting_for_objects_is_no_failure() {
        let mut agenda = agenda();
        (0..5).for_each(|_| agenda.postponed(NOW, NOW));
        agenda.failed(NOW, NOW);
        assert_eq!(agenda.next(), NOW + SECOND);
    }

    #[test]
    fn what_is_expected_is_due_in_time_and_takes_nothing_else_away() {
        let mut agenda = Agenda::new(30 * SECOND, 2 * SECOND, NOW + 30 * SECOND);
        agenda.expect(NOW + 20 * SECOND);
        agenda.expect(NOW + 25 * SECOND);
        assert_eq!(agenda.next(), NOW + 20 * SECOND);
    }

    #[test]
    fn a_round_says_when_it_has_something_to_do() {
        let mut agenda = agenda();
        agenda.done(NOW, NOW, Some(2 * SECOND));
        assert_eq!(agenda.next(), NOW + 2 * SECOND);
        agenda.done(NOW, NOW, Some(Duration::ZERO));
        assert_eq!(agenda.next(), NOW + SHORTEST_PAUSE, "and never at once");
        agenda.done(NOW, NOW, Some(3600 * SECOND));
        assert_eq!(agenda.next(), NOW + 30 * SECOND, "an audit comes before");
    }
}
