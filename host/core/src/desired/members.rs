//! Reference counts of wanted keys: members of sets, and addresses.

use std::collections::BTreeMap;

use crate::plan::room;
use crate::set::{MAX_ELEMENTS, SetEntry, SetName};

/// Wanted keys, each with the number of services that want it.
#[derive(Debug)]
pub(super) struct Counted<K>(BTreeMap<K, Count>);

#[derive(Debug, Default)]
struct Count {
    /// The number of services that want the key.
    wanted_by: u32,
    /// The number of the last comparison that found the key in the kernel.
    seen: u32,
}

impl<K> Default for Counted<K> {
    fn default() -> Counted<K> {
        Counted(BTreeMap::new())
    }
}

impl<K: Ord> Counted<K> {
    /// Increments a key's count, and returns whether the key is new.
    pub(super) fn add(&mut self, key: K) -> bool {
        let count = self.0.entry(key).or_default();
        count.wanted_by += 1;
        count.wanted_by == 1
    }

    /// Decrements a key's count, and returns whether the key is gone.
    pub(super) fn drop(&mut self, key: &K) -> bool {
        let Some(count) = self.0.get_mut(key) else { return false };
        count.wanted_by -= 1;
        let gone = count.wanted_by == 0;
        if gone {
            self.0.remove(key);
        }
        gone
    }

    pub(super) fn has(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// Marks a key as seen in a comparison, and returns whether it is wanted.
    pub(super) fn see(&mut self, key: &K, comparison: u32) -> bool {
        self.0.get_mut(key).map(|count| count.seen = comparison).is_some()
    }

    /// The keys not seen in a comparison.
    pub(super) fn unseen(&self, comparison: u32) -> impl Iterator<Item = &K> {
        self.0.iter().filter(move |(_, count)| count.seen != comparison).map(|(key, _)| key)
    }
}

/// The members of one set.
#[derive(Debug, Default)]
struct Content {
    members: Counted<SetEntry>,
    /// The capacity last planned for the set; `None` for a set without members.
    room: Option<u32>,
}

/// The members of all sets.
#[derive(Debug)]
pub(super) struct Members {
    sets: BTreeMap<SetName, Content>,
    usual: u32,
}

impl Default for Members {
    fn default() -> Members {
        Members { sets: BTreeMap::new(), usual: MAX_ELEMENTS }
    }
}

impl Members {
    /// Adds a member, and returns whether it is new.
    pub(super) fn add(&mut self, name: SetName, entry: SetEntry) -> bool {
        self.sets.entry(name).or_default().members.add(entry)
    }

    /// Removes a member, and returns whether it is gone.
    pub(super) fn drop(&mut self, name: SetName, entry: SetEntry) -> bool {
        self.sets.get_mut(&name).is_some_and(|content| content.members.drop(&entry))
    }

    /// Sets the usual capacity of a set.
    pub(super) fn set_usual_room(&mut self, usual: u32) {
        self.usual = usual;
    }

    /// Whether a set needs a capacity other than the one that [`Members::rooms`] last returned.
    pub(super) fn room_changed(&self, name: SetName) -> bool {
        self.sets.get(&name).is_some_and(|content| content.room != self.needed(content))
    }

    fn needed(&self, content: &Content) -> Option<u32> {
        let count = content.members.0.len();
        (count > 0).then(|| room(count, self.usual))
    }

    /// The capacity that each non-empty set needs.
    pub(super) fn rooms(&mut self) -> BTreeMap<SetName, u32> {
        let needed: Vec<Option<u32>> = self.sets.values().map(|content| self.needed(content)).collect();
        self.sets.values_mut().zip(&needed).for_each(|(content, room)| content.room = *room);
        self.sets.keys().zip(needed).filter_map(|(name, room)| Some((*name, room?))).collect()
    }

    pub(super) fn has(&self, name: SetName, entry: SetEntry) -> bool {
        self.sets.get(&name).is_some_and(|content| content.members.has(&entry))
    }

    /// The number of members of a set.
    pub(super) fn count(&self, name: SetName) -> usize {
        self.sets.get(&name).map_or(0, |content| content.members.0.len())
    }

    /// The members of one set.
    pub(super) fn of(&self, name: SetName) -> impl Iterator<Item = SetEntry> {
        self.sets.get(&name).into_iter().flat_map(|content| content.members.keys().copied())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (SetName, SetEntry)> {
        self.sets.iter().flat_map(|(name, content)| content.members.keys().map(|entry| (*name, *entry)))
    }

    /// Marks a member as seen in a comparison, and returns whether it is wanted.
    pub(super) fn see(&mut self, name: SetName, entry: SetEntry, comparison: u32) -> bool {
        self.sets.get_mut(&name).is_some_and(|content| content.members.see(&entry, comparison))
    }

    /// The members not seen in a comparison.
    pub(super) fn unseen(&self, comparison: u32) -> impl Iterator<Item = (SetName, SetEntry)> {
        self.sets
            .iter()
            .flat_map(move |(name, content)| content.members.unseen(comparison).map(|entry| (*name, *entry)))
    }
}
