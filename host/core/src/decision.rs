//! What policies decide about a service. A policy only fills in a [`Decision`], and [`guard`](crate::guard) clamps
//! every decision before the planner sees it.
//!
//! [`Decision::upstream`] is kube-proxy's behaviour, and provides the value of each field that no policy changed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::node::NodeView;
use crate::state::{Persistence, SchedulerFlags, Scheduling, Weight};
use crate::view::{PortView, ServiceView};

/// The decision for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether this node handles the service.
    pub handling: Handling,
    /// Which of its VIPs this node serves.
    pub vips: VipFilter,
    /// Limits on which sources may connect, in addition to `spec.loadBalancerSourceRanges`, which always apply.
    pub sources: Vec<SourceFilter>,
    /// Which source addresses are replaced.
    pub masquerade: Masquerade,
    /// How TCP connections end when their endpoint is removed.
    pub drain: Drain,
    /// One decision per port, in the order of [`ServiceView::ports`].
    pub ports: Vec<PortDecision>,
}

/// Whether this node handles a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handling {
    /// The node handles it.
    Handle,
    /// The node ignores it, for this reason.
    Ignore(String),
}

/// The kind of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VipKind {
    /// A cluster IP.
    Cluster,
    /// An external IP.
    External,
    /// A load-balancer VIP.
    LoadBalancer,
    /// A node port, on an address of the node.
    NodePort,
}

impl VipKind {
    /// All kinds.
    pub const ALL: [VipKind; 4] =
        [VipKind::Cluster, VipKind::External, VipKind::LoadBalancer, VipKind::NodePort];
}

impl fmt::Display for VipKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VipKind::Cluster => "cluster",
            VipKind::External => "external",
            VipKind::LoadBalancer => "load-balancer",
            VipKind::NodePort => "node-port",
        })
    }
}

/// A set of VIP kinds; empty by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipKinds(u8);

impl VipKinds {
    /// All kinds.
    pub const ALL: VipKinds = VipKinds(0b1111);

    /// Whether it contains a kind.
    pub fn contains(self, kind: VipKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// The kinds contained in both.
    pub fn common(self, others: VipKinds) -> VipKinds {
        VipKinds(self.0 & others.0)
    }

    /// Adds a kind.
    pub fn insert(&mut self, kind: VipKind) {
        self.0 |= 1 << kind as u8;
    }

    /// The kinds, in their order.
    pub fn iter(self) -> impl Iterator<Item = VipKind> {
        VipKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<VipKind> for VipKinds {
    fn from_iter<I: IntoIterator<Item = VipKind>>(kinds: I) -> VipKinds {
        let mut all = VipKinds::default();
        kinds.into_iter().for_each(|kind| all.insert(kind));
        all
    }
}

/// One value per kind of VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerVipKind<T> {
    /// For the cluster IP.
    pub cluster: T,
    /// For external IPs.
    pub external: T,
    /// For load-balancer VIPs.
    pub load_balancer: T,
    /// For node ports.
    pub node_port: T,
}

impl<T> PerVipKind<T> {
    /// The value of one kind.
    pub fn get(&self, kind: VipKind) -> &T {
        match kind {
            VipKind::Cluster => &self.cluster,
            VipKind::External => &self.external,
            VipKind::LoadBalancer => &self.load_balancer,
            VipKind::NodePort => &self.node_port,
        }
    }

    /// The value of one kind, mutable.
    pub fn get_mut(&mut self, kind: VipKind) -> &mut T {
        match kind {
            VipKind::Cluster => &mut self.cluster,
            VipKind::External => &mut self.external,
            VipKind::LoadBalancer => &mut self.load_balancer,
            VipKind::NodePort => &mut self.node_port,
        }
    }
}

/// The VIPs of a service that this node serves. A VIP that is not served has no virtual server, no address on the
/// dummy device and no set entries, as if the object did not name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipFilter {
    /// The kinds that are served.
    pub kinds: VipKinds,
    /// VIPs that are not served although their kind is served, each with the reason.
    pub refused: Vec<RefusedVip>,
    /// Node ports are served only on the node's addresses inside these networks; `None` = wherever
    /// `nodePortAddresses` allows.
    pub node_port_networks: Option<Vec<IpNet>>,
}

impl Default for VipFilter {
    /// Everything is served.
    fn default() -> VipFilter {
        VipFilter { kinds: VipKinds::ALL, refused: Vec::new(), node_port_networks: None }
    }
}

/// A VIP that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedVip {
    /// Its kind.
    pub kind: VipKind,
    /// Its address.
    pub address: IpAddr,
    /// Why, for people.
    pub reason: String,
}

