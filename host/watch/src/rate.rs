//! A rate limit: a bucket of tokens. The time is an argument, so that tests need no clock.

use std::time::{Duration, Instant};

/// A sustained rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Per second, on average; zero or less means no limit.
    pub per_second: f64,
    /// The most at once, after a pause; at least one.
    pub burst: u32,
}

/// Tokens that refill over time.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    tokens: f64,
    since: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn full(rate: Rate, now: Instant) -> Bucket {
        Bucket { rate, tokens: f64::from(rate.burst.max(1)), since: now }
    }

    /// Takes a token, or returns the time until there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let Some(per_second) = Some(self.rate.per_second).filter(|rate| *rate > 0.0) else { return Ok(()) };
        let gained = now.saturating_duration_since(self.since).as_secs_f64() * per_second;
        self.tokens = (self.tokens + gained).min(f64::from(self.rate.burst.max(1)));
        self.since = self.since.max(now);
        if self.tokens < 1.0 {
            let missing = (1.0 - self.tokens) / per_second;
            return Err(Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX));
        }
        self.tokens -= 1.0;
        Ok(())
    }

    /// Whether the bucket has refilled completely.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.since).as_secs_f64() * self.rate.per_second;
        self.tokens + gained >= f64::from(self.rate.burst.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Rate { per_second: 2.0, burst: 3 }, start);
        assert!((0..3).all(|_| bucket.take(start).is_ok()));
        assert_eq!(bucket.take(start), Err(Duration::from_millis(500)));
        assert_eq!(bucket.take(start + Duration::from_millis(500)), Ok(()));
        assert!(bucket.take(start + Duration::from_millis(500)).is_err());
        assert!(!bucket.is_full(start + Duration::from_secs(1)));
        assert!(bucket.is_full(start + Duration::from_secs(3)));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Rate { per_second: 0.0, burst: 1 }, start);
        assert!((0..1000).all(|_| bucket.take(start).is_ok()));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_away() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let mut bucket = Bucket::full(Rate { per_second: 1.0, burst: 1 }, later);
        assert_eq!(bucket.take(later), Ok(()));
        assert!(bucket.take(start).is_err());
        assert!(bucket.take(later).is_err());
    }
}
