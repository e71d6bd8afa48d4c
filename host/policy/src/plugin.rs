//! One plugin of the chain: asks it no more than it must, and has something to say when it fails.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::configuration::{FailurePolicy, Interface, Mode};
use weir_core::objects::ObjectName;
use weir_core::policy::Surroundings;
use weir_core::view::ServiceView;

use crate::account::{Account, Condition};
use crate::answer::{Answer, Opinion};
use crate::artifact::Artifact;
use crate::bindings::{filter, masquerade, scheduler, types};
use crate::breaker::{Breaker, Leave};
use crate::call::{CallFailure, Called, Instance};
use crate::hook::{self, Hook};
use crate::lower::{Lowering, Renewal, Zones};
use crate::memo::Memo;
use crate::record::{Record, Recorded, record};

/// Services per call: enough to make the cost of an instance small, few enough to find a bad one quickly.
pub(crate) const BATCH: usize = 256;

/// Services in the first call after a pause.
const TRIAL: usize = 16;

/// Calls that may be spent on finding out which services of a batch fail the plugin. One takes 16.
const SEARCH: u32 = 64;

/// After so many seconds a question that took too long is asked again: the machine may have been busy.
const RETRY_SLOW: u64 = 60;

/// The shortest and the longest time that an answer may ask for until it is asked again, in seconds.
const LIFETIME: std::ops::RangeInclusive<u64> = 1..=86_400;

/// A plugin with its memory.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) artifact: Arc<Artifact>,
    zones: Zones,
    filter: Memo<filter::Verdict>,
    scheduler: Memo<scheduler::Schedule>,
    masquerade: Memo<masquerade::Treatments>,
    /// One per interface, in their order: a scheduler that traps says nothing about the filter.
    breakers: [Breaker; Interface::ALL.len()],
    account: Account,
    purity: Purity,
    keys: RandomState,
    /// What was asked and answered since somebody last took it; `None` = nobody wants to know.
    pub(crate) records: Option<Vec<Record>>,
}

/// Whether a plugin was caught answering the same question in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purity {
    Assumed,
    /// Its answers are not remembered any more, so that it at least follows its own mood everywhere alike.
    Refuted,
}

/// What a plugin contributes to the decision about one service.
pub(crate) struct Reply<A> {
    /// Its opinion, or what stands in for it; `None` = none.
    pub(crate) answer: Option<A>,
    /// Why it has no opinion of its own.
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
enum Lack {
    Failed(CallFailure),
    /// The plugin is not asked for now.
    Suspended(Option<u64>),
    /// There was no time left to ask.
    Budget,
}

/// Which memory belongs to an interface.
pub(crate) trait Remembers<H: Hook> {
    fn memo(&mut self) -> &mut Memo<H::Answer>;
}

impl Remembers<hook::Filter> for Plugin {
    fn memo(&mut self) -> &mut Memo<filter::Verdict> {
        &mut self.filter
    }
}

impl Remembers<hook::Scheduler> for Plugin {
    fn memo(&mut self) -> &mut Memo<scheduler::Schedule> {
        &mut self.scheduler
    }
}

impl Remembers<hook::Masquerade> for Plugin {
    fn memo(&mut self) -> &mut Memo<masquerade::Treatments> {
        &mut self.masquerade
    }
}

/// A service with what was said of it so far.
pub(crate) type Item<'a> = (&'a ServiceView, &'a Opinion);

/// What is left of the time that one round gives a plugin.
struct Budget {
    end: Instant,
    call: Duration,
}

impl Budget {
    fn left(&self) -> Option<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left.min(self.call))
    }
}

