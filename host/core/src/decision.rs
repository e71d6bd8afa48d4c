//! What a policy decides for a service. Policies fill in decisions, nothing else; `guard` clamps them before
//! the planner sees them.

use crate::node::NodeView;
use crate::state::{Persistence, SchedulerFlags, Scheduling, Weight};
use crate::view::{PortView, ServiceView};

/// The decision for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether this node handles the service.
    pub handling: Handling,
    /// One decision per port, in the order of [`ServiceView::ports`].
    pub ports: Vec<PortDecision>,
}

/// Whether this node handles a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It does.
    Handle,
    /// It leaves it alone, for this reason.
    Ignore(String),
}

/// The decision for one port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDecision {
    /// Scheduler, flags and persistence of the port's virtual servers.
    pub scheduling: Scheduling,
    /// The weight of each endpoint, in the order of [`PortView::endpoints`].
    pub weights: Vec<Weight>,
}

impl Decision {
    /// What kube-proxy does: the configured scheduler for everything, persistence from session affinity,
    /// equal weights.
    pub fn upstream(view: &ServiceView, node: &NodeView) -> Decision {
        let ports = view.ports.iter().map(|port| PortDecision::upstream(view, port, node)).collect();
        Decision { handling: Handling::Handle, ports }
    }
}

impl PortDecision {
    /// See [`Decision::upstream`].
    pub fn upstream(view: &ServiceView, port: &PortView, node: &NodeView) -> PortDecision {
        let scheduler = node.config.scheduler.clone();
        // kube-proxy sets the port flag for this one scheduler only; `sh` has the same flag and does not get it.
        let flags = if scheduler == "mh" { SchedulerFlags::PORT } else { SchedulerFlags::default() };
        let persistence = view
            .service
            .client_ip_affinity
            .map(|timeout| Persistence { timeout, prefix: port.family.full_prefix() });
        PortDecision {
            scheduling: Scheduling { scheduler, flags, persistence },
            weights: vec![Weight::DEFAULT; port.endpoints.len()],
        }
    }
}
