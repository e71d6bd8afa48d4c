//! What can be set.

use std::collections::BTreeSet;

use crate::access::Access;
use crate::feed::Timing;
use crate::rate::Rate;
use crate::recorder::Limits;
use crate::resource::Resource;

/// What is followed, how, and in whose name.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API server is reached.
    pub access: Access,
    /// The name of this node.
    pub node: String,
    /// What is followed at first.
    pub resources: BTreeSet<Resource>,
    /// How many requests there may be (`clientConnection.qps` and `burst`). A list counts as one, however many pages
    /// it has, so that starting in a large cluster is not slowed down; Kubernetes Events have a rate of their own.
    pub requests: Rate,
    /// How many Kubernetes Events there may be.
    pub events: Limits,
    /// How long things may take.
    pub timing: Timing,
}

impl Settings {
    /// What kube-proxy follows, and its rates, on the node of this name.
    pub fn new(access: Access, node: impl Into<String>) -> Settings {
        Settings {
            access,
            node: node.into(),
            resources: [Resource::OwnNode, Resource::Services, Resource::EndpointSlices].into(),
            requests: Rate { per_second: 5.0, burst: 10 },
            events: Limits::default(),
            timing: Timing::default(),
        }
    }
}