impl Plugin {
    pub(crate) fn new(artifact: Arc<Artifact>, node: &str) -> Plugin {
        let mut seed = DefaultHasher::new();
        (node, artifact.facts().digest.0).hash(&mut seed);
        Plugin {
            artifact,
            zones: Zones::default(),
            filter: Memo::default(),
            scheduler: Memo::default(),
            masquerade: Memo::default(),
            breakers: Interface::ALL.map(|interface| Breaker::new(seed.finish() ^ interface as u64)),
            account: Account::default(),
            purity: Purity::Assumed,
            keys: RandomState::new(),
            records: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.artifact.configuration.name
    }

    pub(crate) fn has(&self, interface: Interface) -> bool {
        self.artifact.has(interface)
    }

    /// Asks about services, or remembers what was answered before. One reply per item, in order.
    pub(crate) fn ask<H: Recorded>(
        &mut self,
        items: &[Item<'_>],
        around: &Surroundings<'_>,
    ) -> Vec<Reply<H::Answer>>
    where
        Plugin: Remembers<H>,
    {
        // Most rounds have nothing to ask about, and the context alone may name every node of the cluster.
        if items.is_empty() {
            return Vec::new();
        }
        if self.zones.renew() == Renewal::Done {
            self.expire_all();
        }
        let artifact = self.artifact.clone();
        let mut zones = std::mem::take(&mut self.zones);
        let mut lowering = Lowering::new(&artifact.needs, &mut zones, around);
        let mut questions = self.questions::<H>(&mut lowering);
        let mut replies: Vec<Option<Reply<H::Answer>>> = Vec::with_capacity(items.len());
        for (index, (view, opinion)) in items.iter().enumerate() {
            let request = H::request(lowering.service(view), opinion);
            let key = questions.key(&request);
            let known = self.recall::<H>(view, key, around.now);
            if known.is_some() {
                self.account.remembered += 1;
            } else {
                questions.open.push(Open { index, key });
                questions.requests.push(request);
            }
            replies.push(known);
            // Asked as soon as they fill a batch, so that a cold start does not hold all services twice.
            if questions.open.len() == BATCH {
                questions.learn_zones(&lowering);
                self.ask_open(&mut questions, items, around.now, &mut replies);
            }
        }
        questions.learn_zones(&lowering);
        while !questions.open.is_empty() {
            self.ask_open(&mut questions, items, around.now, &mut replies);
        }
        self.zones = zones;
        // Every place was filled: by a memory or by an answer.
        replies.into_iter().flatten().collect()
    }

    /// A round without questions yet.
    fn questions<H: Hook>(&self, lowering: &mut Lowering<'_>) -> Questions<H> {
        let mut context = lowering.context();
        // Time that passes does not make an answer old; the answer's own lifetime does.
        let now = context.now.take();
        let mut keys = self.keys.build_hasher();
        context.hash(&mut keys);
        context.now = now;
        let limits = &self.artifact.configuration.limits;
        let budget = Budget { end: Instant::now() + limits.sync_budget, call: limits.call_timeout };
        Questions { context, keys, budget, requests: Vec::new(), open: Vec::new() }
    }

    fn recall<H: Hook>(&mut self, view: &ServiceView, key: u64, now: u64) -> Option<Reply<H::Answer>>
    where
        Plugin: Remembers<H>,
    {
        if self.purity == Purity::Refuted {
            return None;
        }
        let memo = Remembers::<H>::memo(self);
        let (outcome, expires) = memo.recall(&view.service.name, key, now)?;
        Some(match outcome.cloned() {
            Ok(answer) => Reply { answer: Some(answer), failure: None, expires },
            Err(failure) => self.without::<H>(view, &Lack::Failed(failure), expires),
        })
    }

    /// Asks the first questions that are open, as many as fit into a call, as far as breaker and budget allow.
    fn ask_open<H: Recorded>(
        &mut self,
        questions: &mut Questions<H>,
        items: &[Item<'_>],
        now: u64,
        replies: &mut [Option<Reply<H::Answer>>],
    ) where
        Plugin: Remembers<H>,
    {
        let all = questions.open.len();
        let none = |lack: Lack| (0..all).map(|_| Err(lack.clone())).collect::<Vec<_>>();
        let asked = match self.breakers[H::INTERFACE as usize].leave(now) {
            Leave::Wait(until) => none(Lack::Suspended(until)),
            Leave::Ask | Leave::Try if questions.budget.left().is_none() => none(Lack::Budget),
            leave => {
                let size = if leave == Leave::Try { TRIAL } else { BATCH };
                let asked = self.ask_batch(questions, 0..size.min(all), items);
                self.judge(H::INTERFACE, &asked, now);
                asked
            }
        };
        let requests = questions.requests.drain(..asked.len());
        let open = questions.open.drain(..asked.len());
        for ((open, request), asked) in open.zip(requests).zip(asked) {
            if let (Some(records), Ok(answer)) = (&mut self.records, &asked) {
                records.push(record::<H>(&self.artifact, &questions.context, &request, answer.clone()));
            }
            replies[open.index] = Some(self.conclude::<H>(items[open.index].0, open.key, asked, now));
        }
    }

    /// One batch; if it fails, its halves, and so on down to the services that make it fail.
    fn ask_batch<H: Hook>(
        &mut self,
        questions: &Questions<H>,
        batch: Range<usize>,
        items: &[Item<'_>],
    ) -> Vec<Result<H::Answer, Lack>> {
        let mut results: Vec<Result<H::Answer, Lack>> = Vec::with_capacity(batch.len());
        let mut search = SEARCH;
        // Parts that are still to be asked, the next one last.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let Some(time) = questions.budget.left() else {
                results.extend(part.map(|_| Err(Lack::Budget)));
                continue;
            };
            let failure = match self.call::<H>(&questions.context, &questions.requests[part.clone()], time) {
                Ok(answers) => {
                    let views = questions.open[part].iter().map(|open| items[open.index].0);
                    results.extend(answers.into_iter().zip(views).map(|(answer, view)| {
                        match answer.check(view) {
                            Ok(()) => Ok(answer),
                            Err(why) => Err(Lack::Failed(CallFailure::Answer(why))),
                        }
                    }));
                    continue;
                }
                Err(failure) => failure,
            };
            let of_the_plugin = matches!(failure, CallFailure::Transient(_) | CallFailure::Permanent(_));
            if part.len() == 1 || of_the_plugin || search < 2 {
                results.extend(part.map(|_| Err(Lack::Failed(failure.clone()))));
            } else {
                search -= 2;
                let middle = part.start + part.len() / 2;
                parts.push(middle..part.end);
                parts.push(part.start..middle);
            }
        }
        results
    }

    /// One call of a fresh instance.
    fn call<H: Hook>(
        &mut self,
        context: &types::Context,
        requests: &[H::Request],
        time: Duration,
    ) -> Called<Vec<H::Answer>> {
        let start = Instant::now();
        let artifact = self.artifact.clone();
        let mut instance = Instance::ready(&artifact);
        let answers = match &mut instance {
            Ok(instance) => H::call(instance, context, requests, time),
            Err(failure) => Err(failure.clone()),
        };
        let account = &mut self.account;
        account.calls += 1;
        account.asked += requests.len() as u64;
        if let Ok(instance) = &instance {
            account.peak_memory = account.peak_memory.max(instance.peak_memory());
            account.dropped_lines += instance.dropped_lines();
        }
        if let Err(failure) = &answers {
            *account.failures.entry(failure.word()).or_default() += 1;
        }
        drop(instance);
        account.time += start.elapsed();
        answers
    }

    /// Draws conclusions about the plugin from a batch. A single service that fails it is that service's trouble, or a
    /// tenant could switch a policy off for everybody; but time that is lost is lost for all.
    fn judge<A>(&mut self, interface: Interface, asked: &[Result<A, Lack>], now: u64) {
        let breaker = &mut self.breakers[interface as usize];
        let failures = || {
            asked.iter().filter_map(|result| match result {
                Err(Lack::Failed(failure)) => Some(failure),
                _ => None,
            })
        };
        if failures().any(|failure| matches!(failure, CallFailure::Permanent(_))) {
            breaker.stick();
        } else if failures().any(|failure| {
            matches!(failure, CallFailure::Deadline | CallFailure::Start | CallFailure::Transient(_))
        }) {
            breaker.failed(now);
        } else if asked.iter().any(Result::is_ok) {
            breaker.succeeded();
        } else if failures().count() > 1 {
            breaker.failed(now);
        }
    }

    /// Remembers what became of a question, and makes a reply of it.
    fn conclude<H: Hook>(
        &mut self,
        view: &ServiceView,
        key: u64,
        asked: Result<H::Answer, Lack>,
        now: u64,
    ) -> Reply<H::Answer>
    where
        Plugin: Remembers<H>,
    {
        let service = &view.service.name;
        match asked {
            Ok(answer) => {
                let lifetime = answer
                    .lifetime()
                    .map(|seconds| now + u64::from(seconds).clamp(*LIFETIME.start(), *LIFETIME.end()));
                let reply = Reply { answer: Some(answer.clone()), failure: None, expires: lifetime };
                Remembers::<H>::memo(self).remember(service, key, Ok(answer), lifetime);
                reply
            }
            Err(lack) => {
                let expires = self.retry_at(H::INTERFACE, &lack, now);
                if let Lack::Failed(failure) = &lack
                    && !matches!(failure, CallFailure::Transient(_) | CallFailure::Permanent(_))
                {
                    Remembers::<H>::memo(self).remember(service, key, Err(failure.clone()), expires);
                }
                self.without::<H>(view, &lack, expires)
            }
        }
    }

    fn retry_at(&self, interface: Interface, lack: &Lack, now: u64) -> Option<u64> {
        match lack {
            Lack::Failed(CallFailure::Deadline | CallFailure::Start) => Some(now + RETRY_SLOW),
            Lack::Failed(CallFailure::Transient(_)) => match self.breakers[interface as usize].leave(now) {
                Leave::Wait(until) => until,
                Leave::Ask | Leave::Try => Some(now + 1),
            },
            // The same question would fail again.
            Lack::Failed(_) => None,
            Lack::Suspended(until) => *until,
            Lack::Budget => Some(now + 1),
        }
    }

    /// The reply for a service about which the plugin has no answer.
    fn without<H: Hook>(&mut self, view: &ServiceView, lack: &Lack, expires: Option<u64>) -> Reply<H::Answer>
    where
        Plugin: Remembers<H>,
    {
        self.account.fallbacks += 1;
        let good = Remembers::<H>::memo(self).last_good(&view.service.name).cloned();
        let good = good.and_then(|answer| answer.fitted(view));
        let why = match lack {
            Lack::Failed(failure) => failure.to_string(),
            Lack::Suspended(Some(_)) => "it failed too often and is not asked for a while".to_owned(),
            Lack::Suspended(None) => {
                "it failed too often and is not asked before it or its configuration changes".to_owned()
            }
            Lack::Budget => "there was no time left to ask it (`limits.syncBudget`)".to_owned(),
        };
        let (answer, instead, skip) = match (self.artifact.configuration.failure_policy, good) {
            (FailurePolicy::LastGood, Some(good)) => {
                (Some(good), "its last good answer stays in force", false)
            }
            (FailurePolicy::LastGood, None) => (None, "it has no last good answer, so none is used", false),
            (FailurePolicy::Default, _) => (None, "none of it is used", false),
            (FailurePolicy::SkipService, _) => (None, "the service is left alone", true),
        };
        let instead = match self.artifact.configuration.mode {
            Mode::Enforce => instead,
            Mode::Shadow => "it is only watched, so that nothing changes",
        };
        let text = format!("plugin {}, {}: {why}; {instead}", self.name(), H::NAME);
        Reply { answer, failure: Some(Failure { text, skip }), expires }
    }

    /// What the plugin did and cost.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Whether it is asked now.
    pub(crate) fn condition(&self, now: u64) -> Condition {
        let condition = |breaker: &Breaker| match breaker.leave(now) {
            Leave::Ask | Leave::Try => Condition::Ready,
            Leave::Wait(Some(until)) => Condition::Suspended(until),
            Leave::Wait(None) => Condition::GivenUp,
        };
        self.breakers.iter().map(condition).max().unwrap_or(Condition::Ready)
    }

    /// How many questions are known to fail it.
    pub(crate) fn poisoned(&self) -> usize {
        self.filter.poisoned() + self.scheduler.poisoned() + self.masquerade.poisoned()
    }

    /// Forgets a service that is gone.
    pub(crate) fn forget(&mut self, service: &ObjectName) {
        self.filter.forget(service);
        self.scheduler.forget(service);
        self.masquerade.forget(service);
    }

    /// The services about which it was asked.
    pub(crate) fn services(&self) -> BTreeSet<ObjectName> {
        self.filter
            .services()
            .chain(self.scheduler.services())
            .chain(self.masquerade.services())
            .cloned()
            .collect()
    }

    /// Goes on with the last good answers of an earlier version, should this one fail.
    pub(crate) fn inherit_good(&mut self, earlier: Plugin) {
        (self.filter, self.scheduler, self.masquerade) =
            (earlier.filter, earlier.scheduler, earlier.masquerade);
        self.expire_all();
    }

    fn expire_all(&mut self) {
        self.filter.expire_all();
        self.scheduler.expire_all();
        self.masquerade.expire_all();
    }

    /// Asks again what is remembered, one service a call, and says for which services the answer was another: they
    /// depend on something that is not in the question. Answers with a lifetime are left out, since time is in theirs.
    pub(crate) fn audit<H: Hook>(&mut self, items: &[Item<'_>], around: &Surroundings<'_>) -> Vec<ObjectName>
    where
        Plugin: Remembers<H>,
    {
        if self.purity == Purity::Refuted
            || self.breakers[H::INTERFACE as usize].leave(around.now) != Leave::Ask
        {
            return Vec::new();
        }
        let time = self.artifact.configuration.limits.call_timeout;
        let artifact = self.artifact.clone();
        let mut zones = std::mem::take(&mut self.zones);
        let mut lowering = Lowering::new(&artifact.needs, &mut zones, around);
        let mut questions = self.questions::<H>(&mut lowering);
        let mut changed = Vec::new();
        for (view, opinion) in items {
            let service = &view.service.name;
            let request = H::request(lowering.service(view), opinion);
            let key = questions.key(&request);
            let remembered = match Remembers::<H>::memo(self).recall(service, key, around.now) {
                Some((Ok(answer), None)) => answer.clone(),
                _ => continue,
            };
            questions.learn_zones(&lowering);
            match self.call::<H>(&questions.context, &[request], time).as_deref() {
                Ok([answer]) if *answer != remembered => changed.push(service.clone()),
                _ => {}
            }
        }
        self.zones = zones;
        if !changed.is_empty() {
            self.account.impure += changed.len() as u64;
            self.purity = Purity::Refuted;
        }
        changed
    }
}

/// What is asked in one round.
struct Questions<H: Hook> {
    context: types::Context,
    /// What has taken in the context, and takes in a request to make the key that its answer is remembered by.
    keys: DefaultHasher,
    budget: Budget,
    /// The requests that no memory answers, and which items they are about.
    requests: Vec<H::Request>,
    open: Vec<Open>,
}

impl<H: Hook> Questions<H> {
    fn key(&self, request: &H::Request) -> u64 {
        let mut hasher = self.keys.clone();
        request.hash(&mut hasher);
        hasher.finish()
    }

    /// Tells the context of the zones that requests refer to.
    fn learn_zones(&mut self, lowering: &Lowering<'_>) {
        let known = self.context.zones.len();
        self.context.zones.extend_from_slice(&lowering.zones()[known..]);
    }
}

/// A question without an answer yet.
struct Open {
    index: usize,
    key: u64,
}
