//! Messages for the log.

use std::fmt;

use weir_core::kernel::ReadError;

/// A message for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// This node's object was deleted.
    NodeGone,
    /// No Node object with this name exists.
    NoNode(String),
    /// This node's object has no pod networks, which masquerading needs.
    NoNetworks,
    /// Plugins read objects that were not listed in time.
    Unlisted,
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
    /// iptables matches and targets that were missing work now.
    ExtensionsBack,
}

impl Remark {
    /// Whether the message calls for action.
    pub fn is_warning(&self) -> bool {
        *self != Remark::ExtensionsBack
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::NodeGone => f.write_str(
                "this node's Node object is gone; its last known addresses, zone and networks stay in use",
            ),
            Remark::NoNode(name) => write!(
                f,
                "there is no Node object `{name}`, so this node's addresses, zone and pod networks are unknown (if \
                 the Node has another name, set that name with --hostname-override)"
            ),
            Remark::NoNetworks => f.write_str(
                "this node's Node object has no podCIDRs, which detectLocalMode NodeCIDR needs to tell pods from other \
                 sources; until the Node has podCIDRs, connections from outside the cluster to cluster IPs are not \
                 masqueraded",
            ),
            Remark::Unlisted => f.write_str(
                "plugins read nodes or namespaces, but the API server did not list them (check that weir's account \
                 may list and watch them); plugins decide without this data",
            ),
            Remark::NodesUnlisted => f.write_str(
                "the API server did not list the nodes (check that weir's account may list and watch them); \
                 load-balancer and external IPs are bound without checking whether they are addresses of other nodes",
            ),
            Remark::ManyNodes { nodes, most } => write!(
                f,
                "the cluster has {nodes} nodes, and weir follows at most {most}, so load-balancer and external IPs are \
                 bound without checking whether they are addresses of other nodes"
            ),
            Remark::Addresses { error, known: true } => {
                write!(f, "{error}; the last known addresses stay in use, and weir will retry soon")
            }
            Remark::Addresses { error, known: false } => {
                write!(f, "{error}; nothing is written until addresses can be read")
            }
            Remark::ExtensionsBack => f.write_str("all iptables matches and targets work now"),
        }
    }
}
