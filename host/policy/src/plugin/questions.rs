//! What is asked in one round, and what comes of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bindings::types;
use crate::call::CallFailure;
use crate::hook::Hook;
use crate::lower::Lowering;
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

/// What is asked in one round.
pub(super) struct Questions<H: Hook> {
    pub(super) context: types::Context,
    /// What has taken in the context, and takes in a request to make the key that its answer is remembered by.
    pub(super) keys: DefaultHasher,
    /// When there is no time left in this round, and the time for one call.
    pub(super) end: Instant,
    pub(super) call: Duration,
    /// The requests that no memory answers, and of each the index of the item that it is about and its key.
    pub(super) requests: Vec<H::Request>,
    pub(super) open: Vec<(usize, u64)>,
}

impl<H: Hook> Questions<H> {
    pub(super) fn key(&self, request: &H::Request) -> u64 {
        let mut hasher = self.keys.clone();
        request.hash(&mut hasher);
        hasher.finish()
    }

    /// The time that the next call may take.
    pub(super) fn time(&self) -> Option<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left.min(self.call))
    }

    /// Tells the context of the zones that requests refer to.
    pub(super) fn learn_zones(&mut self, lowering: &Lowering<'_>) {
        let known = self.context.zones.len();
        self.context.zones.extend_from_slice(&lowering.zones()[known..]);
    }
}
