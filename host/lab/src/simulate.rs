//! Virtual time: connections arrive at client nodes, are scheduled, wait, are processed, and end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::arrivals::{Arrival, Arrivals};
use crate::load::Load;
use crate::outcome::{Outcome, Slice};
use crate::scheduler::UnknownScheduler;
use crate::traffic::Change;
use crate::virtual_server::{ADDED_UP, CLOSED, RESET, VirtualServer};
use crate::weights::Weights;

mod endpoint;

use endpoint::{Endpoint, Request};

/// How long a refused connection is active: from the SYN to the RST.
const REFUSAL: Duration = Duration::from_micros(200);

/// Why a simulation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlayError {
    /// A plan uses a scheduler that cannot be simulated.
    #[error(transparent)]
    Scheduler(#[from] UnknownScheduler),
    /// The policy failed.
    #[error("{0}")]
    Policy(String),
}

/// A simulated event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A connection arrives.
    Arrive,
    /// An endpoint finishes a connection.
    Finish { endpoint: usize, node: usize, arrived: u64 },
    /// A refusal arrives at its node.
    Refused { endpoint: usize, node: usize },
    /// A node's IPVS forgets a closed connection.
    Forget { endpoint: usize, node: usize },
    /// A node's IPVS adds up its counters.
    AddUp { node: usize },
    /// A node's policy is called.
    Ask { node: usize },
    /// The number of a change in the endpoint's list.
    Change { endpoint: usize, change: usize },
    /// A slice of the timeline ends.
    Slice,
}

struct Play<'a> {
    load: &'a Load,
    policy: &'a mut dyn Weights,
    arrivals: Arrivals,
    /// The next connection, whose arrival is already scheduled.
    arrival: Option<Arrival>,
    now: u64,
    /// Earliest first; at the same time, in the order of scheduling.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    planned: u64,
    nodes: Vec<VirtualServer>,
    endpoints: Vec<Endpoint>,
    outcome: Outcome,
    /// Connections by endpoint in the current slice.
    slice: Vec<u64>,
    /// Latencies that ended in the current slice.
    slice_latencies: Vec<u64>,
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// Simulates a load against a policy. The same seed gives the same connections, whatever the policy does with them.
///
/// # Errors
/// See [`PlayError`].
pub fn play(load: &Load, policy: &mut dyn Weights, seed: u64) -> Result<Outcome, PlayError> {
    let mut nodes = Vec::new();
    let nothing = vec![None; load.addresses.len()];
    for node in 0..load.nodes {
        let arrangement = policy.arrange(node, Duration::ZERO, &nothing).map_err(PlayError::Policy)?;
        nodes.push(VirtualServer::new(&arrangement, &load.addresses)?);
    }
    let mut play = Play {
        load,
        policy,
        arrivals: Arrivals::new(load, seed),
        arrival: None,
        now: 0,
        events: BinaryHeap::new(),
        planned: 0,
        nodes,
        endpoints: load.behaviours.iter().map(Endpoint::new).collect(),
        outcome: Outcome::new(load.addresses.len(), seed),
        slice: vec![0; load.addresses.len()],
        slice_latencies: Vec::new(),
    };
    play.run()?;
    Ok(play.outcome)
}

