//! How long to wait after a failure.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Waiting times that double from the first to the longest, as in client-go's reflector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// The longest wait, however many failures there were.
    pub most: Duration,
}

impl Default for Backoff {
    /// client-go, `tools/cache/reflector.go`: 800 ms doubled up to 30 s.
    fn default() -> Backoff {
        Backoff { first: Duration::from_millis(800), most: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The waiting time after this many failures in a row, without jitter.
    fn after(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.most)
    }

    /// The wait after this many failures in a row, up to twice as long, so that the nodes of a cluster do not
    /// reconnect all at once.
    pub(crate) fn jittered(&self, failures: u32) -> Duration {
        let plain = self.after(failures);
        plain + plain.mul_f64(random_fraction())
    }
}

/// At least 0, below 1. The seed of the standard library's hash maps is random enough here.
pub(crate) fn random_fraction() -> f64 {
    let bits = RandomState::new().hash_one(0_u8);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let backoff = Backoff::default();
        let millis: Vec<u128> = (1..=8).map(|failures| backoff.after(failures).as_millis()).collect();
        assert_eq!(millis, [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(backoff.after(u32::MAX), backoff.most);
    }

    #[test]
    fn jitter_adds_up_to_as_much_again() {
        let backoff = Backoff::default();
        let waits: Vec<Duration> = (0..100).map(|_| backoff.jittered(1)).collect();
        assert!(waits.iter().all(|wait| (backoff.first..backoff.first * 2).contains(wait)));
        assert!(waits.iter().any(|wait| wait != &waits[0]));
    }
}
