//! A set of objects, and the changes between two sets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use weir_core::cluster::Event;
use weir_core::objects::{EndpointSlice, Namespace, Node, ObjectName, Service};

/// The name of an object. New objects are announced in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// This node's object.
    Node(String),
    /// The object of any node, this one included.
    AnyNode(String),
    /// A Namespace.
    Namespace(String),
    /// A Service.
    Service(ObjectName),
    /// An EndpointSlice.
    Slice(ObjectName),
    /// An Endpoints object.
    Endpoints(ObjectName),
}

impl Key {
    /// Whether the object also has another key, under which problems are reported: this node is one of all nodes.
    pub(super) fn is_second(&self) -> bool {
        matches!(self, Key::Node(_))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Node(name) | Key::AnyNode(name) => write!(f, "Node {name}"),
            Key::Namespace(name) => write!(f, "Namespace {name}"),
            Key::Service(name) => write!(f, "Service {name}"),
            Key::Slice(name) => write!(f, "EndpointSlice {name}"),
            Key::Endpoints(name) => write!(f, "Endpoints {name}"),
        }
    }
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Node(Arc<Node>),
    AnyNode(Arc<Node>),
    Namespace(Arc<Namespace>),
    Service(Arc<Service>),
    Slice(Arc<EndpointSlice>),
    /// Endpoints with addresses.
    Endpoints(ObjectName),
}

/// A set of objects by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    objects: BTreeMap<Key, Object>,
}

impl Inventory {
    /// The objects in a text of YAML documents. `node` is the name of this node.
    ///
    /// Invalid parts are left out and reported as problems.
    pub fn parse(text: &str, node: &str) -> (Inventory, Vec<crate::Problem>) {
        super::text::inventory(text, node)
    }

    /// The events that lead from this set to `newer`: first new and changed objects, then deleted ones, so that content
    /// that moves from one object to another is never missing in between.
    pub fn changes_to(&self, newer: &Inventory) -> Vec<Event> {
        let here = newer.objects.iter().filter(|(key, object)| self.objects.get(*key) != Some(*object));
        let gone = self.objects.keys().filter(|key| !newer.objects.contains_key(*key));
        here.map(|(_, object)| event_of(object)).chain(gone.map(gone_event_of)).collect()
    }

    /// Adds an object and returns the one it replaces.
    pub(super) fn insert(&mut self, key: Key, object: Object) -> Option<Object> {
        self.objects.insert(key, object)
    }
}

fn event_of(object: &Object) -> Event {
    match object {
        Object::Node(node) => Event::Node(Box::new((**node).clone())),
        Object::AnyNode(node) => Event::AnyNode(Box::new((**node).clone())),
        Object::Namespace(namespace) => Event::Namespace(Box::new((**namespace).clone())),
        Object::Service(service) => Event::Service(Box::new((**service).clone())),
        Object::Slice(slice) => Event::Slice(Box::new((**slice).clone())),
        Object::Endpoints(name) => Event::Endpoints(name.clone()),
    }
}

fn gone_event_of(key: &Key) -> Event {
    match key {
        Key::Node(_) => Event::NodeGone,
        Key::AnyNode(name) => Event::AnyNodeGone(name.clone()),
        Key::Namespace(name) => Event::NamespaceGone(name.clone()),
        Key::Service(name) => Event::ServiceGone(name.clone()),
        Key::Slice(name) => Event::SliceGone(name.clone()),
        Key::Endpoints(name) => Event::EndpointsGone(name.clone()),
    }
}
