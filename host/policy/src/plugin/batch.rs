//! Asks in batches, and splits a failing batch down to the services that make it fail.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_core::text::counted;
use weir_core::view::ServiceView;

use super::questions::{Lack, Questions, Reply, Round};
use super::{Item, Plugin};
use crate::bindings::types;
use crate::breaker::{Breaker, Leave};
use crate::call::{CallFailure, Called, Instance};
use crate::hook::Hook;
use crate::patch::Answer;
use crate::record::record;

/// Services per call: enough to amortize the cost of an instance, few enough to find a bad service quickly.
pub(crate) const BATCH: usize = 256;

/// Services in the first call after a pause.
const TRIAL: usize = 16;

/// Calls that may be spent on finding the services of a batch that make the plugin fail. Finding one takes 16.
const SEARCH: u32 = 64;

/// The outcome of a question.
pub(super) type Asked<P> = Result<Arc<Answer<P>>, Lack>;

impl Plugin {
    /// Asks the first open questions, as many as fit into a call, and as far as breaker and budget allow.
    pub(super) fn ask_open<H: Hook>(
        &mut self,
        round: &mut Round<'_>,
        questions: &mut Questions<H>,
        items: &[Item<'_>],
        replies: &mut [Option<Reply<H>>],
    ) {
        let now = round.now;
        let all = questions.open.len();
        let none = |lack: Lack| (0..all).map(|_| Err(lack.clone())).collect::<Vec<_>>();
        let asked = match H::state(&mut self.interfaces).breaker.leave(now) {
            Leave::Wait(until) => none(Lack::Suspended(until)),
            Leave::Ask | Leave::Try if round.time(H::INTERFACE).is_none() => none(Lack::Budget),
            leave => {
                let size = if leave == Leave::Try { TRIAL } else { BATCH };
                let asked = self.ask_batch(round, questions, 0..size.min(all), items);
                judge(&mut H::state(&mut self.interfaces).breaker, &asked, now);
                asked
            }
        };
        let requests = questions.requests.drain(..asked.len());
        for (((index, key), asked), request) in questions.open.drain(..asked.len()).zip(asked).zip(requests) {
            round.put(items[index].place, H::service(request));
            replies[index] = Some(self.conclude::<H>(items[index].view, key, asked, now));
        }
    }

    /// Asks one batch; if it fails, its halves, and so on down to the services that make it fail.
    fn ask_batch<H: Hook>(
        &mut self,
        round: &mut Round<'_>,
        questions: &Questions<H>,
        batch: Range<usize>,
        items: &[Item<'_>],
    ) -> Vec<Asked<H>> {
        let mut results: Vec<Asked<H>> = Vec::with_capacity(batch.len());
        let mut search = SEARCH;
        // Parts that have not been passed to the plugin yet, the next one last.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let Some(time) = round.time(H::INTERFACE) else {
                results.extend(part.map(|_| Err(Lack::Budget)));
                continue;
            };
            let start = Instant::now();
            let answered = self.call::<H>(&round.context, &questions.requests[part.clone()], time);
            round.spend(H::INTERFACE, start.elapsed());
            let failure = match answered {
                Ok(answers) => {
                    for (i, answer) in part.zip(answers) {
                        let view = items[questions.open[i].0].view;
                        results.push(self.take::<H>(&round.context, &questions.requests[i], answer, view));
                    }
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

    /// Parses the answer to a question, and records it if wanted.
    fn take<H: Hook>(
        &mut self,
        context: &types::Context,
        request: &H::Request,
        answer: H::Wire,
        view: &ServiceView,
    ) -> Asked<H> {
        let void = |why: String| Lack::Failed(CallFailure::Answer(why));
        let parsed = H::parse(&answer, view).map_err(void)?;
        let (given, declared) = (parsed.metrics.len(), self.artifact.facts().metrics.len());
        if given > 0 && given != declared {
            let given = counted(given, "metric");
            return Err(void(format!("it has {given}, but the plugin declares {declared}")));
        }
        if let Some(records) = &mut self.records {
            records.push(record::<H>(&self.artifact, context, request, answer));
        }
        // Most services get the same answer as the previous one.
        let last = &mut H::state(&mut self.interfaces).last;
        match last {
            Some(last) if **last == parsed => Ok(last.clone()),
            _ => Ok(last.insert(Arc::new(parsed)).clone()),
        }
    }

    /// Makes one call of a fresh instance.
    pub(super) fn call<H: Hook>(
        &mut self,
        context: &types::Context,
        requests: &[H::Request],
        time: Duration,
    ) -> Called<Vec<H::Wire>> {
        let start = Instant::now();
        let artifact = self.artifact.clone();
        let mut instance = Instance::ready(&artifact.linked);
        let answers = match &mut instance {
            Ok(instance) => instance.ask::<H>(context, requests, time),
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
}

/// Judges the plugin by a batch. A single service that makes it fail is that service's problem; otherwise a tenant
/// could switch a policy off for everyone. A timeout costs all services and always counts.
fn judge<P>(breaker: &mut Breaker, asked: &[Asked<P>], now: u64) {
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
