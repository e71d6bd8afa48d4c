//! The results of a load.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The results of one load, one policy and one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// From the client's attempt to connect to the end of the answer, in nanoseconds, sorted. Connections still
    /// unanswered at the end are included with their age; failed ones are not.
    pub latencies: Vec<u64>,
    /// Connections that were refused, or for which no endpoint was found.
    pub failed: u64,
    /// Connections by endpoint, refused ones included.
    pub connections: Vec<u64>,
    /// The course over time, including the warm-up.
    pub timeline: Vec<Slice>,
}

/// A slice of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Its end, since the start of the warm-up.
    pub until: Duration,
    /// The weight of each endpoint at its end, as the mean over the client nodes that have the endpoint.
    pub weights: Vec<Option<f64>>,
    /// Connections that started in it, by endpoint.
    pub connections: Vec<u64>,
    /// The 99th percentile of the latencies of connections that ended in it, in milliseconds.
    pub p99: Option<f64>,
}

impl Outcome {
    /// Results before anything happened.
    pub fn new(endpoints: usize, seed: u64) -> Outcome {
        Outcome {
            seed,
            latencies: Vec::new(),
            failed: 0,
            connections: vec![0; endpoints],
            timeline: Vec::new(),
        }
    }

    /// A percentile of the latencies in milliseconds; `part` is from 0 to 1. `None` if nothing was answered.
    pub fn percentile(&self, part: f64) -> Option<f64> {
        percentile(&self.latencies, part)
    }

    /// The share of the connections that each endpoint got, in percent.
    pub fn shares(&self) -> Vec<f64> {
        shares(&self.connections)
    }

    /// The difference between the largest and the smallest share, in percentage points.
    pub fn spread(&self) -> f64 {
        let shares = self.shares();
        let most = shares.iter().copied().fold(0.0, f64::max);
        most - shares.iter().copied().fold(most, f64::min)
    }

    /// Whether the weights of an endpoint changed.
    pub fn weights_move(&self) -> bool {
        self.timeline.windows(2).any(|pair| pair[0].weights != pair[1].weights)
    }
}

impl Slice {
    /// The share of the slice's connections that each endpoint got, in percent.
    pub fn shares(&self) -> Vec<f64> {
        shares(&self.connections)
    }
}

fn shares(connections: &[u64]) -> Vec<f64> {
    let all: u64 = connections.iter().sum();
    connections.iter().map(|count| 100.0 * *count as f64 / all.max(1) as f64).collect()
}

/// The median; of two middle values, the larger. `None` if there are no values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The value below which this part of sorted nanoseconds lies, in milliseconds.
pub fn percentile(sorted: &[u64], part: f64) -> Option<f64> {
    let index = (sorted.len() as f64 * part) as usize;
    let value = sorted.get(index.min(sorted.len().checked_sub(1)?))?;
    Some(*value as f64 / 1e6)
}
