//! Counts of services and endpoints by state.

use std::ops::{AddAssign, SubAssign};

use crate::decision::{Decision, Handling};
use crate::view::ServiceView;

/// Services and endpoints by state, for one service or for a sum of services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All services known to this node.
    pub services: u32,
    /// Services that a policy makes this node ignore.
    pub ignored: u32,
    /// Other services that have ports, but no endpoint that is ready or still serves.
    pub without_endpoints: u32,
    /// Ready endpoints, counted once for each port and family of their service.
    pub ready: u32,
    /// Terminating endpoints that still serve.
    pub terminating: u32,
    /// All other endpoints.
    pub unready: u32,
}

impl Tally {
    /// The tally of one service that is handled according to this decision.
    pub fn of(view: &ServiceView, decision: &Decision) -> Tally {
        let mut tally = Tally { services: 1, ..Tally::default() };
        if matches!(decision.handling, Handling::Ignore(_)) {
            return Tally { ignored: 1, ..tally };
        }
        for endpoint in view.ports.iter().flat_map(|port| &port.endpoints) {
            let conditions = endpoint.conditions;
            *(match (conditions.ready, conditions.serving && conditions.terminating) {
                (true, _) => &mut tally.ready,
                (false, true) => &mut tally.terminating,
                (false, false) => &mut tally.unready,
            }) += 1;
        }
        let usable = tally.ready + tally.terminating > 0;
        tally.without_endpoints = u32::from(!view.ports.is_empty() && !usable);
        tally
    }

    fn zip(&mut self, other: Tally, change: impl Fn(&mut u32, u32)) {
        // Destructured so that a new field cannot be forgotten here.
        let Tally { services, ignored, without_endpoints, ready, terminating, unready } = other;
        change(&mut self.services, services);
        change(&mut self.ignored, ignored);
        change(&mut self.without_endpoints, without_endpoints);
        change(&mut self.ready, ready);
        change(&mut self.terminating, terminating);
        change(&mut self.unready, unready);
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.zip(other, |sum, more| *sum += more);
    }
}

impl SubAssign for Tally {
    fn sub_assign(&mut self, other: Tally) {
        self.zip(other, |sum, less| *sum -= less);
    }
}
