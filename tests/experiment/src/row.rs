//! The result of one arm at one load with one seed, as a line passed from the guest to the report.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use weir_lab::outcome::Outcome;

/// A result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The name of the traffic file.
    pub(crate) traffic: String,
    pub(crate) arm: String,
    pub(crate) load: String,
    pub(crate) nodes: usize,
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) machine: Machine,
    /// Failed connections, by error.
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) outcome: Outcome,
}

/// Whether the machine could handle the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Number of arms running at the same time.
    pub(crate) beside: usize,
    /// Idle share of the guest's processors during the measurement, in percent.
    pub(crate) idle: f64,
    /// 99th percentile of the time from when a client was meant to connect until a pod had its request; none if
    /// there was no request.
    pub(crate) late_requests_ms: Option<f64>,
    /// 99th percentile of the time from when an answer was due until the client had it.
    pub(crate) late_answers_ms: Option<f64>,
}

/// If the processors are idle for less than this, a result says more about them than about balancing.
const LEAST_IDLE: f64 = 20.0;

/// Delays above this matter: pods take 100 ms and more.
const MOST_LATE: f64 = 50.0;

impl Machine {
    /// Why the result is not valid, if so.
    pub(crate) fn objection(&self) -> Option<String> {
        if self.idle < LEAST_IDLE {
            return Some(format!("not valid: the guest's processors were idle for only {:.0} %", self.idle));
        }
        match (self.late_requests_ms, self.late_answers_ms) {
            (Some(requests), Some(answers)) if requests.max(answers) <= MOST_LATE => None,
            (Some(requests), Some(answers)) => {
                Some(format!("not valid: one in a hundred was at least {:.0} ms late", requests.max(answers)))
            }
            _ => Some("not valid: no request was answered".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_not_believed() {
        let good = Machine { beside: 1, idle: 60.0, late_requests_ms: Some(4.0), late_answers_ms: Some(5.0) };
        assert_eq!(good.objection(), None);
        assert!(Machine { idle: 5.0, ..good }.objection().unwrap().contains("idle for only 5 %"));
        assert!(Machine { late_answers_ms: Some(90.0), ..good }.objection().unwrap().contains("90 ms late"));
        assert!(
            Machine { late_answers_ms: None, ..good }
                .objection()
                .unwrap()
                .contains("no request was answered")
        );
    }
}
