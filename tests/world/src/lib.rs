//! weir-world: Kubernetes objects for tests, by name or generated.
//!
//! - [`build`]: the objects that a test names, in one line each;
//! - [`world`], [`event`], [`edit`]: random clusters and their changes, from a [`Pool`]. The objects of [`MEETING`]
//!   interact: shared VIPs, slices that change their service, endpoints in two slices, external IPs that are node
//!   addresses. A real API server accepts all objects of [`APART`];
//! - [`api`]: objects as an API server accepts them;
//! - [`Seed`]: values that are generated from a seed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;
use weir_core::cluster::Event;
use weir_core::net::Protocol;
use weir_core::objects::{Namespace, ObjectName};
use weir_core::planner::Planner;
use weir_core::policy::Policy;

pub mod api;
pub mod build;
mod edit;
mod node;
mod pool;
mod seed;
mod service;
mod slice;

pub use edit::{Edit, edit, follow};
pub use node::{Facts, facts, node};
use pool::words;
pub use pool::{APART, MEETING, Pool};
pub use seed::Seed;

/// The name of the planning node.
pub const NODE: &str = "node1";

/// The names of all nodes.
const NODES: &[&str] = &[NODE, "node2"];

const ZONES: &[&str] = &["a", "b"];

/// A cluster, and the events that led to it.
#[derive(Clone, Debug)]
pub struct World {
    /// What is known of the node apart from its Node object.
    pub facts: Facts,
    /// The events received, in this order.
    pub events: Vec<Event>,
}

/// Generates a world after fewer than `length` events, with objects from [`MEETING`].
pub fn world(length: usize) -> impl Strategy<Value = World> {
    (facts(), prop::collection::vec(event(), 0..length)).prop_map(|(facts, events)| World { facts, events })
}

/// Generates an event about an object from [`MEETING`].
pub fn event() -> impl Strategy<Value = Event> {
    event_of(&MEETING)
}

/// Generates an event about an object from this pool.
pub fn event_of(pool: &'static Pool) -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => service::service(pool).prop_map(|service| Event::Service(Box::new(service))),
        1 => service_name(pool).prop_map(Event::ServiceGone),
        8 => slice::slice(pool).prop_map(|slice| Event::Slice(Box::new(slice))),
        2 => slice_name().prop_map(Event::SliceGone),
        1 => node::node(pool).prop_map(|node| Event::Node(Box::new(node))),
        1 => Just(Event::NodeGone),
        1 => service_name(pool).prop_map(Event::Endpoints),
        1 => service_name(pool).prop_map(Event::EndpointsGone),
        2 => node::any_node().prop_map(|node| Event::AnyNode(Box::new(node))),
        1 => select(NODES).prop_map(|name| Event::AnyNodeGone(name.to_owned())),
        2 => namespace().prop_map(|namespace| Event::Namespace(Box::new(namespace))),
        1 => select(NAMESPACES).prop_map(|name| Event::NamespaceGone(name.to_owned())),
    ]
}

impl World {
    /// A planner that received no events.
    pub fn planner(&self, policy: impl Policy + 'static) -> Planner {
        Planner::new(self.facts.view(None), Box::new(policy))
    }

    /// A planner that received all events.
    pub fn planned(&self, policy: impl Policy + 'static) -> Planner {
        let mut planner = self.planner(policy);
        self.events.iter().for_each(|event| self.facts.tell(&mut planner, event.clone()));
        planner
    }

    /// The events of the objects that exist at the end, one per object, sorted by kind and name.
    pub fn last_events(&self) -> Vec<Event> {
        let mut last: BTreeMap<(u8, Option<ObjectName>), Event> = BTreeMap::new();
        for event in &self.events {
            last.insert(subject(event), event.clone());
        }
        last.into_values().filter(|event| !is_gone(event)).collect()
    }
}

/// Whether an event removes an object.
pub fn is_gone(event: &Event) -> bool {
    match event {
        Event::ServiceGone(_)
        | Event::SliceGone(_)
        | Event::NodeGone
        | Event::AnyNodeGone(_)
        | Event::NamespaceGone(_)
        | Event::EndpointsGone(_) => true,
        Event::Service(_)
        | Event::Slice(_)
        | Event::Node(_)
        | Event::AnyNode(_)
        | Event::Namespace(_)
        | Event::Endpoints(_) => false,
    }
}

/// The object that an event is about: a number for its kind, and its name.
pub fn subject(event: &Event) -> (u8, Option<ObjectName>) {
    match event {
        Event::Service(service) => (0, Some(service.name.clone())),
        Event::ServiceGone(name) => (0, Some(name.clone())),
        Event::Slice(slice) => (1, Some(slice.name.clone())),
        Event::SliceGone(name) => (1, Some(name.clone())),
        Event::Endpoints(name) | Event::EndpointsGone(name) => (5, Some(name.clone())),
        Event::Node(_) | Event::NodeGone => (2, None),
        Event::AnyNode(node) => (3, Some(ObjectName::new("", node.name.clone()))),
        Event::AnyNodeGone(name) => (3, Some(ObjectName::new("", name.clone()))),
        Event::Namespace(namespace) => (4, Some(ObjectName::new("", namespace.name.clone()))),
        Event::NamespaceGone(name) => (4, Some(ObjectName::new("", name.clone()))),
    }
}

const NAMESPACES: &[&str] = &["default", "shop"];

fn namespace() -> impl Strategy<Value = Namespace> {
    (select(NAMESPACES), select(&["a", "b"][..])).prop_map(|(name, tier)| Namespace {
        name: name.to_owned(),
        labels: [("tier".to_owned(), tier.to_owned())].into(),
        annotations: Default::default(),
    })
}

fn service_name(pool: &'static Pool) -> impl Strategy<Value = ObjectName> {
    select(words(pool.services)).prop_map(build::object_name)
}

fn slice_name() -> impl Strategy<Value = ObjectName> {
    (select(&["default", "shop"][..]), 0..5u8)
        .prop_map(|(namespace, n)| ObjectName::new(namespace, format!("slice-{n}")))
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![3 => Just(Protocol::Tcp), 2 => Just(Protocol::Udp), 1 => Just(Protocol::Sctp)]
}

fn port_name(pool: &'static Pool) -> impl Strategy<Value = String> {
    select(pool.port_names).prop_map(str::to_owned)
}

fn address_of(list: &'static str) -> impl Strategy<Value = IpAddr> {
    select(words(list)).prop_map(build::ip)
}

fn weighted_option<S: Strategy>(some: f64, of: S) -> impl Strategy<Value = Option<S::Value>> {
    prop::option::weighted(some, of)
}
