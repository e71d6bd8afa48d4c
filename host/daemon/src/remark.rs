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
    /// There are more nodes than are followed.
    ManyNodes {
        /// How many there are.
        nodes: usize,
        /// How many are followed at most.
        most: usize,
    },
    /// Addresses could not be read.
    Addresses {
        /// Why.
        error: ReadError,
        /// Whether they could be read before.
        known: bool,
    },
    /// iptables matches and targets that were missing work now.
    ExtensionsBack,
}

impl Remark {
    /// Whether it calls for action.
    pub fn is_warning(&self) -> bool {
        *self != Remark::ExtensionsBack
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::NodeGone => f.write_str(
                "the Node object is gone: its last known addresses, zone and networks stay in use",
            ),
            Remark::NoNode(name) => write!(
                f,
                "no Node object `{name}`: its addresses, zone and pod networks are unknown (if it has another name, give \
                 --hostname-override)"
            ),
            Remark::NoNetworks => f.write_str(
                "the Node object has no podCIDRs: until it does, traffic is not masqueraded by them (detectLocalMode NodeCIDR)",
            ),
            Remark::Unlisted => f.write_str(
                "plugins read nodes or namespaces, but the API server did not list them: plugins decide without them",
            ),
            Remark::NodesUnlisted => f.write_str(
                "the API server did not list the nodes (may this account list and watch them?): load-balancer and \
                 external IPs are bound without checking whether they are addresses of other nodes",
            ),
            Remark::ManyNodes { nodes, most } => write!(
                f,
                "the cluster has {nodes} nodes, and weir follows at most {most}: load-balancer and external IPs are \
                 bound without checking whether they are addresses of other nodes"
            ),
            Remark::Addresses { error, known: true } => {
                write!(f, "{error}: the last known addresses stay in use; weir will retry soon")
            }
            Remark::Addresses { error, known: false } => {
                write!(f, "{error}: nothing is written until addresses can be read")
            }
            Remark::ExtensionsBack => f.write_str("all iptables matches and targets work now"),
        }
    }
}
