//! Weights from what IPVS counts already: the reference that a plugin can be compared with.
//!
//! By Little's law the mean time that a connection spends at an endpoint is W = L / λ: the connections that are there
//! over those that begin per second. Each node knows both from its own counters. An endpoint gets a weight in inverse
//! proportion to W, for `wrr`.
//!
//! Three rules keep this safe. Weights are computed anew from W and never adjusted step by step, because a queue shows
//! its length late and steps would swing. An endpoint that answers at once, because it fails, has a tiny W and is held
//! below a multiple of the median. What has few connections is counted as average.
//!
//! Two more follow from how the kernel's `wrr` works. Weights are small numbers: with 67 and 133 it would send 66 passes in
//! a row to the fast half alone, and so overload it. And they do not change often: each change sends `wrr` back to the
//! beginning of its list, which favours what stands there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use weir_core::state::{SchedulerFlags, Scheduling};
use weir_k8s::config::parse_duration;

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
    /// The average weight, from 1 to 1,000. Large weights make `wrr` send long runs to the fast.
    pub scale: f64,
    /// With fewer remembered connections than this to all endpoints together, weights stay as they are.
    pub quiet: f64,
}

impl Default for Constants {
    fn default() -> Constants {
        Constants {
            period: Duration::from_secs(2),
            memory: 0.95,
            prior: 3.0,
            cap: 1.5,
            floor: 0.05,
            dead_band: 0.10,
            scale: 4.0,
            quiet: 20.0,
        }
    }
}

/// A constant that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstantError {
    /// There is no such constant.
    #[error(
        "there is no constant `{0}`; there are cap, dead-band, floor, memory, period, prior, quiet, scale"
    )]
    Unknown(String),
    /// The value is not one, or out of range.
    #[error("{name}: `{value}` must be {range}")]
    Value {
        /// The constant.
        name: String,
        /// What was written.
        value: String,
        /// What is allowed.
        range: &'static str,
    },
}

impl Constants {
    /// Sets a constant by its name, written with dashes, to a number or, for `period`, a duration as `2s`.
    ///
    /// # Errors
    /// If there is no such constant, or the value is out of range.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConstantError> {
        let wrong = |range| ConstantError::Value { name: name.to_owned(), value: value.to_owned(), range };
        if name == "period" {
            let period = parse_duration(value).filter(|period| !period.is_zero());
            self.period = period.ok_or_else(|| wrong("a duration of more than 0s"))?;
            return Ok(());
        }
        let (constant, allowed, range) = match name {
            "memory" => (&mut self.memory, 0.0..=0.999_9, "from 0 to 0.9999"),
            "prior" => (&mut self.prior, 0.0..=1e6, "from 0 to 1000000"),
            "cap" => (&mut self.cap, 1.0..=1000.0, "from 1 to 1000"),
            "floor" => (&mut self.floor, 0.001..=1.0, "from 0.001 to 1"),
            "dead-band" => (&mut self.dead_band, 0.0..=10.0, "from 0 to 10"),
            "scale" => (&mut self.scale, 1.0..=1000.0, "from 1 to 1000"),
            "quiet" => (&mut self.quiet, 0.0..=1e6, "from 0 to 1000000"),
            other => return Err(ConstantError::Unknown(other.to_owned())),
        };
        let number = value.parse().ok().filter(|number| allowed.contains(number));
        *constant = number.ok_or_else(|| wrong(range))?;
        Ok(())
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
