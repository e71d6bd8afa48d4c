//! Remembers what has been sent of a resource, so that only differences are sent. Keeps names and hashes, not objects.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher as _};

use weir_core::cluster::Event;
use weir_core::objects::ObjectName;
use weir_k8s::Problem;
use weir_k8s::objects::Decoded;

/// The state of an object when it was last seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The hash of the decoded object and its problems.
    hash: u64,
    /// Whether the receiver has it.
    told: Told,
    /// The last list that contained it.
    round: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Here,
    Absent,
}

/// What is new about an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// What to send; `None` if the receiver already has it.
    pub(crate) event: Option<Event>,
    /// Problems with the object that were not sent before.
    pub(crate) problems: Vec<Problem>,
}

/// The objects of a resource by name.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    objects: BTreeMap<ObjectName, Seen>,
    round: u64,
}

impl Tracker {
    /// A list starts: every object is unmarked.
    pub(crate) fn begin_list(&mut self) {
        self.round += 1;
    }

    /// Records the current state of an object. `gone` makes the event for an object that is not relevant.
    pub(crate) fn note(
        &mut self,
        name: ObjectName,
        decoded: Decoded<Event>,
        problems: Vec<Problem>,
        gone: impl FnOnce(ObjectName) -> Event,
    ) -> News {
        let hash = hash_of(&decoded, &problems);
        let before = self.objects.get(&name).copied();
        let told = before.map_or(Told::Absent, |seen| seen.told);
        let now = match &decoded {
            Decoded::Here(_) => Told::Here,
            Decoded::Gone => Told::Absent,
            // Its previous state is a better guess than none.
            Decoded::Invalid => told,
        };
        self.objects.insert(name.clone(), Seen { hash, told: now, round: self.round });
        if before.is_some_and(|seen| seen.hash == hash) {
            return News::default();
        }
        let event = match decoded {
            Decoded::Here(event) => Some(event),
            Decoded::Gone if told == Told::Here => Some(gone(name)),
            Decoded::Gone | Decoded::Invalid => None,
        };
        News { event, problems }
    }

    /// Records that an object is gone. `None` if the receiver does not have it.
    pub(crate) fn remove(
        &mut self,
        name: ObjectName,
        gone: impl FnOnce(ObjectName) -> Event,
    ) -> Option<Event> {
        let seen = self.objects.remove(&name)?;
        (seen.told == Told::Here).then(|| gone(name))
    }

    /// The list is complete: objects not in it are gone.
    pub(crate) fn sweep(&mut self, gone: impl Fn(ObjectName) -> Event) -> Vec<Event> {
        let round = self.round;
        let absent = self.objects.extract_if(.., |_, seen| seen.round != round);
        absent.filter(|(_, seen)| seen.told == Told::Here).map(|(name, _)| gone(name)).collect()
    }

    /// The number of objects.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }
}

/// A hash of every field: `Debug` writes them all, here into a hasher instead of memory.
fn hash_of(decoded: &Decoded<Event>, problems: &[Problem]) -> u64 {
    struct Written(DefaultHasher);
    impl fmt::Write for Written {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut written = Written(DefaultHasher::new());
    // Writing to a hasher cannot fail.
    let _ = write!(written, "{decoded:?}{problems:?}");
    written.0.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::objects::Namespace;

    fn name(name: &str) -> ObjectName {
        ObjectName::new("", name)
    }

    fn gone(name: ObjectName) -> Event {
        Event::NamespaceGone(name.name)
    }

    fn here(name: &str, label: &str) -> Decoded<Event> {
        let labels = [("a".to_owned(), label.to_owned())].into();
        Decoded::Here(Event::Namespace(Box::new(Namespace {
            name: name.to_owned(),
            labels,
            ..Namespace::default()
        })))
    }

    fn problem() -> Problem {
        let text = |text: &str| text.to_owned();
        Problem { file: None, object: text("o"), field: text("f"), value: text("v"), message: text("m") }
    }

    fn note(tracker: &mut Tracker, object: &str, decoded: Decoded<Event>) -> Option<Event> {
        tracker.note(name(object), decoded, Vec::new(), gone).event
    }

    #[test]
    fn only_differences_are_reported() {
        let mut tracker = Tracker::default();
        assert!(note(&mut tracker, "x", here("x", "1")).is_some());
        assert_eq!(note(&mut tracker, "x", here("x", "1")), None);
        assert!(note(&mut tracker, "x", here("x", "2")).is_some());
        assert_eq!(tracker.remove(name("x"), gone), Some(gone(name("x"))));
        assert_eq!(tracker.remove(name("x"), gone), None);
    }

    #[test]
    fn a_list_reports_what_is_new_and_sweeps_what_is_gone() {
        let mut tracker = Tracker::default();
        for object in ["stays", "changes", "goes"] {
            note(&mut tracker, object, here(object, "1"));
        }
        tracker.begin_list();
        assert_eq!(note(&mut tracker, "stays", here("stays", "1")), None);
        assert!(note(&mut tracker, "changes", here("changes", "2")).is_some());
        assert!(note(&mut tracker, "new", here("new", "1")).is_some());
        assert_eq!(tracker.sweep(gone), [gone(name("goes"))]);
        assert_eq!(tracker.len(), 3);
    }

    #[test]
    fn a_list_that_was_begun_twice_forgets_nothing() {
        let mut tracker = Tracker::default();
        note(&mut tracker, "x", here("x", "1"));
        tracker.begin_list();
        tracker.begin_list();
        assert_eq!(note(&mut tracker, "x", here("x", "1")), None);
        assert_eq!(tracker.sweep(gone), []);
    }

    #[test]
    fn an_invalid_object_keeps_its_last_good_version_and_its_problem_is_reported_once() {
        let mut tracker = Tracker::default();
        note(&mut tracker, "x", here("x", "1"));
        let broken = |tracker: &mut Tracker| tracker.note(name("x"), Decoded::Invalid, vec![problem()], gone);
        assert_eq!(broken(&mut tracker), News { event: None, problems: vec![problem()] });
        tracker.begin_list();
        assert_eq!(broken(&mut tracker), News::default());
        assert_eq!(tracker.sweep(gone), []);
        assert!(note(&mut tracker, "x", here("x", "1")).is_some(), "sent again, after the problem is fixed");
        broken(&mut tracker);
        assert_eq!(tracker.remove(name("x"), gone), Some(gone(name("x"))));
    }

    #[test]
    fn an_object_that_is_of_no_concern_is_gone_once() {
        let mut tracker = Tracker::default();
        note(&mut tracker, "x", here("x", "1"));
        assert_eq!(note(&mut tracker, "x", Decoded::Gone), Some(gone(name("x"))));
        assert_eq!(note(&mut tracker, "x", Decoded::Gone), None);
        tracker.begin_list();
        assert_eq!(tracker.sweep(gone), []);
        assert_eq!(tracker.len(), 0);
    }
}
