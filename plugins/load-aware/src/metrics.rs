//! The plugin's metrics.

use weir_plugin_sdk::{Metric, Port};

use crate::share::{Measured, Shares};

/// In the order of [`Numbers`].
pub(crate) const METRICS: [Metric; 4] = [
    Metric::sum("weighted_ports", "Ports whose weights follow the measured times."),
    Metric::sum("slow_endpoints", "Endpoints that take more than twice the mean time of their port."),
    Metric::max("slowest_percent", "Longest time of an endpoint, in percent of the mean time of its port."),
    Metric::counter("moved_weights", "Weights in answers that differed from the kernel's."),
];

/// The metrics of a service.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    weighted: u64,
    slow: u64,
    slowest: u64,
    moved: u64,
}

impl Numbers {
    /// Adds a port with its new weights, and whether they depend on measured times.
    pub(crate) fn add(
        &mut self,
        shares: &Shares,
        port: &Port,
        measured: &Measured,
        (weights, differ): &(Vec<u16>, bool),
    ) {
        let present = port.statistics.iter().map(|counts| counts.weight);
        self.moved +=
            weights.iter().zip(present).filter(|(new, old)| u32::from(**new) != *old).count() as u64;
        self.weighted += u64::from(*differ);
        let Some(mean) = measured.mean.filter(|_| measured.connections >= shares.least as f64) else {
            return;
        };
        let used = measured.counts.iter().zip(&measured.used).filter(|(_, used)| **used);
        for percent in used.map(|(counts, _)| shares.time(counts, mean) * 100.0 / mean) {
            self.slow += u64::from(percent > 200.0);
            self.slowest = self.slowest.max(percent.round() as u64);
        }
    }

    pub(crate) fn told(&self) -> [u64; METRICS.len()] {
        [self.weighted, self.slow, self.slowest, self.moved]
    }
}
