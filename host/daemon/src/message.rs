//! The daemon's inputs and outputs.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::cluster::Event;
use weir_core::kernel::ReadError;
use weir_core::net::Family;
use weir_core::objects::ObjectName;
use weir_core::planner::Planner;
use weir_core::policy::Reads;
use weir_core::report::Report;
use weir_core::standing::{HealthCheck, Scope};
use weir_core::sync::Round;
use weir_policy::Replacement;

use crate::daemon::overview::Overview;
use crate::warning::Warning;

/// An input.
pub enum Input {
    /// Events about objects, in order, and what has been listed by now.
    Objects {
        /// In order of arrival.
        events: Vec<Event>,
        /// What has been listed by now.
        listed: Listed,
    },
    /// Addresses of the node may have changed.
    AddressesChanged,
    /// New plugins were loaded. Only the latest count.
    Policy(Box<dyn Successor>),
    /// Only time has passed.
    Time,
}

/// Which objects have been listed completely at least once. This is never reset: if contact with the API server is
/// lost, its last known state stays in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Services and EndpointSlices. Nothing is written before that, because a missing object looks like a removed one.
    pub services: bool,
    /// This node's object; also true if it was listed and does not exist.
    pub own_node: bool,
    /// The objects of all nodes.
    pub nodes: bool,
    /// All namespaces.
    pub namespaces: bool,
}

impl Listed {
    /// Everything.
    pub const ALL: Listed = Listed { services: true, own_node: true, nodes: true, namespaces: true };

    /// Whether everything needed for a plan is listed, including what policies read.
    pub fn covers(self, reads: Reads) -> bool {
        self.services
            && self.own_node
            && (self.nodes || !reads.nodes)
            && (self.namespaces || !reads.namespaces)
    }
}

/// Policies that are to replace the current ones.
pub trait Successor {
    /// What these policies read.
    fn reads(&self) -> Reads;

    /// Activates these policies, unless they are refused. `now` is in seconds since 1970; `first` means that no policy
    /// was configured before, so that the effects of these policies do not count as a change.
    fn replace(self: Box<Self>, planner: &mut Planner, now: u64, first: bool) -> Replacement;
}

/// An output.
#[derive(Debug)]
pub enum Output {
    /// A change arrived that is not in the kernel yet.
    Requested,
    /// The objects to follow from now on, in addition to those that are always followed.
    Follow(Reads),
    /// A condition under which the plan may differ from what the cluster asks for; output once, when it begins.
    Warning(Warning),
    /// iptables matches and targets that were missing work now.
    ExtensionsBack,
    /// For the owner of a Service.
    Report(Report),
    /// All changes so far are in the plan.
    Planned {
        /// How many services have traffic that must stay on this node, but no endpoint on it, by policy and family.
        stranded: BTreeMap<(Scope, Family), u64>,
        /// Changed health checks; `None` for health checks that are no longer served.
        health_checks: BTreeMap<ObjectName, Option<HealthCheck>>,
    },
    /// The outcome of replacing plugins.
    Replaced(Replacement),
    /// Counters were read for plugins.
    Sampled {
        /// The number of services.
        read: u64,
        /// The number of services for which reading failed.
        failed: u64,
        /// How long it took.
        took: Duration,
    },
    /// A round ended.
    Round(Done),
    /// Services of these families work now, so leftovers of kube-proxy's nftables mode in these families can be
    /// removed. Sent once.
    Serving(Vec<Family>),
    /// All changes of a family are in the kernel, except for single services that the kernel refuses.
    UpToDate(Family),
    /// The kernel could not be read; nothing was changed.
    Unread(ReadError),
    /// The daemon's state after a step; sent once for each step that had something due.
    Overview(Box<Overview>),
}

/// A round that ended.
#[derive(Debug)]
pub struct Done {
    /// What the round did.
    pub round: Round,
    /// Whether its changes undid changes by other programs.
    pub drift: bool,
    /// How long planning took.
    pub planning: Duration,
    /// How long the kernel took.
    pub kernel: Duration,
}