/// A limit on which sources may connect. It applies to all packets that arrive at the node, including those from
/// its pods, but not to the node's own processes: IPVS takes their packets before any filter sees them. Filters
/// only restrict: if several filters apply to the kinds of a VIP, a source must pass all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFilter {
    /// The kinds of VIPs to which it applies.
    pub kinds: VipKinds,
    /// What the ranges mean.
    pub action: SourceAction,
    /// Networks of both families. A list of allowed networks closes each family in which it has no network, unlike
    /// `spec.loadBalancerSourceRanges`.
    pub ranges: Vec<IpNet>,
}

/// What the ranges of a [`SourceFilter`] mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceAction {
    /// Only sources in the ranges may connect. Several lists without a common network admit no source, which is
    /// reported.
    Allow,
    /// Sources in the ranges may not connect. A network that covers a whole family admits no source of that family,
    /// which is reported too.
    Deny,
}

/// Which sources' addresses are replaced by the node's on the way to an endpoint. An endpoint that reaches itself
/// through a VIP is always masqueraded, because the connection cannot work otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// Per kind of VIP.
    pub treatments: PerVipKind<Treatment>,
    /// Sources that are never masqueraded, whatever the kind of VIP.
    pub except: Vec<IpNet>,
}

/// What happens to the source address of connections to a VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Treatment {
    /// The source address is treated as by kube-proxy.
    #[default]
    Default,
    /// The source address is kept.
    Never,
    /// The source address is replaced by an address that the kernel picks.
    Always,
    /// The source address is replaced if it is outside the cluster's pod networks (`detectLocalMode`). In a family
    /// whose pod networks are unknown, VIPs are treated by default.
    OffCluster,
    /// The source address is replaced if the chosen endpoint runs on another node.
    RemoteEndpoints,
    /// The source address is replaced by this address of the node. VIPs of the other family are treated by default.
    Address(IpAddr),
}

/// How TCP connections end when their endpoint is removed. UDP and SCTP connections end at once, as in kube-proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drain {
    /// The endpoint takes no new connections and is removed once it has none left.
    #[default]
    UntilIdle,
    /// Like [`Drain::UntilIdle`], but the endpoint is removed at the latest this long after this process first saw
    /// it leave.
    UntilDeadline(Duration),
    /// The endpoint is removed at once, with its connections.
    AtOnce,
}

/// The decision for one port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDecision {
    /// Scheduler, flags and persistence of the port's virtual servers.
    pub scheduling: Scheduling,
    /// The weight of each endpoint, in the order of [`PortView::endpoints`].
    pub weights: Vec<Weight>,
    /// Endpoints that are left out, as indexes into [`PortView::endpoints`].
    pub dropped: BTreeSet<usize>,
}

impl Decision {
    /// What kube-proxy does: the configured scheduler for everything, persistence from session affinity,
    /// equal weights.
    pub fn upstream(view: &ServiceView, node: &NodeView) -> Decision {
        Decision {
            handling: Handling::Handle,
            vips: VipFilter::default(),
            sources: Vec::new(),
            masquerade: Masquerade::default(),
            drain: Drain::default(),
            ports: view.ports.iter().map(|port| PortDecision::upstream(view, port, node)).collect(),
        }
    }
}

impl PortDecision {
    /// See [`Decision::upstream`].
    pub fn upstream(view: &ServiceView, port: &PortView, node: &NodeView) -> PortDecision {
        let scheduler = node.config.scheduler.clone();
        // kube-proxy sets the port flag only for `mh`, although `sh` has the same flag.
        let flags = if scheduler == "mh" { SchedulerFlags::PORT } else { SchedulerFlags::default() };
        let persistence = view
            .service
            .client_ip_affinity
            .map(|timeout| Persistence { timeout, prefix: port.family.full_prefix() });
        PortDecision {
            scheduling: Scheduling { scheduler, flags, persistence },
            weights: vec![Weight::DEFAULT; port.endpoints.len()],
            dropped: BTreeSet::new(),
        }
    }
}