impl Play<'_> {
    fn plan(&mut self, after: u64, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((self.now.saturating_add(after), self.planned, event)));
    }

    fn run(&mut self) -> Result<(), PlayError> {
        let end = nanos(self.load.warm_up + self.load.duration);
        self.plan(0, Event::Slice);
        for (endpoint, behaviour) in self.load.behaviours.iter().enumerate() {
            for (change, Change { at, .. }) in behaviour.changes.iter().enumerate() {
                self.plan(nanos(*at), Event::Change { endpoint, change });
            }
        }
        if let Some(period) = self.policy.period() {
            // Nodes do not start together, so they do not call their policies together.
            for node in 0..self.nodes.len() {
                let share = (node + 1) as f64 / self.nodes.len() as f64;
                self.plan(nanos(period.mul_f64(share)), Event::Ask { node });
                // At a different moment on each node than its policy's.
                self.plan(nanos(ADDED_UP.mul_f64(1.0 - share / 2.0)), Event::AddUp { node });
            }
        }
        self.plan_arrival();
        while self.events.peek().is_some_and(|Reverse((time, _, _))| *time <= end) {
            let Some(Reverse((time, _, event))) = self.events.pop() else { break };
            self.now = time;
            self.happen(event)?;
        }
        if self.now < end || self.outcome.timeline.is_empty() {
            self.now = end;
            self.end_slice();
        }
        self.count_waiting();
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), PlayError> {
        match event {
            Event::Arrive => {
                let arrival = self.arrival.take();
                self.plan_arrival();
                if let Some(arrival) = arrival {
                    self.arrive(arrival);
                }
            }
            Event::Finish { endpoint, node, arrived } => {
                self.note_latency(arrived);
                self.close(node, endpoint, CLOSED);
                if let Some(next) = self.endpoints[endpoint].finish() {
                    self.start(endpoint, next);
                }
            }
            Event::Refused { endpoint, node } => self.close(node, endpoint, RESET),
            Event::Forget { endpoint, node } => self.nodes[node].forget(endpoint),
            Event::AddUp { node } => {
                self.nodes[node].add_up();
                self.plan(nanos(ADDED_UP), Event::AddUp { node });
            }
            Event::Ask { node } => self.ask(node)?,
            Event::Change { endpoint, change } => {
                let change = self.load.behaviours[endpoint].changes[change];
                self.endpoints[endpoint].change(change);
            }
            Event::Slice => {
                if self.now > 0 {
                    self.end_slice();
                }
                self.plan(nanos(self.load.slice_length()), Event::Slice);
            }
        }
        Ok(())
    }

    fn plan_arrival(&mut self) {
        self.arrival = self.arrivals.next();
        if let Some(Arrival { at, .. }) = self.arrival {
            self.plan(at - self.now, Event::Arrive);
        }
    }

    fn arrive(&mut self, Arrival { node, client, work, .. }: Arrival) {
        let measured = self.is_measured(self.now);
        let Some(endpoint) = self.nodes[node].connect(client) else {
            self.outcome.failed += u64::from(measured);
            return;
        };
        self.slice[endpoint] += 1;
        if measured {
            self.outcome.connections[endpoint] += 1;
        }
        let request = Request { arrived: self.now, node, work };
        match self.endpoints[endpoint].accept(request) {
            endpoint::Answer::Starts => self.start(endpoint, request),
            endpoint::Answer::Waits => {}
            endpoint::Answer::Refuses => {
                self.outcome.failed += u64::from(measured);
                self.plan(nanos(REFUSAL), Event::Refused { endpoint, node });
            }
        }
    }

    fn start(&mut self, endpoint: usize, request: Request) {
        let time = self.endpoints[endpoint].time(request.work);
        let (node, arrived) = (request.node, request.arrived);
        self.plan(time, Event::Finish { endpoint, node, arrived });
    }

    fn close(&mut self, node: usize, endpoint: usize, inactive: Duration) {
        self.nodes[node].close(endpoint);
        self.plan(nanos(inactive), Event::Forget { endpoint, node });
    }

    fn ask(&mut self, node: usize) -> Result<(), PlayError> {
        let seen = self.nodes[node].seen();
        let now = Duration::from_nanos(self.now);
        let arrangement = self.policy.arrange(node, now, &seen).map_err(PlayError::Policy)?;
        self.nodes[node].arrange(&arrangement, &self.load.addresses)?;
        if let Some(period) = self.policy.period() {
            self.plan(nanos(period).max(1), Event::Ask { node });
        }
        Ok(())
    }

    fn is_measured(&self, arrived: u64) -> bool {
        arrived >= nanos(self.load.warm_up)
    }

    /// Notes a latency, from the client's attempt to connect to the end of the answer.
    fn note_latency(&mut self, arrived: u64) {
        let latency = self.now - arrived;
        self.slice_latencies.push(latency);
        if self.is_measured(arrived) {
            self.outcome.latencies.push(latency);
        }
    }

    /// Connections still waiting at the end count with their age; otherwise an overload would look fast.
    fn count_waiting(&mut self) {
        let mut waiting: Vec<u64> =
            self.endpoints.iter().flat_map(Endpoint::waiting).map(|request| request.arrived).collect();
        let running = self.events.drain().filter_map(|Reverse((_, _, event))| match event {
            Event::Finish { arrived, .. } => Some(arrived),
            _ => None,
        });
        waiting.extend(running);
        waiting.into_iter().for_each(|arrived| self.note_latency(arrived));
        self.outcome.latencies.sort_unstable();
    }

    fn end_slice(&mut self) {
        let endpoints = 0..self.load.addresses.len();
        let mean = |endpoint| {
            let weights = || self.nodes.iter().filter_map(|node| node.weight(endpoint)).map(f64::from);
            (weights().count() > 0).then(|| weights().sum::<f64>() / weights().count() as f64)
        };
        let mut latencies = std::mem::take(&mut self.slice_latencies);
        latencies.sort_unstable();
        let slice = Slice {
            until: Duration::from_nanos(self.now),
            weights: endpoints.map(mean).collect(),
            connections: std::mem::replace(&mut self.slice, vec![0; self.load.addresses.len()]),
            p99: crate::outcome::percentile(&latencies, 0.99),
        };
        self.outcome.timeline.push(slice);
    }
}

#[cfg(test)]
mod tests;
