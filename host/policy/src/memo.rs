//! Answers that were given, so that nothing is asked twice and the last good one is at hand when a plugin fails.

use std::collections::HashMap;

use weir_core::objects::ObjectName;

use crate::call::CallFailure;

/// The remembered answers of one plugin through one interface; at most one per service.
#[derive(Clone, Debug)]
pub(crate) struct Memo<A> {
    entries: HashMap<ObjectName, Remembered<A>>,
}

#[derive(Clone, Debug)]
struct Remembered<A> {
    /// What the answer depends on: a keyed hash of the context and the question. Two versions of one service with one
    /// hash are all that could be confused, and the key is a secret of this process.
    key: u64,
    /// Why the question is not asked again although it has no answer.
    poison: Option<CallFailure>,
    /// The answer, or the last one that was one.
    good: Option<A>,
    /// When the outcome must not be used any more.
    expires: Option<u64>,
}

/// What became of a question: it was answered, or it fails the plugin, and would again.
pub(crate) type Outcome<A> = Result<A, CallFailure>;

impl<A> Default for Memo<A> {
    fn default() -> Memo<A> {
        Memo { entries: HashMap::new() }
    }
}

impl<A> Memo<A> {
    /// What is known of a question, and until when.
    pub(crate) fn recall(
        &self,
        service: &ObjectName,
        key: u64,
        now: u64,
    ) -> Option<(Outcome<&A>, Option<u64>)> {
        let known = self.entries.get(service).filter(|known| known.key == key)?;
        let outcome = match &known.poison {
            Some(failure) => Err(failure.clone()),
            None => Ok(known.good.as_ref()?),
        };
        known.expires.is_none_or(|at| now < at).then_some((outcome, known.expires))
    }

    /// Takes note of what became of a question.
    pub(crate) fn remember(
        &mut self,
        service: &ObjectName,
        key: u64,
        outcome: Outcome<A>,
        expires: Option<u64>,
    ) {
        let (good, poison) = match outcome {
            Ok(answer) => (Some(answer), None),
            Err(failure) => {
                (self.entries.get_mut(service).and_then(|known| known.good.take()), Some(failure))
            }
        };
        self.entries.insert(service.clone(), Remembered { key, poison, good, expires });
    }

    /// The last answer about a service that was one.
    pub(crate) fn last_good(&self, service: &ObjectName) -> Option<&A> {
        self.entries.get(service)?.good.as_ref()
    }

    /// Forgets a service that is gone.
    pub(crate) fn forget(&mut self, service: &ObjectName) {
        self.entries.remove(service);
    }

    /// Makes every answer a thing of the past, but keeps the last good ones.
    pub(crate) fn expire_all(&mut self) {
        self.entries.values_mut().for_each(|known| known.expires = Some(0));
    }

    /// The services with answers.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.entries.keys()
    }

    /// How many services have a question that fails the plugin.
    pub(crate) fn poisoned(&self) -> usize {
        self.entries.values().filter(|known| known.poison.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_its_question_and_its_time() {
        let (mut memo, web) = (Memo::default(), ObjectName::new("shop", "web"));
        memo.remember(&web, 1, Ok('a'), Some(10));
        assert_eq!(memo.recall(&web, 1, 9), Some((Ok(&'a'), Some(10))));
        assert_eq!(memo.recall(&web, 1, 10), None);
        assert_eq!(memo.recall(&web, 2, 0), None);
        assert_eq!(memo.last_good(&web), Some(&'a'));
    }

    #[test]
    fn poison_leaves_the_last_good_answer() {
        let (mut memo, web) = (Memo::default(), ObjectName::new("shop", "web"));
        memo.remember(&web, 1, Ok('a'), None);
        memo.remember(&web, 2, Err(CallFailure::Memory), None);
        assert_eq!(memo.recall(&web, 2, 0), Some((Err(CallFailure::Memory), None)));
        assert_eq!((memo.last_good(&web), memo.poisoned()), (Some(&'a'), 1));
        memo.expire_all();
        assert_eq!((memo.recall(&web, 2, 0), memo.last_good(&web)), (None, Some(&'a')));
        memo.remember(&web, 2, Ok('b'), None);
        assert_eq!((memo.last_good(&web), memo.poisoned()), (Some(&'b'), 0));
        memo.forget(&web);
        assert_eq!(memo.last_good(&web), None);
    }
}
