//! The questions of one round, and their outcomes.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use weir_core::view::ServiceView;

use crate::bindings::types;
use crate::call::CallFailure;
use crate::configuration::{Interface, Limits};
use crate::hook::Hook;
use crate::lower::{Lowering, Zones};
use crate::patch::Answer;

/// A plugin's contribution to the decision about one service.
pub(crate) struct Reply<P> {
    /// Its answer, or the fallback; `None` = neither.
    pub(crate) answer: Option<Arc<Answer<P>>>,
    /// Why it has no answer.
    pub(crate) failure: Option<Failure>,
    /// When to call again, in seconds since 1970.
    pub(crate) expires: Option<u64>,
}

/// A failure and its fallback.
pub(crate) struct Failure {
    pub(crate) text: String,
    /// Whether the service must be ignored.
    pub(crate) skip: bool,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lack {
    Failed(CallFailure),
    /// The plugin is suspended.
    Suspended(Option<u64>),
    /// There was no time left for a call.
    Budget,
}

/// A plugin in one round: everything that is the same for all services.
pub(crate) struct Round<'a> {
    pub(super) context: types::Context,
    pub(super) now: u64,
    lowering: Lowering<'a>,
    /// `records` hashes the records of services, and `keys` has hashed the context: a key is formed from both.
    records: RandomState,
    keys: DefaultHasher,
    /// The time limit of one call, and the time left for all calls through each interface.
    call: Duration,
    left: [Duration; Interface::ALL.len()],
    /// The services that are passed to the plugin together, by position.
    services: Vec<Option<Lowered>>,
}

/// A service as the plugin sees it, built once for all interfaces.
struct Lowered {
    hash: u64,
    /// Absent while it is part of a question.
    record: Option<types::Service>,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        mut lowering: Lowering<'a>,
        records: RandomState,
        limits: &Limits,
        now: u64,
    ) -> Round<'a> {
        let mut context = lowering.context();
        // Passing time does not outdate an answer; its own lifetime does.
        let time = context.now.take();
        let mut keys = records.build_hasher();
        context.hash(&mut keys);
        context.now = time;
        let left = [limits.sync_budget; Interface::ALL.len()];
        Round { context, now, lowering, records, keys, call: limits.call_timeout, left, services: Vec::new() }
    }

    /// Moves on to other services.
    pub(crate) fn turn(&mut self) {
        self.services.clear();
    }

    pub(super) fn into_zones(self) -> Zones {
        self.lowering.into_zones()
    }

    /// The key under which an answer about a service is remembered.
    pub(super) fn key<P: Hash>(&mut self, place: usize, view: &ServiceView, prior: &P) -> u64 {
        if self.services.len() <= place {
            self.services.resize_with(place + 1, || None);
        }
        let lowered = self.services[place].get_or_insert_with(|| {
            let record = self.lowering.service(view);
            Lowered { hash: self.records.hash_one(&record), record: Some(record) }
        });
        let mut key = self.keys.clone();
        lowered.hash.hash(&mut key);
        prior.hash(&mut key);
        key.finish()
    }

    /// Takes the record of a service, after its key was computed.
    pub(super) fn take(&mut self, place: usize) -> Option<types::Service> {
        self.services[place].as_mut()?.record.take()
    }

    /// Puts the record back when its question was answered.
    pub(super) fn put(&mut self, place: usize, record: types::Service) {
        if let Some(lowered) = &mut self.services[place] {
            lowered.record = Some(record);
        }
    }

    /// The time that the next call through an interface may take.
    pub(super) fn time(&self, interface: Interface) -> Option<Duration> {
        let left = self.left[interface as usize];
        (!left.is_zero()).then_some(left.min(self.call))
    }

    /// Deducts the duration of a call through an interface.
    pub(super) fn spend(&mut self, interface: Interface, time: Duration) {
        let left = &mut self.left[interface as usize];
        *left = left.saturating_sub(time);
    }

    /// Adds the zones that records refer to to the context.
    pub(super) fn learn_zones(&mut self) {
        let known = self.context.zones.len();
        self.context.zones.extend_from_slice(&self.lowering.zones()[known..]);
    }
}

/// Questions through one interface that memory does not answer.
pub(super) struct Questions<H: Hook> {
    pub(super) requests: Vec<H::Request>,
    /// For each, the index of its item and its key.
    pub(super) open: Vec<(usize, u64)>,
}
