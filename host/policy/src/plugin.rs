//! One plugin of the chain: calls it no more than necessary, and falls back when it fails.

use std::hash::{DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use weir_core::objects::ObjectName;
use weir_core::policy::Surroundings;
use weir_core::view::ServiceView;

use crate::account::{Account, Condition};
use crate::artifact::Artifact;
use crate::breaker::{Breaker, Leave};
use crate::call::CallFailure;
use crate::configuration::{FailurePolicy, Interface, Mode};
use crate::hook::Hook;
use crate::lower::{Lowering, Renewal, Zones};
use crate::memo::Memo;
use crate::metrics::Tally;
use crate::patch::{Answer, FilterPatch, MasqueradePatch, Opinion, Patch, SchedulerPatch};
use crate::record::Record;

mod batch;
mod questions;

use batch::Asked;
pub(crate) use batch::BATCH;
pub(crate) use questions::Round;
use questions::{Failure, Lack, Questions, Reply};

/// A question that timed out is repeated after this many seconds: the machine may have been busy.
const RETRY_SLOW: u64 = 60;

/// The minimum and maximum lifetime that an answer may request, in seconds.
const LIFETIME: std::ops::RangeInclusive<u64> = 1..=86_400;

/// A plugin with its memory.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) artifact: Arc<Artifact>,
    zones: Zones,
    interfaces: Interfaces,
    memo: Memo,
    account: Account,
    tally: Tally,
    purity: Purity,
    keys: RandomState,
    /// Questions and answers since they were last taken; `None` = not recorded.
    pub(crate) records: Option<Vec<Record>>,
}

/// A plugin's state for each interface.
#[derive(Clone)]
pub(crate) struct Interfaces {
    pub(crate) filter: InterfaceState<FilterPatch>,
    pub(crate) scheduler: InterfaceState<SchedulerPatch>,
    pub(crate) masquerade: InterfaceState<MasqueradePatch>,
}

/// Whether a plugin is called through one interface: a scheduler that traps does not affect the filter.
#[derive(Clone)]
pub(crate) struct InterfaceState<H> {
    breaker: Breaker,
    /// Its last answer.
    last: Option<Arc<Answer<H>>>,
}

impl<H: Hook> InterfaceState<H> {
    fn new(seed: u64) -> InterfaceState<H> {
        InterfaceState { breaker: Breaker::new(seed ^ H::INTERFACE as u64), last: None }
    }
}

impl Interfaces {
    fn new(seed: u64) -> Interfaces {
        Interfaces {
            filter: InterfaceState::new(seed),
            scheduler: InterfaceState::new(seed),
            masquerade: InterfaceState::new(seed),
        }
    }
}

/// Whether a plugin was caught giving two different answers to the same question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purity {
    Assumed,
    /// Its answers are no longer remembered, so that at least all services get its current answers.
    Refuted,
}

/// A service with the answers about it so far.
pub(crate) struct Item<'a> {
    /// Its position among the services of a round until the round [turns](Round::turn).
    pub(crate) place: usize,
    pub(crate) view: &'a ServiceView,
    pub(crate) opinion: &'a Opinion,
}

