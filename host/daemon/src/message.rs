//! What goes into the daemon, and what comes out.

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
use crate::remark::Remark;

/// Something that happened.
pub enum Input {
    /// What was said of objects, in order, and what of them has been listed once by now.
    Objects {
        /// In the order in which they were told.
        events: Vec<Event>,
        /// By now.
        listed: Listed,
    },
    /// Addresses of the node may have changed.
    AddressesChanged,
    /// Plugins were loaded that are to decide. The last ones count.
    Policy(Box<dyn Successor>),
    /// Nothing but time.
    Time,
}

/// Which objects were listed as a whole at least once. What was is never undone: an API server that is not heard any more
/// leaves in force what it said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Services and EndpointSlices, without which nothing is written: what is missing looks like something removed.
    pub services: bool,
    /// This node's object, be it that there is none.
    pub own_node: bool,
    /// The objects of all nodes.
    pub nodes: bool,
    /// All namespaces.
    pub namespaces: bool,
}

impl Listed {
    /// Everything.
    pub const ALL: Listed = Listed { services: true, own_node: true, nodes: true, namespaces: true };

    /// Whether all is there that a plan is made from, with what policies read.
    pub fn covers(self, reads: Reads) -> bool {
        self.services
            && self.own_node
            && (self.nodes || !reads.nodes)
            && (self.namespaces || !reads.namespaces)
    }
}

/// Policies that are to take the place of those that decide.
pub trait Successor {
    /// What they read.
    fn reads(&self) -> Reads;

    /// Lets them decide from now on, unless that is refused. `now` is in seconds since 1970; `first` says that nothing was
    /// configured before, so that what they change is no change.
    fn replace(self: Box<Self>, planner: &mut Planner, now: u64, first: bool) -> Replacement;
}

/// Something that others should know or do.
#[derive(Debug)]
pub enum Output {
    /// Something came in that the kernel does not hold yet.
    Requested,
    /// Which objects are to be followed from now on, beside those that always are.
    Follow(Reads),
    /// For whoever reads the log.
    Remark(Remark),
    /// For the owner of a Service.
    Report(Report),
    /// Everything heard so far is in the plan.
    Planned {
        /// How many services have traffic that must stay on this node and has nowhere to go, by policy and family.
        stranded: BTreeMap<(Scope, Family), u64>,
        /// The health checks that are answered otherwise than before; `None` for those that are not answered any more.
        health_checks: BTreeMap<ObjectName, Option<HealthCheck>>,
    },
    /// What became of plugins that were to decide.
    Replaced(Replacement),
    /// Counters were read for plugins.
    Sampled {
        /// Of so many services.
        read: u64,
        /// Of so many services without success.
        failed: u64,
        /// How long it took.
        took: Duration,
    },
    /// A round ended.
    Round(Done),
    /// Services of these families work now, so that what kube-proxy's nftables mode left of them can go. Told once.
    Serving(Vec<Family>),
    /// The kernel holds everything of a family that came in, but for single services that it refuses.
    UpToDate(Family),
    /// The kernel could not be read; nothing was changed.
    Unread(ReadError),
    /// How the daemon is doing after what was due was done; once for each step that had something due.
    Overview(Box<Overview>),
}

/// A round that ended.
#[derive(Debug)]
pub struct Done {
    /// What it did.
    pub round: Round,
    /// Whether what it changed others had changed before.
    pub drift: bool,
    /// How long planning took.
    pub planning: Duration,
    /// How long the kernel took.
    pub kernel: Duration,
}
