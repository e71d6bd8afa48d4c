//! A pod: some workers and a queue.

use std::collections::VecDeque;

use crate::traffic::{Change, Group};

/// A connection in progress.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Request {
    /// When the client attempted to connect, in nanoseconds.
    pub(super) arrived: u64,
    /// The client node.
    pub(super) node: usize,
    /// Its amount of work, exponential around 1.
    pub(super) work: f64,
}

/// How an endpoint responds to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A worker processes it.
    Starts,
    /// It waits: all workers are busy.
    Waits,
    /// It is refused.
    Refuses,
}

/// A pod.
#[derive(Debug)]
pub(super) struct Endpoint {
    behaviour: Group,
    room: usize,
    speed: f64,
    refuses: bool,
    busy: u32,
    queue: VecDeque<Request>,
}

impl Endpoint {
    pub(super) fn new(group: &Group) -> Endpoint {
        Endpoint {
            behaviour: group.clone(),
            room: group.queue.map_or(usize::MAX, |room| room as usize),
            speed: 1.0,
            refuses: group.refuses,
            busy: 0,
            queue: VecDeque::new(),
        }
    }

    pub(super) fn accept(&mut self, request: Request) -> Answer {
        if self.refuses {
            return Answer::Refuses;
        }
        if self.busy < self.behaviour.workers {
            self.busy += 1;
            return Answer::Starts;
        }
        if self.queue.len() >= self.room {
            return Answer::Refuses;
        }
        self.queue.push_back(request);
        Answer::Waits
    }

    /// A worker becomes free; returns the connection that it processes next.
    pub(super) fn finish(&mut self) -> Option<Request> {
        let next = self.queue.pop_front();
        if next.is_none() {
            self.busy -= 1;
        }
        next
    }

    /// How long this amount of work takes if it starts now, in nanoseconds.
    pub(super) fn time(&self, work: f64) -> u64 {
        self.behaviour.time_of(work, self.speed)
    }

    pub(super) fn change(&mut self, change: Change) {
        self.speed = change.speed.unwrap_or(self.speed);
        self.refuses = change.refuses.unwrap_or(self.refuses);
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Request> {
        self.queue.iter()
    }
}