impl Plugin {
    pub(crate) fn new(artifact: Arc<Artifact>, node: &str) -> Plugin {
        let mut seed = DefaultHasher::new();
        (node, artifact.facts().digest.0).hash(&mut seed);
        Plugin {
            tally: Tally::new(&artifact.facts().metrics),
            artifact,
            zones: Zones::default(),
            interfaces: Interfaces::new(seed.finish()),
            memo: Memo::default(),
            account: Account::default(),
            purity: Purity::Assumed,
            keys: RandomState::new(),
            records: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.artifact.configuration().name
    }

    pub(crate) fn has(&self, interface: Interface) -> bool {
        self.artifact.has(interface)
    }

    /// Prepares for questions about this many services.
    pub(crate) fn make_room(&mut self, services: usize) {
        self.memo.make_room(services);
    }

    /// Starts a round.
    pub(crate) fn begin<'a>(&mut self, around: &Surroundings<'a>) -> Round<'a> {
        if self.zones.renew() == Renewal::Done {
            self.memo.expire_all();
        }
        let lowering = Lowering::new(self.artifact.needs.clone(), std::mem::take(&mut self.zones), around);
        let limits = &self.artifact.configuration().limits;
        Round::new(lowering, self.keys.clone(), limits, around.now)
    }

    /// Ends a round.
    pub(crate) fn end(&mut self, round: Round<'_>) {
        self.zones = round.into_zones();
    }

    /// Asks about at most [`BATCH`] services, or uses remembered answers. Returns one reply per item, in order.
    pub(crate) fn ask<H: Hook>(&mut self, round: &mut Round<'_>, items: &[Item<'_>]) -> Vec<Reply<H>> {
        let mut questions = Questions::<H> { requests: Vec::new(), open: Vec::new() };
        let mut replies: Vec<Option<Reply<H>>> = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let prior = H::prior(item.opinion);
            let key = round.key(item.place, item.view, &prior);
            let known = self.recall::<H>(item.view, key, round.now);
            if known.is_some() {
                self.account.remembered += 1;
            } else if let Some(record) = round.take(item.place) {
                if questions.open.is_empty() {
                    questions.requests.reserve(items.len() - index);
                }
                questions.open.push((index, key));
                questions.requests.push(H::request(record, prior));
            }
            replies.push(known);
        }
        round.learn_zones();
        while !questions.open.is_empty() {
            self.ask_open(round, &mut questions, items, &mut replies);
        }
        // Every position was filled from memory or by an answer.
        let replies: Vec<Reply<H>> = replies.into_iter().flatten().collect();
        for (item, reply) in items.iter().zip(&replies) {
            let numbers = reply.answer.as_ref().map_or(&[][..], |answer| &answer.metrics);
            self.tally.set(H::INTERFACE, &item.view.service.name, numbers);
        }
        replies
    }

    fn recall<H: Hook>(&mut self, view: &ServiceView, key: u64, now: u64) -> Option<Reply<H>> {
        if self.purity == Purity::Refuted {
            return None;
        }
        let (outcome, expires) = self.memo.recall(&view.service.name, key, now)?;
        Some(match outcome {
            Ok(answer) => Reply { answer: Some(answer), failure: None, expires },
            Err(failure) => self.without::<H>(view, &Lack::Failed(failure), expires),
        })
    }

    /// Remembers the outcome of a question, and turns it into a reply.
    fn conclude<H: Hook>(&mut self, view: &ServiceView, key: u64, asked: Asked<H>, now: u64) -> Reply<H> {
        let service = &view.service.name;
        match asked {
            Ok(answer) => {
                let lifetime = answer
                    .lifetime
                    .map(|seconds| now + u64::from(seconds).clamp(*LIFETIME.start(), *LIFETIME.end()));
                self.tally.count(&answer.metrics);
                let reply = Reply { answer: Some(answer.clone()), failure: None, expires: lifetime };
                self.memo.remember(service, key, Ok(answer), lifetime);
                reply
            }
            Err(lack) => {
                let expires = self.retry_at::<H>(&lack, now);
                if let Lack::Failed(failure) = &lack
                    && !matches!(failure, CallFailure::Transient(_) | CallFailure::Permanent(_))
                {
                    self.memo.remember::<H>(service, key, Err(failure.clone()), expires);
                }
                self.without::<H>(view, &lack, expires)
            }
        }
    }

    fn retry_at<H: Hook>(&mut self, lack: &Lack, now: u64) -> Option<u64> {
        match lack {
            Lack::Failed(CallFailure::Deadline | CallFailure::Start) => Some(now + RETRY_SLOW),
            Lack::Failed(CallFailure::Transient(_)) => {
                match H::state(&mut self.interfaces).breaker.leave(now) {
                    Leave::Wait(until) => until,
                    Leave::Ask | Leave::Try => Some(now + 1),
                }
            }
            // The same question would fail again.
            Lack::Failed(_) => None,
            Lack::Suspended(until) => *until,
            Lack::Budget => Some(now + 1),
        }
    }

    /// The reply for a service about which the plugin has no answer.
    fn without<H: Hook>(&mut self, view: &ServiceView, lack: &Lack, expires: Option<u64>) -> Reply<H> {
        self.account.fallbacks += 1;
        let good = self.memo.last_good::<H>(&view.service.name).and_then(|answer| fitted(answer, view));
        let why = match lack {
            Lack::Failed(failure) => failure.to_string(),
            Lack::Suspended(Some(_)) => "it failed too often and is suspended for a while".to_owned(),
            Lack::Suspended(None) => {
                "it failed too often and is not called again until the plugin or its configuration changes"
                    .to_owned()
            }
            Lack::Budget => "there was no time left to call it (`limits.syncBudget`)".to_owned(),
        };
        let (answer, instead, skip) = match (self.artifact.configuration().failure_policy, good) {
            (FailurePolicy::LastGood, Some(good)) => {
                (Some(good), "its last good answer stays in force", false)
            }
            (FailurePolicy::LastGood, None) => {
                (None, "it has no last good answer, so it is not applied", false)
            }
            (FailurePolicy::Default, _) => (None, "it is not applied", false),
            (FailurePolicy::SkipService, _) => (None, "the service is ignored", true),
        };
        let instead = match self.artifact.configuration().mode {
            Mode::Enforce => instead,
            Mode::Shadow => "it runs in shadow mode, so nothing changes",
        };
        let text = format!("plugin {}, {}: {why}; {instead}", self.name(), H::INTERFACE);
        Reply { answer, failure: Some(Failure { text, skip }), expires }
    }

    /// What the plugin did and cost.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// The totals of its metrics, in the order of the declarations.
    pub(crate) fn totals(&self) -> Vec<u128> {
        self.tally.totals()
    }

    /// Records that the plugin is not called for a service, possibly only for a while.
    pub(crate) fn pass_over(&mut self, interface: Interface, service: &ObjectName) {
        self.tally.set(interface, service, &[]);
    }

    /// Whether it is being called now.
    pub(crate) fn condition(&self, now: u64) -> Condition {
        let Interfaces { filter, scheduler, masquerade } = &self.interfaces;
        let breakers = [&filter.breaker, &scheduler.breaker, &masquerade.breaker];
        let condition = |breaker: &Breaker| match breaker.leave(now) {
            Leave::Ask | Leave::Try => Condition::Ready,
            Leave::Wait(Some(until)) => Condition::Suspended(until),
            Leave::Wait(None) => Condition::GivenUp,
        };
        breakers.into_iter().map(condition).max().unwrap_or(Condition::Ready)
    }

    /// How many questions are known to make it fail.
    pub(crate) fn poisoned(&self) -> usize {
        self.memo.poisoned()
    }

    /// Forgets a deleted service.
    pub(crate) fn forget(&mut self, service: &ObjectName) {
        self.memo.forget(service);
        self.tally.forget(service);
    }

    /// The services it was called for.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.memo.services()
    }

    /// Keeps the last good answers of an earlier version, in case this one fails.
    pub(crate) fn inherit_good(&mut self, earlier: Plugin) {
        self.memo = earlier.memo;
        self.memo.expire_all();
    }

    /// Asks remembered questions again, one service per call, and returns the services whose answers differ: those
    /// answers depend on something outside the question. Answers with a lifetime are skipped, since they depend on
    /// time.
    pub(crate) fn audit<H: Hook>(&mut self, round: &mut Round<'_>, items: &[Item<'_>]) -> Vec<ObjectName> {
        if self.purity == Purity::Refuted
            || H::state(&mut self.interfaces).breaker.leave(round.now) != Leave::Ask
        {
            return Vec::new();
        }
        let time = self.artifact.configuration().limits.call_timeout;
        let mut changed = Vec::new();
        for Item { place, view, opinion } in items {
            let service = &view.service.name;
            let prior = H::prior(opinion);
            let key = round.key(*place, view, &prior);
            let Some((Ok(remembered), None)) = self.memo.recall::<H>(service, key, round.now) else {
                continue;
            };
            let Some(record) = round.take(*place) else { continue };
            round.learn_zones();
            let request = [H::request(record, prior)];
            match self.call::<H>(&round.context, &request, time).as_deref() {
                Ok([answer]) if H::parse(answer, view).as_ref() != Ok(&*remembered) => {
                    changed.push(service.clone());
                }
                _ => {}
            }
            let [request] = request;
            round.put(*place, H::service(request));
        }
        if !changed.is_empty() {
            self.account.impure += changed.len() as u64;
            self.purity = Purity::Refuted;
        }
        changed
    }
}

/// The part of an answer that still applies to a service that may have changed since.
fn fitted<P: Patch>(answer: Arc<Answer<P>>, view: &ServiceView) -> Option<Arc<Answer<P>>> {
    let Answer { patch, reason, lifetime, .. } = Arc::unwrap_or_clone(answer);
    // Its metrics described the service as it was then, and perhaps an earlier version declared them.
    Some(Arc::new(Answer { patch: patch.fitted(view)?, reason, lifetime, metrics: Box::default() }))
}
