//! The settings.

use std::collections::BTreeSet;

use crate::access::Access;
use crate::feed::Timing;
use crate::rate::Rate;
use crate::recorder::Limits;
use crate::resource::Resource;

/// What to follow, how, and for which node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach the API server.
    pub access: Access,
    /// The name of this node.
    pub node: String,
    /// The resources to follow at first.
    pub resources: BTreeSet<Resource>,
    /// The request rate (`clientConnection.qps` and `burst`). A list counts as one request, however many pages it
    /// has, so that starting in a large cluster is not slowed down; Kubernetes Events have a separate rate.
    pub requests: Rate,
    /// Limits for Kubernetes Events.
    pub events: Limits,
    /// Time limits.
    pub timing: Timing,
}

impl Settings {
    /// kube-proxy's resources and rates, for the node of this name.
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
