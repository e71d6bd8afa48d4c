//! Conditions under which weir's plan may differ from what the cluster asks for.

use std::fmt;

use weir_core::kernel::ReadError;

/// A condition under which the plan may differ from what the cluster asks for. It is in force until the next overview
/// without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// This node's object was deleted.
    NodeGone,
    /// No Node object with this name exists.
    NoNode(String),
    /// This node's object has no pod networks, which masquerading needs.
    NoNetworks,
    /// Plugins read objects that were not listed in time.
    Unlisted {
        /// The resources: `nodes`, `namespaces`, or both.
        resources: &'static str,
        /// Whether new plugins wait for these objects.
        awaited: bool,
    },
    /// The nodes were not listed in time, and VIPs may be their addresses.
    NodesUnlisted,
    /// The cluster has more nodes than weir follows.
    ManyNodes {
        /// The number of nodes.
        nodes: usize,
        /// The largest number of nodes that weir follows.
        most: usize,
    },
    /// Addresses could not be read.
    Addresses {
        /// Why.
        error: ReadError,
        /// Whether addresses could be read before.
        known: bool,
    },
}

impl Warning {
    /// The reason in the metric `weir_warnings`.
    pub fn reason(&self) -> &'static str {
        match self {
            Warning::NodeGone => "NodeGone",
            Warning::NoNode(_) => "NoNode",
            Warning::NoNetworks => "NoNetworks",
            Warning::Unlisted { .. } => "Unlisted",
            Warning::NodesUnlisted => "NodesUnlisted",
            Warning::ManyNodes { .. } => "ManyNodes",
            Warning::Addresses { .. } => "Addresses",
        }
    }

    /// Whether an operator can end the condition, and should. The other conditions are limits of weir.
    pub fn is_urgent(&self) -> bool {
        !matches!(self, Warning::ManyNodes { .. })
    }

    /// What the operator should do.
    pub fn fix(&self) -> &'static str {
        match self {
            Warning::NodeGone => {
                "if this node still belongs to the cluster, restart its kubelet, which registers the Node again"
            }
            Warning::NoNode(_) => "if the Node has another name, set that name with --hostname-override",
            Warning::NoNetworks => {
                "have the cluster allocate podCIDRs to nodes, or set detectLocalMode to another mode"
            }
            Warning::Unlisted { .. } => "check that weir's account may list and watch these resources",
            Warning::NodesUnlisted => "check that weir's account may list and watch nodes",
            Warning::ManyNodes { .. } => "make sure that no Service has the address of a node as a VIP",
            Warning::Addresses { .. } => "run `weir doctor` on this node",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NodeGone => f.write_str(
                "this node's Node object is gone; its last known addresses, zone and networks stay in use",
            ),
            Warning::NoNode(name) => write!(
                f,
                "there is no Node object `{name}`, so this node's addresses, zone and pod networks are unknown"
            ),
            Warning::NoNetworks => f.write_str(
                "this node's Node object has no podCIDRs, which detectLocalMode NodeCIDR needs to tell pods from other \
                 sources; until the Node has podCIDRs, connections from outside the cluster to cluster IPs are not \
                 masqueraded",
            ),
            Warning::Unlisted { resources, awaited: false } => write!(
                f,
                "plugins read {resources}, but the API server did not list them; plugins decide without this data"
            ),
            Warning::Unlisted { resources, awaited: true } => write!(
                f,
                "new plugins read {resources}, but the API server did not list them; until it does, weir keeps the \
                 previous plugins"
            ),
            Warning::NodesUnlisted => f.write_str(
                "the API server did not list the nodes; load-balancer and external IPs are bound without checking \
                 whether they are addresses of other nodes",
            ),
            Warning::ManyNodes { nodes, most } => write!(
                f,
                "the cluster has {nodes} nodes, and weir follows at most {most}, so load-balancer and external IPs are \
                 bound without checking whether they are addresses of other nodes"
            ),
            Warning::Addresses { error, known: true } => {
                write!(f, "{error}; the last known addresses stay in use, and weir will retry soon")
            }
            Warning::Addresses { error, known: false } => {
                write!(f, "{error}; nothing is written until addresses can be read")
            }
        }
    }
}
