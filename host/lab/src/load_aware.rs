//! Weights from what IPVS counts already: the reference that a plugin can be compared with.
//!
//! By Little's law the mean time that a connection spends at an endpoint is W = L / λ: the connections that are there
//! over those that begin per second. Each node knows both from its own counters. An endpoint gets a weight in inverse
//! proportion to W, for `wrr`.
//!
//! Three rules keep this safe. Weights are computed anew from W and never adjusted step by step, because a queue shows
//! its length late and steps would swing. An endpoint that answers at once, because it fails, has a tiny W and is held
//! below a multiple of the median. What has few connections is counted as average.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use weir_core::state::{SchedulerFlags, Scheduling};

use crate::weights::{Arrangement, Seen, Weights};

/// The constants of the formula.
#[derive(Clone, Debug, PartialEq)]
pub struct Constants {
    /// How often weights are computed; more than 0.
    pub period: Duration,
    /// What remains of the sums after a second, from 0 to below 1: 0.95 remembers about 20 seconds.
    pub memory: f64,
    /// So many connections of average length are added to each endpoint, at least 0.
    pub prior: f64,
    /// The largest weight as a multiple of the median, at least 1.
    pub cap: f64,
    /// The smallest weight as a multiple of the median, above 0 and at most 1.
    pub floor: f64,
    /// A weight is programmed if it differs by more than this part of the present one, at least 0.
    pub dead_band: f64,
    /// The average weight, at least 1. Small weights let `wrr` alternate; large ones make it send long runs to the fast.
    pub scale: f64,
    /// With fewer remembered connections than this to all endpoints together, weights stay as they are.
    pub quiet: f64,
}

impl Default for Constants {
    fn default() -> Constants {
        Constants {
            period: Duration::from_secs(1),
            memory: 0.95,
            prior: 3.0,
            cap: 1.5,
            floor: 0.05,
            dead_band: 0.10,
            scale: 100.0,
            quiet: 20.0,
        }
    }
}

/// What is remembered of one endpoint.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Decayed sum of active connections over time, in seconds.
    time: f64,
    /// Decayed sum of connections begun.
    connections: f64,
    begun: u64,
    since: Duration,
    weight: u16,
}

/// The weights of one service on one node.
#[derive(Clone, Debug)]
pub struct LoadAware {
    constants: Constants,
    endpoints: BTreeMap<SocketAddr, Memory>,
}

impl LoadAware {
    /// Nothing was seen yet.
    pub fn new(constants: Constants) -> LoadAware {
        LoadAware { constants, endpoints: BTreeMap::new() }
    }

    /// The weights of these endpoints, in their order, from what was counted until now; `elapsed` is the time since the
    /// last call. What is not in the list any more is forgotten.
    pub fn weigh(&mut self, elapsed: Duration, endpoints: &[(SocketAddr, Seen)]) -> Vec<u16> {
        self.endpoints.retain(|address, _| endpoints.iter().any(|(other, _)| other == address));
        for (address, seen) in endpoints {
            self.note(*address, elapsed.as_secs_f64(), *seen);
        }
        let wanted = self.wanted();
        for (memory, wanted) in self.endpoints.values_mut().zip(wanted) {
            let now = f64::from(memory.weight);
            if (wanted - now).abs() > self.constants.dead_band * now {
                memory.weight = (wanted.round() as u16).max(1);
            }
        }
        endpoints.iter().map(|(address, _)| self.endpoints[address].weight).collect()
    }

    /// Adds what was counted since the last call. The first look at a counter says nothing: connections may have begun
    /// long before.
    fn note(&mut self, address: SocketAddr, seconds: f64, seen: Seen) {
        let start = Memory {
            time: 0.0,
            connections: 0.0,
            begun: seen.begun,
            since: seen.since,
            weight: self.constants.scale.round() as u16,
        };
        let memory = self.endpoints.entry(address).or_insert(start);
        if seen.since != memory.since || seen.begun < memory.begun {
            *memory = Memory { weight: memory.weight, ..start };
            return;
        }
        let keep = self.constants.memory.powf(seconds);
        memory.time = keep * memory.time + f64::from(seen.active) * seconds;
        memory.connections = keep * memory.connections + (seen.begun - memory.begun) as f64;
        memory.begun = seen.begun;
    }

    /// The weights that follow from the sums, of an average of `scale`; the present ones if too little was seen.
    fn wanted(&self) -> Vec<f64> {
        let Constants { prior, cap, floor, scale, quiet, .. } = self.constants;
        let time: f64 = self.endpoints.values().map(|memory| memory.time).sum();
        let connections: f64 = self.endpoints.values().map(|memory| memory.connections).sum();
        if connections < quiet || time <= 0.0 {
            return self.endpoints.values().map(|memory| f64::from(memory.weight)).collect();
        }
        let average = time / connections;
        let speed = |memory: &Memory| {
            average * (memory.connections + prior) / (memory.time + prior * average).max(f64::MIN_POSITIVE)
        };
        let speeds: Vec<f64> = self.endpoints.values().map(speed).collect();
        let mut sorted = speeds.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let clamped: Vec<f64> = speeds.iter().map(|s| s.clamp(floor * median, cap * median)).collect();
        let mean = clamped.iter().sum::<f64>() / clamped.len() as f64;
        clamped.iter().map(|weight| weight * scale / mean).collect()
    }
}

/// Load-aware weights on top of another policy's arrangement: its weights are multiplied, so that what it takes out
/// stays out. A service with session affinity is left as it is: there a client's endpoint is not chosen anew.
pub struct OnTop<W> {
    base: W,
    constants: Constants,
    addresses: Vec<SocketAddr>,
    /// By client node: its state, and when it was asked last.
    nodes: BTreeMap<usize, (LoadAware, Duration)>,
}

impl<W: Weights> OnTop<W> {
    /// On top of `base`, for endpoints with these addresses.
    pub fn new(base: W, constants: Constants, addresses: Vec<SocketAddr>) -> OnTop<W> {
        OnTop { base, constants, addresses, nodes: BTreeMap::new() }
    }
}

impl<W: Weights> Weights for OnTop<W> {
    fn arrange(&mut self, node: usize, now: Duration, seen: &[Option<Seen>]) -> Result<Arrangement, String> {
        let base = self.base.arrange(node, now, seen)?;
        if base.scheduling.persistence.is_some() {
            return Ok(base);
        }
        let fresh = || (LoadAware::new(self.constants.clone()), Duration::ZERO);
        let (state, last) = self.nodes.entry(node).or_insert_with(fresh);
        let open = |endpoint: &usize| base.weights[*endpoint].is_some_and(|weight| weight > 0);
        let open: Vec<usize> = (0..seen.len()).filter(open).collect();
        let nothing = Seen { active: 0, inactive: 0, begun: 0, since: now };
        let counted: Vec<_> =
            open.iter().map(|i| (self.addresses[*i], seen[*i].unwrap_or(nothing))).collect();
        let factors = state.weigh(now.saturating_sub(*last), &counted);
        *last = now;
        let mut weights = base.weights;
        for (endpoint, factor) in open.into_iter().zip(factors) {
            weights[endpoint] = weights[endpoint].map(|weight| weight.saturating_mul(factor));
        }
        // From the start, because a change of the scheduler costs new connections.
        let scheduling =
            Scheduling { scheduler: "wrr".to_owned(), flags: SchedulerFlags::default(), persistence: None };
        Ok(Arrangement { scheduling, weights })
    }

    fn period(&self) -> Option<Duration> {
        let periods = [Some(self.constants.period), self.base.period()];
        periods.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
