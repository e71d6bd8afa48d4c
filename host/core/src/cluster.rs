//! The objects as last seen, and which services an event touches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::objects::{EndpointSlice, Node, ObjectName, Service};

/// Something the API server, or a folder of manifests, said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A Service is there, new or changed.
    Service(Box<Service>),
    /// A Service is gone, or no longer ours.
    ServiceGone(ObjectName),
    /// An EndpointSlice is there, new or changed.
    Slice(Box<EndpointSlice>),
    /// An EndpointSlice is gone, or no longer of any service.
    SliceGone(ObjectName),
    /// This node's object is there, new or changed.
    Node(Box<Node>),
    /// This node's object is gone.
    NodeGone,
}

/// What an event asks to be planned again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// These services; none when the event changed nothing.
    Services(BTreeSet<ObjectName>),
    /// Every service: the node changed.
    Node,
}

/// The objects as last seen. Applying events in any order, repeatedly, ends in the same value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    services: BTreeMap<ObjectName, Arc<Service>>,
    slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    /// Which slices a service has; kept so that a changed service label of a slice leaves nothing stale.
    slices_of: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    node: Option<Arc<Node>>,
}

impl Cluster {
    /// Takes note of an event.
    pub fn apply(&mut self, event: Event) -> Dirty {
        match event {
            Event::Service(service) => self.apply_service(*service),
            Event::ServiceGone(name) => {
                let known = self.services.remove(&name).is_some();
                Dirty::Services(known.then_some(name).into_iter().collect())
            }
            Event::Slice(slice) => self.apply_slice(*slice),
            Event::SliceGone(name) => Dirty::Services(self.forget_slice(&name).into_iter().collect()),
            Event::Node(node) => {
                if self.node.as_deref() == Some(&*node) {
                    return Dirty::Services(BTreeSet::new());
                }
                self.node = Some(Arc::new(*node));
                Dirty::Node
            }
            Event::NodeGone => match self.node.take() {
                Some(_) => Dirty::Node,
                None => Dirty::Services(BTreeSet::new()),
            },
        }
    }

    fn apply_service(&mut self, service: Service) -> Dirty {
        if !service.is_ours() {
            return self.apply(Event::ServiceGone(service.name));
        }
        if self.services.get(&service.name).map(|old| &**old) == Some(&service) {
            return Dirty::Services(BTreeSet::new());
        }
        let name = service.name.clone();
        self.services.insert(name.clone(), Arc::new(service));
        Dirty::Services(BTreeSet::from([name]))
    }

    fn apply_slice(&mut self, slice: EndpointSlice) -> Dirty {
        if self.slices.get(&slice.name).map(|old| &**old) == Some(&slice) {
            return Dirty::Services(BTreeSet::new());
        }
        let mut dirty: BTreeSet<ObjectName> = self.forget_slice(&slice.name).into_iter().collect();
        let service = service_of(&slice);
        self.slices_of.entry(service.clone()).or_default().insert(slice.name.clone());
        self.slices.insert(slice.name.clone(), Arc::new(slice));
        dirty.insert(service);
        Dirty::Services(dirty)
    }

    /// Drops a slice and returns the service it belonged to.
    fn forget_slice(&mut self, name: &ObjectName) -> Option<ObjectName> {
        let old = self.slices.remove(name)?;
        let service = service_of(&old);
        if let Some(names) = self.slices_of.get_mut(&service) {
            names.remove(name);
            if names.is_empty() {
                self.slices_of.remove(&service);
            }
        }
        Some(service)
    }

    /// The names of all services, sorted.
    pub fn service_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.services.keys()
    }

    /// A service.
    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The slices of a service, sorted by name.
    pub fn slices_of(&self, service: &ObjectName) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices_of.get(service).into_iter().flatten().filter_map(|name| self.slices.get(name))
    }

    /// This node's object.
    pub fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }
}

fn service_of(slice: &EndpointSlice) -> ObjectName {
    ObjectName::new(slice.name.namespace.clone(), slice.service.clone())
}
