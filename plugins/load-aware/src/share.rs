//! Turns counts into weights.
//!
//! `W = (A + p·W0) / (C + p)` is the time that a connection to an endpoint takes: `A` is active connections × time, and
//! `C` the number of new connections. `p` connections of the mean time `W0` are added, so that little traffic changes
//! weights little. The share is W0 / W. It is proportional, because accumulated corrections would oscillate: a queue's
//! latency lags behind.
//!
//! While the times differ by no more than chance explains, the weights of earlier plugins stay: noise would otherwise
//! move weights, and each change makes the kernel's `wrr` start at the head of its list again.
//!
//! Floating-point code uses only +, −, × and ÷, so that a component and a native test agree to the last bit.

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::{Port, ServerStatistics};

/// Weights start to differ when the times differ from their mean by this many standard errors, as a root mean square
/// over the endpoints. Weights become equal again below a third of this: with equal weights a slow endpoint becomes
/// much slower, so a single threshold would switch back and forth.
const SIGNIFICANT: f64 = 1.5;

/// The rules that turn counts into weights.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Milliseconds between two samples.
    period: f64,
    /// Connections of mean duration that are added to those of each endpoint.
    prior: f64,
    /// The largest and the smallest share, as a percentage of the median.
    cap: f64,
    floor: f64,
    /// Changes of a weight up to this percentage are not made.
    dead_band: f64,
    /// The number of connections of a port below which weights stay equal.
    pub(crate) least: u64,
    /// The mean weight, unless the weights of earlier plugins differ too much for this mean.
    scale: f64,
}

impl Shares {
    /// Reads the fields of the configuration; `period` is the time between two samples in seconds.
    pub(crate) fn take(fields: &mut Fields, period: u64) -> Shares {
        let mut number = |key: &str, default: u32, range: std::ops::RangeInclusive<u32>| {
            let number = fields.text(key).unwrap_or(default);
            if !range.contains(&number) {
                let (least, most) = range.into_inner();
                fields.problem(key, format!("is {number}: write a whole number from {least} to {most}"));
            }
            number
        };
        Shares {
            period: period as f64 * 1000.0,
            prior: number("prior-connections", 3, 1..=1000).into(),
            cap: number("cap-percent", 150, 100..=1000).into(),
            floor: number("floor-percent", 5, 1..=100).into(),
            dead_band: number("dead-band-percent", 10, 0..=50).into(),
            least: number("min-connections", 20, 1..=100_000).into(),
            // Small: with large weights the kernel's `wrr` sends long runs to the fast endpoints only.
            scale: number("scale", 4, 1..=1000).into(),
        }
    }

    /// Returns a weight for each endpoint, and whether the weights depend on measured times.
    pub(crate) fn weights(&self, port: &Port, before: &[u16], measured: &Measured) -> (Vec<u16>, bool) {
        // The weights of earlier plugins, scaled.
        let (mean, scale) = self.scale(before, measured);
        let wanted = |index: usize, share: f64| f64::from(before[index]) / mean * scale * share;
        let present = |index: usize| port.statistics.get(index).map_or(0, |counts| counts.weight);
        let plain: Vec<u16> = (0..before.len())
            .map(|index| match before[index] {
                0 => 0,
                _ if !measured.used[index] => rounded(scale),
                _ => rounded(wanted(index, 1.0)),
            })
            .collect();
        let differs = |index: usize| present(index) != 0 && present(index) != u32::from(plain[index]);
        let bar = if measured.used().any(differs) { SIGNIFICANT / 3.0 } else { SIGNIFICANT };
        let Some(shares) = self.shares(measured, bar) else { return (plain, false) };
        let mut weights = plain;
        for index in measured.used() {
            weights[index] = self.settled(wanted(index, shares[index]), present(index));
        }
        (weights, true)
    }

    /// Returns the mean weight that earlier plugins gave, and the mean weight to give: `scale`, doubled until the
    /// smallest weight is at least 1 without rounding up. Because of the doubling, a weight that an earlier plugin
    /// raises slowly does not change all others each time.
    fn scale(&self, before: &[u16], measured: &Measured) -> (f64, f64) {
        let used = || measured.used().map(|index| f64::from(before[index]));
        let mean = used().sum::<f64>() / used().count().max(1) as f64;
        let least = used().fold(mean, f64::min);
        let mut scale = self.scale;
        while least * scale < mean {
            scale *= 2.0;
        }
        (mean, scale)
    }

