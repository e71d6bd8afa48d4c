//! What is asked in one round, and what comes of it.

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

/// What a plugin contributes to the decision about one service.
pub(crate) struct Reply<P> {
    /// Its answer, or what stands in for it; `None` = none.
    pub(crate) answer: Option<Arc<Answer<P>>>,
    /// Why it has no answer of its own.
    pub(crate) failure: Option<Failure>,
    /// When to ask again, in seconds since 1970.
    pub(crate) expires: Option<u64>,
}

/// A failure and what stands in.
pub(crate) struct Failure {
    pub(crate) text: String,
    /// Whether the service shall be left alone.
    pub(crate) skip: bool,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lack {
    Failed(CallFailure),
    /// The plugin is not asked for now.
    Suspended(Option<u64>),
    /// There was no time left to ask.
    Budget,
}

/// A plugin in one round: what is the same for everything that it is asked about.
pub(crate) struct Round<'a> {
    pub(super) context: types::Context,
    pub(super) now: u64,
    lowering: Lowering<'a>,
    /// What makes hashes of records, and what has taken in the context, to make keys of them.
    records: RandomState,
    keys: DefaultHasher,
    /// The longest time for one call, and what is left for all calls through each interface.
    call: Duration,
    left: [Duration; Interface::ALL.len()],
    /// The services that the plugin is asked about together, by their place among them.
    services: Vec<Option<Lowered>>,
}

/// A service as the plugin sees it: made once for all interfaces.
struct Lowered {
    hash: u64,
    /// Not here while it is part of a question.
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
        // Time that passes does not make an answer old; the answer's own lifetime does.
        let time = context.now.take();
        let mut keys = records.build_hasher();
        context.hash(&mut keys);
        context.now = time;
        let left = [limits.sync_budget; Interface::ALL.len()];
        Round { context, now, lowering, records, keys, call: limits.call_timeout, left, services: Vec::new() }
    }

    /// Goes on to other services.
    pub(crate) fn turn(&mut self) {
        self.services.clear();
    }

    pub(super) fn into_zones(self) -> Zones {
        self.lowering.into_zones()
    }

    /// The key that an answer about a service is remembered by.
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

    /// Takes the record of a service, after its key was made.
    pub(super) fn take(&mut self, place: usize) -> Option<types::Service> {
        self.services[place].as_mut()?.record.take()
    }

    /// Puts it back when its question was answered.
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

    /// A call through an interface took so long.
    pub(super) fn spend(&mut self, interface: Interface, time: Duration) {
        let left = &mut self.left[interface as usize];
        *left = left.saturating_sub(time);
    }

    /// Tells the context of the zones that records refer to.
    pub(super) fn learn_zones(&mut self) {
        let known = self.context.zones.len();
        self.context.zones.extend_from_slice(&self.lowering.zones()[known..]);
    }
}

/// Questions through one interface that no memory answers.
pub(super) struct Questions<H: Hook> {
    pub(super) requests: Vec<H::Request>,
    /// Of each the index of the item that it is about, and its key.
    pub(super) open: Vec<(usize, u64)>,
}
