//! Stops asking a plugin that keeps failing.
//!
//! Times are seconds since 1970 as counted by the daemon: they never go backwards.

use std::collections::VecDeque;

/// The number of consecutive failed calls that opens the breaker.
const IN_A_ROW: u32 = 3;
/// The number of failed calls within `WINDOW` that opens the breaker, even with successes in between.
const IN_A_WINDOW: usize = 5;
/// The length of that window, in seconds.
const WINDOW: u64 = 60;
/// After this many consecutive pauses without a success, the breaker stays open until the plugin or its
/// configuration changes.
const OPENINGS: u32 = 5;

/// Whether a plugin may be called, and for how many services at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Ask.
    Ask,
    /// A pause is over: call it for a few services.
    Try,
    /// Not before this time; `None` = not until the plugin or its configuration changes.
    Wait(Option<u64>),
}

/// The breaker of one plugin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Breaker {
    in_a_row: u32,
    recent: VecDeque<u64>,
    state: State,
    openings: u32,
    /// Randomizes pauses, so that nodes that failed together do not retry together.
    noise: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    OpenUntil(u64),
    Stuck,
}

impl Breaker {
    /// A closed breaker; `seed` differs between nodes.
    pub(crate) fn new(seed: u64) -> Breaker {
        Breaker { noise: seed | 1, ..Breaker::default() }
    }

    pub(crate) fn leave(&self, now: u64) -> Leave {
        match self.state {
            State::Closed => Leave::Ask,
            State::OpenUntil(until) if now >= until => Leave::Try,
            State::OpenUntil(until) => Leave::Wait(Some(until)),
            State::Stuck => Leave::Wait(None),
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.in_a_row = 0;
        if self.state != State::Stuck {
            self.state = State::Closed;
            self.openings = 0;
        }
    }

    pub(crate) fn failed(&mut self, now: u64) {
        self.in_a_row += 1;
        self.recent.push_back(now);
        self.recent.retain(|at| at + WINDOW > now);
        let tried = matches!(self.state, State::OpenUntil(_));
        if tried || self.in_a_row >= IN_A_ROW || self.recent.len() >= IN_A_WINDOW {
            self.open(now);
        }
    }

    /// Gives up on this version of the plugin.
    pub(crate) fn stick(&mut self) {
        self.state = State::Stuck;
    }

    fn open(&mut self, now: u64) {
        self.openings += 1;
        if self.openings > OPENINGS {
            self.state = State::Stuck;
            return;
        }
        self.in_a_row = 0;
        self.recent.clear();
        self.state = State::OpenUntil(now + self.pause());
    }

    /// A random number of seconds (xorshift64) from 1 to a bound that doubles: 2, 4, ... 2^`OPENINGS`.
    fn pause(&mut self) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        1 + self.noise % (1 << self.openings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_open_it_and_a_success_closes_it() {
        let mut breaker = Breaker::new(7);
        breaker.failed(0);
        breaker.failed(0);
        assert_eq!(breaker.leave(0), Leave::Ask);
        breaker.failed(0);
        let Leave::Wait(Some(until)) = breaker.leave(0) else { panic!("it is closed") };
        assert!((1..=2).contains(&until));
        assert_eq!(breaker.leave(until), Leave::Try);
        breaker.succeeded();
        assert_eq!(breaker.leave(until), Leave::Ask);
    }

    #[test]
    fn five_failures_in_a_minute_open_it_whatever_succeeds_in_between() {
        let mut breaker = Breaker::new(7);
        for now in [0, 10, 20, 30] {
            breaker.failed(now);
            breaker.succeeded();
            assert_eq!(breaker.leave(now), Leave::Ask);
        }
        breaker.failed(40);
        assert!(matches!(breaker.leave(40), Leave::Wait(Some(_))));
        let mut slow = Breaker::new(7);
        for now in [0, 30, 60, 90, 120, 150] {
            slow.failed(now);
            slow.succeeded();
        }
        assert_eq!(slow.leave(150), Leave::Ask);
    }

    #[test]
    fn pauses_grow_are_bounded_and_end_in_giving_up() {
        let mut breaker = Breaker::new(1);
        let mut now = 0;
        (0..IN_A_ROW).for_each(|_| breaker.failed(now));
        for opening in 1..=OPENINGS {
            let Leave::Wait(Some(until)) = breaker.leave(now) else { panic!("not open at {now}") };
            assert!((1..=1 << opening).contains(&(until - now)));
            now = until;
            assert_eq!(breaker.leave(now), Leave::Try);
            breaker.failed(now);
        }
        assert_eq!(breaker.leave(now + 1_000_000), Leave::Wait(None));
        breaker.succeeded();
        assert_eq!(breaker.leave(now), Leave::Wait(None), "only a new plugin helps");
    }
}
