//! What one arm gave at one load with one seed, as a line between the guest and the report.

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
    /// Connections that failed, by what was said.
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) outcome: Outcome,
}

/// What tells whether the machine could carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Arms that played at the same time.
    pub(crate) beside: usize,
    /// The idle part of the guest's processors while it was measured, in percent.
    pub(crate) idle: f64,
    /// 99th percentile of the time from the moment at which a client was meant to connect until a pod had its request;
    /// none if there was no request.
    pub(crate) late_requests_ms: Option<f64>,
    /// 99th percentile of the time from the moment at which an answer was meant to be given until the client had it.
    pub(crate) late_answers_ms: Option<f64>,
}

/// Below this idle part of the processors, a result says more of them than of what balances.
const LEAST_IDLE: f64 = 20.0;

/// More than this late is not a small part of what is measured: pods take 100 ms and more.
const MOST_LATE: f64 = 50.0;

impl Machine {
    /// Why the result does not count, if it does not.
    pub(crate) fn objection(&self) -> Option<String> {
        if self.idle < LEAST_IDLE {
            return Some(format!("not valid: the guest's processors were idle for {:.0} % only", self.idle));
        }
        match (self.late_requests_ms, self.late_answers_ms) {
            (Some(requests), Some(answers)) if requests.max(answers) <= MOST_LATE => None,
            (Some(requests), Some(answers)) => {
                Some(format!("not valid: one in a hundred was {:.0} ms late or more", requests.max(answers)))
            }
            _ => Some("not valid: nothing was answered".to_owned()),
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
        assert!(Machine { idle: 5.0, ..good }.objection().unwrap().contains("idle for 5 % only"));
        assert!(Machine { late_answers_ms: Some(90.0), ..good }.objection().unwrap().contains("90 ms late"));
        assert!(
            Machine { late_answers_ms: None, ..good }.objection().unwrap().contains("nothing was answered")
        );
    }
}
