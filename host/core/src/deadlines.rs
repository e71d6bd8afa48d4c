//! Due times of services, also sorted by time, so that no query walks all services.

use std::collections::{BTreeMap, BTreeSet};

use crate::objects::ObjectName;

/// The due times of services; not every service has one.
#[derive(Clone, Debug)]
pub(crate) struct Deadlines<T> {
    by_name: BTreeMap<ObjectName, T>,
    by_time: BTreeSet<(T, ObjectName)>,
}

impl<T> Default for Deadlines<T> {
    fn default() -> Deadlines<T> {
        Deadlines { by_name: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<T: Copy + Ord> Deadlines<T> {
    /// Sets or removes the due time of a service.
    pub(crate) fn set(&mut self, name: &ObjectName, at: Option<T>) {
        let old = match at {
            Some(at) => self.by_name.insert(name.clone(), at),
            None => self.by_name.remove(name),
        };
        if old != at {
            old.map(|old| self.by_time.remove(&(old, name.clone())));
            self.by_time.extend(at.map(|at| (at, name.clone())));
        }
    }

    /// The due time of a service.
    pub(crate) fn get(&self, name: &ObjectName) -> Option<T> {
        self.by_name.get(name).copied()
    }

    /// The earliest time.
    pub(crate) fn next(&self) -> Option<T> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The services that are due, the longest overdue first.
    pub(crate) fn due(&self, now: T) -> impl Iterator<Item = &ObjectName> {
        self.by_time.iter().take_while(move |(at, _)| *at <= now).map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_is_first_and_what_was_set_anew_counts() {
        let mut deadlines = Deadlines::default();
        let name = |name: &str| ObjectName::new("default", name);
        for (service, at) in [("a", 3), ("b", 1), ("c", 2), ("b", 4)] {
            deadlines.set(&name(service), Some(at));
        }
        assert_eq!(deadlines.next(), Some(2));
        assert_eq!(deadlines.due(3).collect::<Vec<_>>(), [&name("c"), &name("a")]);
        deadlines.set(&name("c"), None);
        deadlines.set(&name("a"), None);
        assert_eq!((deadlines.next(), deadlines.due(3).count()), (Some(4), 0));
    }
}
