//! Remembered answers, so that no question is asked twice and the last good answer is available when a plugin
//! fails.

use std::collections::HashMap;
use std::sync::Arc;

use weir_core::objects::ObjectName;

use crate::call::CallFailure;
use crate::hook::Hook;
use crate::patch::{Answer, FilterPatch, MasqueradePatch, SchedulerPatch};

/// The remembered answers of one plugin, by service.
#[derive(Clone, Default)]
pub(crate) struct Memo {
    entries: HashMap<ObjectName, Answers>,
}

/// The remembered answers about one service, at most one per interface.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    pub(crate) filter: Option<Remembered<FilterPatch>>,
    pub(crate) scheduler: Option<Remembered<SchedulerPatch>>,
    pub(crate) masquerade: Option<Remembered<MasqueradePatch>>,
}

/// The outcome of a question.
#[derive(Clone, Debug)]
pub(crate) struct Remembered<P> {
    /// What the answer depends on: a keyed hash of the context and the question. Only two versions of one service
    /// with the same hash could be confused, and the key is this process's secret.
    key: u64,
    /// The failure of a question that is not repeated because it would fail again.
    poison: Option<CallFailure>,
    /// The answer, or the last good one.
    good: Option<Arc<Answer<P>>>,
    /// When the outcome expires.
    expires: Option<u64>,
}

/// The outcome of a question: an answer, or a failure that would happen again.
pub(crate) type Outcome<H> = Result<Arc<Answer<H>>, CallFailure>;

impl Memo {
    fn entry<H: Hook>(&mut self, service: &ObjectName) -> Option<&Remembered<H>> {
        H::remembered(self.entries.get_mut(service)?).as_ref()
    }

    /// The remembered outcome of a question, and when it expires.
    pub(crate) fn recall<H: Hook>(
        &mut self,
        service: &ObjectName,
        key: u64,
        now: u64,
    ) -> Option<(Outcome<H>, Option<u64>)> {
        let known = self.entry::<H>(service).filter(|known| known.key == key)?;
        let outcome = match &known.poison {
            Some(failure) => Err(failure.clone()),
            None => Ok(known.good.clone()?),
        };
        known.expires.is_none_or(|at| now < at).then_some((outcome, known.expires))
    }

    /// Remembers the outcome of a question.
    pub(crate) fn remember<H: Hook>(
        &mut self,
        service: &ObjectName,
        key: u64,
        outcome: Outcome<H>,
        expires: Option<u64>,
    ) {
        if let Some(answers) = self.entries.get_mut(service) {
            answers.remember(key, outcome, expires);
        } else {
            let mut answers = Answers::default();
            answers.remember(key, outcome, expires);
            self.entries.insert(service.clone(), answers);
        }
    }

    /// Reserves room for answers about this many services, so that a cold start does not reallocate again and
    /// again.
    pub(crate) fn make_room(&mut self, services: usize) {
        self.entries.reserve(services.saturating_sub(self.entries.len()));
    }

    /// The last good answer about a service.
    pub(crate) fn last_good<H: Hook>(&mut self, service: &ObjectName) -> Option<Arc<Answer<H>>> {
        self.entry::<H>(service)?.good.clone()
    }

    /// Forgets a deleted service.
    pub(crate) fn forget(&mut self, service: &ObjectName) {
        self.entries.remove(service);
    }

    /// Expires every answer, but keeps the last good ones.
    pub(crate) fn expire_all(&mut self) {
        self.entries.values_mut().for_each(Answers::expire);
    }

    /// The services with answers.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.entries.keys()
    }

    /// How many questions are known to make the plugin fail.
    pub(crate) fn poisoned(&self) -> usize {
        self.entries.values().map(Answers::poisoned).sum()
    }
}

impl Answers {
    fn remember<H: Hook>(&mut self, key: u64, outcome: Outcome<H>, expires: Option<u64>) {
        let place = H::remembered(self);
        let (good, poison) = match outcome {
            Ok(answer) => (Some(answer), None),
            Err(failure) => (place.take().and_then(|known| known.good), Some(failure)),
        };
        *place = Some(Remembered { key, poison, good, expires });
    }

    fn expire(&mut self) {
        let Answers { filter, scheduler, masquerade } = self;
        filter.iter_mut().for_each(|known| known.expires = Some(0));
        scheduler.iter_mut().for_each(|known| known.expires = Some(0));
        masquerade.iter_mut().for_each(|known| known.expires = Some(0));
    }

    fn poisoned(&self) -> usize {
        let Answers { filter, scheduler, masquerade } = self;
        let poisoned = [
            filter.as_ref().is_some_and(|known| known.poison.is_some()),
            scheduler.as_ref().is_some_and(|known| known.poison.is_some()),
            masquerade.as_ref().is_some_and(|known| known.poison.is_some()),
        ];
        poisoned.into_iter().filter(|poisoned| *poisoned).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(reason: &str) -> Arc<Answer<FilterPatch>> {
        let patch = FilterPatch::default();
        Arc::new(Answer { patch, reason: reason.to_owned(), lifetime: None, metrics: Box::default() })
    }

    #[test]
    fn an_answer_counts_for_its_question_and_its_time() {
        let (mut memo, web) = (Memo::default(), ObjectName::new("shop", "web"));
        memo.remember(&web, 1, Ok(answer("a")), Some(10));
        assert_eq!(memo.recall(&web, 1, 9), Some((Ok(answer("a")), Some(10))));
        assert_eq!(memo.recall::<FilterPatch>(&web, 1, 10), None);
        assert_eq!(memo.recall::<FilterPatch>(&web, 2, 0), None);
        assert_eq!(memo.recall::<SchedulerPatch>(&web, 1, 9), None);
        assert_eq!(memo.last_good(&web), Some(answer("a")));
    }

    #[test]
    fn poison_leaves_the_last_good_answer() {
        let (mut memo, web) = (Memo::default(), ObjectName::new("shop", "web"));
        memo.remember(&web, 1, Ok(answer("a")), None);
        memo.remember::<FilterPatch>(&web, 2, Err(CallFailure::Memory), None);
        assert_eq!(memo.recall::<FilterPatch>(&web, 2, 0), Some((Err(CallFailure::Memory), None)));
        assert_eq!((memo.last_good(&web), memo.poisoned()), (Some(answer("a")), 1));
        memo.expire_all();
        assert_eq!((memo.recall::<FilterPatch>(&web, 2, 0), memo.last_good(&web)), (None, Some(answer("a"))));
        memo.remember(&web, 2, Ok(answer("b")), None);
        assert_eq!((memo.last_good(&web), memo.poisoned()), (Some(answer("b")), 0));
        memo.forget(&web);
        assert_eq!(memo.last_good::<FilterPatch>(&web), None);
    }
}
