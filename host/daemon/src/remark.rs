//! What the daemon has to say to whoever reads its log.

use std::fmt;

use weir_core::kernel::ReadError;

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// This node's object was deleted.
    NodeGone,
    /// There is no object of this name for this node.
    NoNode(String),
    /// This node's object has no networks of pods, which masquerading needs.
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
    /// Matches and targets of iptables that were missing work now.
    ExtensionsBack,
}

impl Remark {
    /// Whether something should be done about it.
    pub fn is_warning(&self) -> bool {
        *self != Remark::ExtensionsBack
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::NodeGone => f.write_str(
                "the Node object is gone: its last addresses, zone and networks stay in force",
            ),
            Remark::NoNode(name) => write!(
                f,
                "there is no Node object `{name}`: its addresses, zone and pod networks are unknown (another name? give \
                 --hostname-override)"
            ),
            Remark::NoNetworks => f.write_str(
                "the Node object has no podCIDRs: nothing is masqueraded by them (detectLocalMode NodeCIDR) until it has",
            ),
            Remark::Unlisted => f.write_str(
                "plugins read nodes or namespaces, which the API server did not list: they are decided without",
            ),
            Remark::NodesUnlisted => f.write_str(
                "the API server did not list the nodes (may this account list and watch them?): load-balancer and \
                 external IPs are bound without knowing whether they are addresses of other nodes",
            ),
            Remark::ManyNodes { nodes, most } => write!(
                f,
                "the cluster has {nodes} nodes, and more than {most} are not followed: load-balancer and external IPs are \
                 bound without knowing whether they are addresses of other nodes"
            ),
            Remark::Addresses { error, known: true } => {
                write!(f, "{error}: the last known addresses stay in force, tried again soon")
            }
            Remark::Addresses { error, known: false } => {
                write!(f, "{error}: nothing is written until addresses can be read")
            }
            Remark::ExtensionsBack => f.write_str("all matches and targets of iptables work now"),
        }
    }
}
