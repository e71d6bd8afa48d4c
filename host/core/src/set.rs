//! The ipsets: names, types, parameters, comments and entries. [One table](SETS) says what each is for.
//!
//! Names, types and comments are exactly those that kube-proxy 1.37 creates (`pkg/proxy/ipvs/ipset.go`). If a set
//! had other parameters, a kube-proxy that runs later could not sync at all.

#![deny(clippy::wildcard_enum_match_arm)]

use std::fmt;
use std::str::FromStr;

use crate::net::Family;

mod entry;
mod kind;
mod table;

pub use entry::{BadEntry, SetEntry};
pub use kind::{MAX_ELEMENTS, SetKind, SetType};
pub use table::{Fill, Owner, Row, SETS, Step, Vip};

/// The sets that exist once per family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Set {
    /// Endpoints on this node, for hairpin traffic.
    LoopBack,
    /// Cluster IPs.
    ClusterIp,
    /// External IPs of services with external traffic policy Cluster.
    ExternalIp,
    /// External IPs of services with external traffic policy Local.
    ExternalIpLocal,
    /// Load-balancer VIPs.
    LoadBalancer,
    /// Load-balancer VIPs of services with external traffic policy Local.
    LoadBalancerLocal,
    /// Load-balancer VIPs with source ranges.
    LoadBalancerFw,
    /// Load-balancer VIPs that the node itself may use although they have source ranges.
    LoadBalancerSourceIp,
    /// The source ranges of load-balancer VIPs.
    LoadBalancerSourceCidr,
    /// TCP node ports.
    NodePortTcp,
    /// TCP node ports of services with external traffic policy Local.
    NodePortLocalTcp,
    /// UDP node ports.
    NodePortUdp,
    /// UDP node ports of services with external traffic policy Local.
    NodePortLocalUdp,
    /// SCTP node ports, with the node's address.
    NodePortSctp,
    /// SCTP node ports of services with external traffic policy Local, with the node's address.
    NodePortLocalSctp,
    /// Health check node ports.
    HealthCheckNodePort,
    /// The addresses on the dummy device.
    IpvsIps,
    /// VIPs and node ports with sources that are never masqueraded.
    MasqueradeExcept,
    /// VIPs and node ports whose treatment is not the default. Those in none of the next five sets are never
    /// masqueraded.
    Masquerade,
    /// VIPs and node ports whose sources are always masqueraded.
    MasqueradeAlways,
    /// VIPs and node ports whose sources are masqueraded if they are outside the cluster.
    MasqueradeOffCluster,
    /// VIPs and node ports whose sources are masqueraded if the endpoint is on another node.
    MasqueradeRemote,
    /// VIPs and node ports whose sources are replaced with the first chosen address.
    Snat1,
    /// VIPs and node ports whose sources are replaced with the second chosen address.
    Snat2,
    /// VIPs and node ports with sources that may not connect.
    SourceDeny,
    /// VIPs and node ports to which only some sources may connect.
    SourceLimited,
    /// VIPs and node ports with sources that may connect.
    SourceAllow,
}

impl Set {
    /// Everything about the set.
    pub fn row(self) -> &'static Row {
        &SETS[self as usize]
    }

    /// Whether the set implements decisions that kube-proxy does not have. Such a set exists only while a rule
    /// uses it, so that a node without such decisions looks like kube-proxy's.
    pub fn is_of_policy(self) -> bool {
        self.row().owner == Owner::Weir
    }

    /// The type of its members.
    pub fn set_type(self) -> SetType {
        self.row().fill.set_type()
    }

    /// The comment of the rules that use the set.
    pub fn comment(self) -> &'static str {
        self.row().comment
    }
}

/// The maximum length of a set's name, in bytes (`IPSET_MAXNAMELEN` is 32 with the terminating zero,
/// `include/uapi/linux/netfilter/ipset/ip_set.h`).
const NAME_BYTES: usize = 31;

/// One of weir's sets in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName {
    /// The family the set serves.
    pub family: Family,
    /// The set.
    pub set: Set,
}

impl SetName {
    /// The name of `set` in `family`.
    pub fn new(family: Family, set: Set) -> SetName {
        SetName { family, set }
    }

    /// All names of one family.
    pub fn all(family: Family) -> impl Iterator<Item = SetName> {
        SETS.iter().map(move |row| SetName { family, set: row.set })
    }

    /// The names of kube-proxy's sets in one family.
    pub fn upstream(family: Family) -> impl Iterator<Item = SetName> {
        SetName::all(family).filter(|name| !name.set.is_of_policy())
    }

    /// The kind with which the set is created if it has at most the usual number of entries.
    pub fn kind(self) -> SetKind {
        let set_type = self.set.set_type();
        if set_type == SetType::BitmapPort {
            return SetKind::Bitmap;
        }
        SetKind::Hash { set_type, family: self.family, max_elements: MAX_ELEMENTS }
    }

    /// Whether an entry has the set's type, and all its addresses have the set's family.
    pub fn fits(self, entry: SetEntry) -> bool {
        entry.set_type() == self.set.set_type() && entry.families().all(|family| family == self.family)
    }

    /// The entry of another set without which an entry of this one has no meaning; see [`Row::beside`].
    pub fn companion(self, entry: SetEntry) -> Option<(SetName, SetEntry)> {
        let set = self.set.row().beside?;
        Some((SetName::new(self.family, set), entry.without_source()))
    }

    /// The two parts of the name.
    fn parts(self) -> (&'static str, &'static str) {
        let prefix = match (self.set.is_of_policy(), self.family) {
            (false, Family::V4) => "KUBE-",
            (false, Family::V6) => "KUBE-6-",
            (true, Family::V4) => "WEIR-",
            (true, Family::V6) => "WEIR-6-",
        };
        // Two IPv6 names are too long for the kernel and are truncated, as kube-proxy truncates them.
        let suffix = self.set.row().suffix;
        let room = NAME_BYTES - prefix.len();
        (prefix, &suffix[..suffix.len().min(room)])
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, suffix) = self.parts();
        write!(f, "{prefix}{suffix}")
    }
}

/// A name that is not one of weir's sets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of the sets of IPVS mode")]
pub struct ForeignSet(pub String);

impl FromStr for SetName {
    type Err = ForeignSet;

    fn from_str(text: &str) -> Result<SetName, ForeignSet> {
        Family::BOTH
            .into_iter()
            .flat_map(SetName::all)
            .find(|name| {
                let (prefix, suffix) = name.parts();
                text.strip_prefix(prefix) == Some(suffix)
            })
            .ok_or_else(|| ForeignSet(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_names_are_cut_to_31_bytes() {
        let cut = SetName::new(Family::V6, Set::LoadBalancerSourceCidr).to_string();
        assert_eq!(cut, "KUBE-6-LOAD-BALANCER-SOURCE-CID");
        let cut = SetName::new(Family::V6, Set::NodePortLocalSctp).to_string();
        assert_eq!(cut, "KUBE-6-NODE-PORT-LOCAL-SCTP-HAS");
        assert!(SetName::all(Family::V6).all(|name| name.to_string().len() <= NAME_BYTES));
    }

    #[test]
    fn names_and_kinds_are_read_back() {
        for name in Family::BOTH.into_iter().flat_map(SetName::all) {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(name.kind().to_string().parse(), Ok(name.kind()));
        }
        assert!("KUBE-SOMETHING".parse::<SetName>().is_err());
        let foreign = "hash:ip,port family inet maxelem 65536 counters";
        assert_eq!(foreign.parse(), Ok(SetKind::Foreign(foreign.to_owned())));
    }
}