    /// Returns the present weight if the computed one is near it. Compares before rounding, because small weights
    /// would otherwise flicker.
    fn settled(&self, wanted: f64, present: u32) -> u16 {
        match u16::try_from(present) {
            Ok(present)
                if present > 0
                    && (wanted - f64::from(present)).abs() * 100.0 <= self.dead_band * f64::from(present) =>
            {
                present
            }
            _ => rounded(wanted),
        }
    }

    /// Returns the share of each endpoint, 1 on average; `None` if their times differ by less than `bar` standard
    /// errors.
    fn shares(&self, measured: &Measured, bar: f64) -> Option<Vec<f64>> {
        let mean = measured.mean.filter(|_| measured.connections >= self.least as f64)?;
        if self.difference(measured, mean) <= bar * bar {
            return None;
        }
        let share = |counts: &(f64, f64)| mean / self.time(counts, mean);
        let shares: Vec<f64> = measured.counts.iter().map(share).collect();
        let mut sorted: Vec<f64> = measured.used().map(|index| shares[index]).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(1.0);
        let (floor, cap) = (median * self.floor / 100.0, median * self.cap / 100.0);
        let shares: Vec<f64> = shares.into_iter().map(|share| share.clamp(floor, cap)).collect();
        // An endpoint that hangs raises the mean time, which must not raise the weights of all others.
        let sum: f64 = measured.used().map(|index| shares[index]).sum();
        Some(shares.into_iter().map(|share| share * sorted.len() as f64 / sum).collect())
    }

    /// Returns the squared distance of the endpoints' times from their mean, in standard errors, averaged over the
    /// endpoints.
    fn difference(&self, measured: &Measured, mean: f64) -> f64 {
        // The mean of C exponential times has a relative variance of 1/C. Sampling every `period` adds the variance of
        // the number of sampled connections, C·W/period, halved because older ones count less.
        let variance = 1.0 + self.period / (2.0 * mean);
        let square = |index: usize| {
            let counts = &measured.counts[index];
            let away = self.time(counts, mean) / mean - 1.0;
            away * away * (counts.0 + self.prior) / variance
        };
        measured.used().map(square).sum::<f64>() / measured.used().count().max(1) as f64
    }

    /// Returns the duration of a connection in milliseconds.
    pub(crate) fn time(&self, (connections, active): &(f64, f64), mean: f64) -> f64 {
        (active + self.prior * mean) / (connections + self.prior)
    }
}

/// Rounds to a weight that the kernel accepts.
fn rounded(weight: f64) -> u16 {
    weight.round().clamp(1.0, f64::from(u16::MAX)) as u16
}

/// Recent counts of a port.
pub(crate) struct Measured {
    /// Whether a VIP uses the endpoint and it may get connections.
    pub(crate) used: Vec<bool>,
    /// New connections, and active connections × milliseconds, of each endpoint.
    pub(crate) counts: Vec<(f64, f64)>,
    /// New connections of all used endpoints.
    pub(crate) connections: f64,
    /// The mean time in milliseconds; `None` without connections, or if none took any time.
    pub(crate) mean: Option<f64>,
}

impl Measured {
    /// Returns the counts of a port whose endpoints have these weights from earlier plugins.
    pub(crate) fn of(port: &Port, before: &[u16]) -> Measured {
        let used: Vec<bool> = port
            .endpoints
            .iter()
            .zip(before)
            .map(|(endpoint, weight)| endpoint.is_used() && *weight > 0)
            .collect();
        let lately = |counts: &ServerStatistics| {
            (counts.recent_connections as f64 / 1000.0, counts.recent_active_time as f64)
        };
        let counts: Vec<(f64, f64)> =
            (0..used.len()).map(|index| port.statistics.get(index).map_or((0.0, 0.0), lately)).collect();
        let all = counts.iter().zip(&used).filter(|(_, used)| **used).map(|(counts, _)| *counts);
        let (connections, active) = all.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let mean = (connections > 0.0 && active > 0.0).then(|| active / connections);
        Measured { used, counts, connections, mean }
    }

    /// Returns the indexes of the used endpoints.
    pub(crate) fn used(&self) -> impl Iterator<Item = usize> {
        (0..self.used.len()).filter(|index| self.used[*index])
    }
}
