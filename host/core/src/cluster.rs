//! The objects as last seen, and which services an event affects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::decision::VipKind;
use crate::objects::{Endpoint, EndpointSlice, Namespace, Node, ObjectName, Service};

pub(crate) mod claims;

pub use claims::{Claims, NodePort};

/// Something reported by the API server or by a folder of manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A Service was added or changed.
    Service(Box<Service>),
    /// A Service was deleted, or is no longer handled by this proxy.
    ServiceGone(ObjectName),
    /// An EndpointSlice was added or changed.
    Slice(Box<EndpointSlice>),
    /// An EndpointSlice was deleted, or no longer belongs to a service.
    SliceGone(ObjectName),
    /// An Endpoints object with addresses exists. Proxies do not read it; it explains why a service has no
    /// endpoints.
    Endpoints(ObjectName),
    /// An Endpoints object was deleted, or has no addresses any more.
    EndpointsGone(ObjectName),
    /// This node's object was added or changed.
    Node(Box<Node>),
    /// This node's object was deleted.
    NodeGone,
    /// The object of any node, including this one, was added or changed. It is used to avoid binding VIPs that are
    /// other nodes' addresses, and policies may read it.
    AnyNode(Box<Node>),
    /// The object of the node with this name was deleted.
    AnyNodeGone(String),
    /// A Namespace was added or changed.
    Namespace(Box<Namespace>),
    /// The Namespace with this name was deleted.
    NamespaceGone(String),
}

/// What must be planned again after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// These services; empty if the event changed nothing.
    Services(BTreeSet<ObjectName>),
    /// Every service: the node changed.
    Node,
    /// Every service whose decision depends on all nodes, and these services: a VIP of each is an address that a
    /// node gained or lost.
    AllNodes(BTreeSet<ObjectName>),
    /// The services of this namespace, if their decision depends on it.
    Namespace(String),
}

/// The objects as last seen. Applying the same events in any order, any number of times, gives the same value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    services: BTreeMap<ObjectName, Arc<Service>>,
    slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    /// Each service's slices, sorted by name.
    slices_of: BTreeMap<ObjectName, Vec<Arc<EndpointSlice>>>,
    /// Endpoints objects with addresses.
    endpoints: BTreeSet<ObjectName>,
    claims: Claims,
    node: Option<Arc<Node>>,
    nodes: BTreeMap<String, Arc<Node>>,
    /// The nodes with each address.
    nodes_at: BTreeMap<IpAddr, BTreeSet<String>>,
    namespaces: BTreeMap<String, Arc<Namespace>>,
    names: Names,
}

/// The names of nodes and zones in endpoints, each stored once.
#[derive(Clone, Debug, Default)]
struct Names {
    known: BTreeSet<Arc<str>>,
    /// The number of names left when unused names were last dropped.
    tidied: usize,
}

/// Always equal, because the names are also in the endpoints, which are compared.
impl PartialEq for Names {
    fn eq(&self, _: &Names) -> bool {
        true
    }
}

impl Eq for Names {}

impl Names {
    fn share(&mut self, endpoint: &mut Endpoint) {
        for name in [&mut endpoint.node, &mut endpoint.zone].into_iter().flatten() {
            match self.known.get(name) {
                Some(known) => *name = known.clone(),
                None => drop(self.known.insert(name.clone())),
            }
        }
        if self.known.len() > 2 * self.tidied + 64 {
            self.known.retain(|name| Arc::strong_count(name) > 1);
            self.tidied = self.known.len();
        }
    }
}

