//! The watched resources: their paths, selectors and decoding.

use std::fmt;

use serde_json::Value;
use weir_core::cluster::Event;
use weir_core::objects::{HEADLESS_LABEL, ObjectName, PROXY_NAME_LABEL};
use weir_k8s::Problem;
use weir_k8s::objects::{self, Decoded};

use crate::wire::Query;

/// A set of objects that is listed and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// This node's object.
    OwnNode,
    /// The objects of all nodes, this one included; only for policies that read them.
    Nodes,
    /// All namespaces; only for policies that read them.
    Namespaces,
    /// The Services with a cluster IP that are not assigned to another proxy.
    Services,
    /// The EndpointSlices, except those of headless Services.
    EndpointSlices,
}

impl Resource {
    /// All resources.
    pub const ALL: [Resource; 5] = [
        Resource::OwnNode,
        Resource::Nodes,
        Resource::Namespaces,
        Resource::Services,
        Resource::EndpointSlices,
    ];

    /// Nothing may be written to the kernel without these: in an incomplete list, objects look deleted.
    pub const NEEDED: [Resource; 2] = [Resource::Services, Resource::EndpointSlices];

    /// The collection's path in the API.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Resource::OwnNode | Resource::Nodes => "/api/v1/nodes",
            Resource::Namespaces => "/api/v1/namespaces",
            Resource::Services => "/api/v1/services",
            Resource::EndpointSlices => "/apis/discovery.k8s.io/v1/endpointslices",
        }
    }

    /// kube-proxy's selectors; `node` is the name of this node.
    pub(crate) fn selectors(self, node: &str) -> Query {
        let absent = |label: &str| format!("!{label}");
        match self {
            Resource::OwnNode => Query::new().with("fieldSelector", format!("metadata.name={node}")),
            Resource::Nodes | Resource::Namespaces => Query::new(),
            Resource::Services => Query::new()
                .with("labelSelector", absent(PROXY_NAME_LABEL))
                .with("fieldSelector", "spec.clusterIP!=None"),
            Resource::EndpointSlices => Query::new().with("labelSelector", absent(HEADLESS_LABEL)),
        }
    }

    /// Decodes an object.
    pub(crate) fn decode(self, object: &Value) -> (Decoded<Event>, Vec<Problem>) {
        match self {
            Resource::OwnNode => with_event(objects::node(object), Event::Node),
            Resource::Nodes => with_event(objects::node(object), Event::AnyNode),
            Resource::Namespaces => with_event(objects::namespace(object), Event::Namespace),
            Resource::Services => with_event(objects::service(object), Event::Service),
            Resource::EndpointSlices => with_event(objects::endpoint_slice(object), Event::Slice),
        }
    }

    /// The event for a deleted object.
    pub(crate) fn gone(self, name: ObjectName) -> Event {
        match self {
            Resource::OwnNode => Event::NodeGone,
            Resource::Nodes => Event::AnyNodeGone(name.name),
            Resource::Namespaces => Event::NamespaceGone(name.name),
            Resource::Services => Event::ServiceGone(name),
            Resource::EndpointSlices => Event::SliceGone(name),
        }
    }
}

fn with_event<T>(
    (decoded, problems): (Decoded<T>, Vec<Problem>),
    event: fn(Box<T>) -> Event,
) -> (Decoded<Event>, Vec<Problem>) {
    (decoded.map(|object| event(Box::new(object))), problems)
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::OwnNode => "node",
            Resource::Nodes => "nodes",
            Resource::Namespaces => "namespaces",
            Resource::Services => "services",
            Resource::EndpointSlices => "endpointslices",
        })
    }
}
