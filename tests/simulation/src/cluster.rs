//! An API server whose watches lag and are listed again.

use std::collections::{BTreeMap, VecDeque};

use weir_core::cluster::Event;
use weir_core::objects::ObjectName;
use weir_core::policy::Reads;
use weir_daemon::Listed;
use weir_world::{is_gone, subject};

/// The kind of an object, and its name.
type Key = (u8, Option<ObjectName>);

/// A watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Feed {
    Services,
    Slices,
    OwnNode,
    Nodes,
    Namespaces,
}

impl Feed {
    pub(crate) const ALL: [Feed; 5] =
        [Feed::Services, Feed::Slices, Feed::OwnNode, Feed::Nodes, Feed::Namespaces];

    /// The watch that delivers an event; none delivers Endpoints, which are only read from manifests.
    pub(crate) fn of(event: &Event) -> Option<Feed> {
        match event {
            Event::Service(_) | Event::ServiceGone(_) => Some(Feed::Services),
            Event::Slice(_) | Event::SliceGone(_) => Some(Feed::Slices),
            Event::Node(_) | Event::NodeGone => Some(Feed::OwnNode),
            Event::AnyNode(_) | Event::AnyNodeGone(_) => Some(Feed::Nodes),
            Event::Namespace(_) | Event::NamespaceGone(_) => Some(Feed::Namespaces),
            Event::Endpoints(_) | Event::EndpointsGone(_) => None,
        }
    }

    fn is_followed(self, reads: Reads) -> bool {
        match self {
            Feed::Services | Feed::Slices | Feed::OwnNode => true,
            Feed::Nodes => reads.nodes,
            Feed::Namespaces => reads.namespaces,
        }
    }
}

/// What a watch has delivered to one daemon, and what is still to come.
#[derive(Debug, Default)]
struct Watch {
    listed: bool,
    told: BTreeMap<Key, Event>,
    queue: VecDeque<Event>,
}

/// The API server, and one daemon's watches on it.
#[derive(Debug, Default)]
pub(crate) struct ApiServer {
    stored: BTreeMap<Key, Event>,
    watches: BTreeMap<Feed, Watch>,
    followed: Reads,
}

impl ApiServer {
    /// Stores or deletes an object; watches see it when they are read.
    pub(crate) fn store(&mut self, event: Event) {
        let Some(feed) = Feed::of(&event) else { return };
        match is_gone(&event) {
            true if self.stored.remove(&subject(&event)).is_none() => return,
            true => {}
            false => drop(self.stored.insert(subject(&event), event.clone())),
        }
        let watch = self.watches.entry(feed).or_default();
        if watch.listed {
            watch.queue.push_back(event);
        }
    }

    /// The next events of a watch; none before its first list.
    pub(crate) fn read(&mut self, feed: Feed, most: usize) -> Vec<Event> {
        let watch = self.watches.entry(feed).or_default();
        let events: Vec<Event> = watch.queue.drain(..most.min(watch.queue.len())).collect();
        events.iter().for_each(|event| watch.note(event));
        events
    }

    /// A list: all existing objects, and deletions for those the daemon still knows.
    pub(crate) fn list(&mut self, feed: Feed) -> Vec<Event> {
        if !feed.is_followed(self.followed) {
            return Vec::new();
        }
        let stored = self.stored.values().filter(|event| Feed::of(event) == Some(feed));
        let watch = self.watches.entry(feed).or_default();
        let gone = watch.told.iter().filter(|(key, _)| !self.stored.contains_key(key));
        let events: Vec<Event> =
            gone.filter_map(|(_, event)| gone_of(event)).chain(stored.cloned()).collect();
        watch.queue.clear();
        watch.listed = true;
        events.iter().for_each(|event| watch.note(event));
        events
    }

    /// Returns an event that was already delivered.
    pub(crate) fn repeat(&self, feed: Feed, index: usize) -> Option<Event> {
        let told = &self.watches.get(&feed)?.told;
        told.values().nth(index.checked_rem(told.len())?).cloned()
    }

    /// The daemon follows these, too.
    pub(crate) fn follow(&mut self, reads: Reads) {
        self.followed = self.followed.and(reads);
    }

    /// The daemon was replaced by a new one, which knows nothing.
    pub(crate) fn forget_watches(&mut self) {
        self.watches.clear();
        self.followed = Reads::default();
    }

    pub(crate) fn listed(&self) -> Listed {
        let is = |feed| self.watches.get(&feed).is_some_and(|watch| watch.listed);
        Listed {
            services: is(Feed::Services) && is(Feed::Slices),
            own_node: is(Feed::OwnNode),
            nodes: is(Feed::Nodes),
            namespaces: is(Feed::Namespaces),
        }
    }

    /// The objects the daemon knows.
    pub(crate) fn told(&self) -> impl Iterator<Item = &Event> {
        self.watches.values().flat_map(|watch| watch.told.values())
    }
}

impl Watch {
    fn note(&mut self, event: &Event) {
        match is_gone(event) {
            true => self.told.remove(&subject(event)),
            false => self.told.insert(subject(event), event.clone()),
        };
    }
}

fn gone_of(event: &Event) -> Option<Event> {
    Some(match event {
        Event::Service(service) => Event::ServiceGone(service.name.clone()),
        Event::Slice(slice) => Event::SliceGone(slice.name.clone()),
        Event::Node(_) => Event::NodeGone,
        Event::AnyNode(node) => Event::AnyNodeGone(node.name.clone()),
        Event::Namespace(namespace) => Event::NamespaceGone(namespace.name.clone()),
        Event::Endpoints(_)
        | Event::ServiceGone(_)
        | Event::SliceGone(_)
        | Event::NodeGone
        | Event::AnyNodeGone(_)
        | Event::NamespaceGone(_)
        | Event::EndpointsGone(_) => return None,
    })
}