impl Cluster {
    /// Applies an event.
    pub fn apply(&mut self, event: Event) -> Dirty {
        match event {
            Event::Service(service) => self.apply_service(*service),
            Event::ServiceGone(name) => {
                let known = self.services.remove(&name);
                self.claims.replace(known.as_deref(), None);
                Dirty::Services(known.map(|_| name).into_iter().collect())
            }
            Event::Endpoints(name) => {
                let new = self.endpoints.insert(name.clone());
                Dirty::Services(new.then_some(name).into_iter().collect())
            }
            Event::EndpointsGone(name) => {
                let known = self.endpoints.remove(&name);
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
            Event::AnyNode(node) => self.apply_any_node(node.name.clone(), Some(*node)),
            Event::AnyNodeGone(name) => self.apply_any_node(name, None),
            Event::Namespace(namespace) => {
                let name = namespace.name.clone();
                match replace(&mut self.namespaces, name.clone(), *namespace) {
                    Change::Some => Dirty::Namespace(name),
                    Change::None => Dirty::Services(BTreeSet::new()),
                }
            }
            Event::NamespaceGone(name) => match self.namespaces.remove(&name) {
                Some(_) => Dirty::Namespace(name),
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
        let service = Arc::new(service);
        let old = self.services.insert(name.clone(), service.clone());
        self.claims.replace(old.as_deref(), Some(&service));
        Dirty::Services(BTreeSet::from([name]))
    }

    fn apply_any_node(&mut self, name: String, node: Option<Node>) -> Dirty {
        let old = self.nodes.get(&name).cloned();
        if old.as_deref() == node.as_ref() {
            return Dirty::Services(BTreeSet::new());
        }
        let addresses = |node: Option<&Node>| -> BTreeSet<IpAddr> {
            node.into_iter().flat_map(|node| &node.addresses).map(|(_, ip)| *ip).collect()
        };
        let (before, after) = (addresses(old.as_deref()), addresses(node.as_ref()));
        match node {
            Some(node) => self.nodes.insert(name.clone(), Arc::new(node)),
            None => self.nodes.remove(&name),
        };
        let mut touched = BTreeSet::new();
        for ip in before.symmetric_difference(&after) {
            let holders = self.nodes_at.entry(*ip).or_default();
            if after.contains(ip) {
                holders.insert(name.clone());
            } else {
                holders.remove(&name);
            }
            if holders.is_empty() {
                self.nodes_at.remove(ip);
            }
            for kind in [VipKind::External, VipKind::LoadBalancer] {
                touched.extend(self.claims.services_at(kind, *ip).cloned());
            }
        }
        Dirty::AllNodes(touched)
    }

    fn apply_slice(&mut self, mut slice: EndpointSlice) -> Dirty {
        if self.slices.get(&slice.name).map(|old| &**old) == Some(&slice) {
            return Dirty::Services(BTreeSet::new());
        }
        slice.endpoints.iter_mut().for_each(|endpoint| self.names.share(endpoint));
        // The list was decoded into a larger allocation.
        slice.endpoints.shrink_to_fit();
        let mut dirty: BTreeSet<ObjectName> = self.forget_slice(&slice.name).into_iter().collect();
        let service = service_of(&slice);
        let slice = Arc::new(slice);
        let of_service = self.slices_of.entry(service.clone()).or_insert_with(|| Vec::with_capacity(1));
        let place = of_service.partition_point(|other| other.name < slice.name);
        of_service.insert(place, slice.clone());
        self.slices.insert(slice.name.clone(), slice);
        dirty.insert(service);
        Dirty::Services(dirty)
    }

    /// Removes a slice and returns the service it belonged to.
    fn forget_slice(&mut self, name: &ObjectName) -> Option<ObjectName> {
        let old = self.slices.remove(name)?;
        let service = service_of(&old);
        if let Some(of_service) = self.slices_of.get_mut(&service) {
            of_service.retain(|slice| slice.name != *name);
            if of_service.is_empty() {
                self.slices_of.remove(&service);
            }
        }
        Some(service)
    }

    /// The names of all services, sorted.
    pub fn service_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.services.keys()
    }

    /// The service with this name, if it is known.
    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The slices of a service, sorted by name.
    pub fn slices_of(&self, service: &ObjectName) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices_of.get(service).into_iter().flatten()
    }

    /// All nodes seen in watches of nodes, by name.
    pub fn nodes(&self) -> &BTreeMap<String, Arc<Node>> {
        &self.nodes
    }

    /// A node other than this one that has the address.
    pub fn other_node_at(&self, ip: IpAddr, this_node: &str) -> Option<&str> {
        self.nodes_at.get(&ip)?.iter().map(String::as_str).find(|name| *name != this_node)
    }

    /// The addresses and port numbers claimed by services.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether an Endpoints object of this name with addresses exists.
    pub fn has_endpoints_object(&self, name: &ObjectName) -> bool {
        self.endpoints.contains(name)
    }

    /// The namespace with this name, if it is known.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get(name)
    }

    /// This node's object.
    pub fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }
}

/// Whether an event changed anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Some,
    None,
}

fn replace<V: PartialEq>(map: &mut BTreeMap<String, Arc<V>>, key: String, value: V) -> Change {
    if map.get(&key).is_some_and(|old| **old == value) {
        return Change::None;
    }
    map.insert(key, Arc::new(value));
    Change::Some
}

fn service_of(slice: &EndpointSlice) -> ObjectName {
    ObjectName::new(slice.name.namespace.clone(), slice.service.clone())
}
