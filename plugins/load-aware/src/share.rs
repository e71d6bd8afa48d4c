//! From counts to weights.
//!
//! `W = (A + p·W0) / (C + p)`, the time that a connection takes: active connections × time by connections begun, with `p`
//! connections of the mean time W0 added, so that little traffic moves little. The share is W0 / W: in proportion, because
//! weights that add up corrections oscillate, since a queue's latency lags behind.
//!
//! Only +, −, × and ÷ of floating-point numbers: a component and a native test agree to the last bit.

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::{Port, ServerStatistics};

/// How counts become weights.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Connections of the mean time that are added to those of each endpoint.
    prior: f64,
    /// The most and the least of a share, in percent of the median.
    cap: f64,
    floor: f64,
    /// Changes of up to so many percent of a weight are not made.
    dead_band: f64,
    /// Connections of a port below which nothing is concluded.
    pub(crate) least: u64,
    /// The mean weight.
    scale: f64,
}

impl Shares {
    /// Takes the fields of the configuration.
    pub(crate) fn take(fields: &mut Fields) -> Shares {
        let mut number = |key: &str, default: u32, range: std::ops::RangeInclusive<u32>| {
            let number = fields.text(key).unwrap_or(default);
            if !range.contains(&number) {
                let (least, most) = range.into_inner();
                fields.problem(key, format!("is {number}: write a number from {least} to {most}"));
            }
            number
        };
        Shares {
            prior: number("prior-connections", 3, 1..=1000).into(),
            cap: number("cap-percent", 150, 100..=1000).into(),
            floor: number("floor-percent", 5, 1..=100).into(),
            dead_band: number("dead-band-percent", 10, 0..=50).into(),
            least: number("min-connections", 20, 1..=100_000).into(),
            // Small: with large weights the kernel's `wrr` sends long runs to the fast endpoints alone.
            scale: number("scale", 4, 1..=1000).into(),
        }
    }

    /// A weight for each endpoint.
    pub(crate) fn weights(&self, port: &Port, before: &[u16], measured: &Measured) -> Vec<u16> {
        let shares = self.shares(measured);
        let used: Vec<f64> = measured
            .used
            .iter()
            .zip(before)
            .filter(|(used, _)| **used)
            .map(|(_, weight)| f64::from(*weight))
            .collect();
        // What earlier plugins said, such that it is 1 on average.
        let mean = used.iter().sum::<f64>() / used.len().max(1) as f64;
        let weight = |index: usize| match before[index] {
            0 => 0,
            _ if !measured.used[index] => self.scale as u16,
            before => {
                let wanted = f64::from(before) / mean * self.scale * shares[index];
                let present = port.statistics.get(index).map_or(0, |counts| counts.weight);
                self.settled(wanted, present)
            }
        };
        (0..port.endpoints.len()).map(weight).collect()
    }

    /// The present weight if the wanted one is near it. Compared before it is rounded: small weights would flicker otherwise.
    fn settled(&self, wanted: f64, present: u32) -> u16 {
        match u16::try_from(present) {
            Ok(present)
                if present > 0
                    && (wanted - f64::from(present)).abs() * 100.0 <= self.dead_band * f64::from(present) =>
            {
                present
            }
            _ => wanted.round().clamp(1.0, f64::from(u16::MAX)) as u16,
        }
    }

    /// The share of each endpoint, 1 on average.
    fn shares(&self, measured: &Measured) -> Vec<f64> {
        let mean = match measured.mean {
            Some(mean) if measured.connections >= self.least as f64 => mean,
            _ => return vec![1.0; measured.used.len()],
        };
        let share = |counts: &(f64, f64)| mean / self.time(counts, mean);
        let shares: Vec<f64> = measured.counts.iter().map(share).collect();
        let mut sorted: Vec<f64> =
            shares.iter().zip(&measured.used).filter(|(_, used)| **used).map(|(share, _)| *share).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(1.0);
        let (floor, cap) = (median * self.floor / 100.0, median * self.cap / 100.0);
        let shares: Vec<f64> = shares.into_iter().map(|share| share.clamp(floor, cap)).collect();
        // One that hangs lengthens the mean time, which must not raise the weights of all others.
        let sum: f64 =
            shares.iter().zip(&measured.used).filter(|(_, used)| **used).map(|(share, _)| share).sum();
        shares.into_iter().map(|share| share * sorted.len() as f64 / sum).collect()
    }

    /// How many milliseconds a connection takes.
    pub(crate) fn time(&self, (connections, active): &(f64, f64), mean: f64) -> f64 {
        (active + self.prior * mean) / (connections + self.prior)
    }
}

/// What was counted of a port lately.
pub(crate) struct Measured {
    /// Whether a VIP uses the endpoint and it may take connections.
    pub(crate) used: Vec<bool>,
    /// Connections begun, and active connections × milliseconds, of each endpoint.
    pub(crate) counts: Vec<(f64, f64)>,
    /// Connections begun of all that are used.
    pub(crate) connections: f64,
    /// The mean time in milliseconds; `None` if there were no connections or none took any time.
    pub(crate) mean: Option<f64>,
}

impl Measured {
    /// What was counted of a port whose endpoints have these weights from earlier plugins.
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
}
