//! The ipsets: their names, types, parameters, comments and entries.
//!
//! Names, types and comments are what kube-proxy 1.37 creates (`pkg/proxy/ipvs/ipset.go`); a set with other
//! parameters would stop a later kube-proxy from syncing at all, so they are kept to the letter.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::net::{Family, Protocol};

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
    /// Load-balancer VIPs the node itself may use although there are source ranges.
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
    /// VIPs and node ports with the sources that are never masqueraded.
    MasqueradeExcept,
    /// VIPs and node ports that are not treated by default. Those in no other set are never masqueraded.
    Masquerade,
    /// VIPs and node ports whose sources are always masqueraded.
    MasqueradeAlways,
    /// VIPs and node ports whose sources are masqueraded if they are outside the cluster.
    MasqueradeOffCluster,
    /// VIPs and node ports whose sources are masqueraded if the endpoint is on another node.
    MasqueradeRemote,
    /// VIPs and node ports whose sources are replaced by the first chosen address.
    Snat1,
    /// VIPs and node ports whose sources are replaced by the second chosen address.
    Snat2,
    /// VIPs and node ports with the sources that may not connect.
    SourceDeny,
    /// VIPs and node ports to which only some sources may connect.
    SourceLimited,
    /// VIPs and node ports with the sources that may connect.
    SourceAllow,
}

impl Set {
    /// kube-proxy's sets, in the order of the table they are documented in. They are always there.
    pub const UPSTREAM: [Set; 17] = [
        Set::LoopBack,
        Set::ClusterIp,
        Set::ExternalIp,
        Set::ExternalIpLocal,
        Set::LoadBalancer,
        Set::LoadBalancerLocal,
        Set::LoadBalancerFw,
        Set::LoadBalancerSourceIp,
        Set::LoadBalancerSourceCidr,
        Set::NodePortTcp,
        Set::NodePortLocalTcp,
        Set::NodePortUdp,
        Set::NodePortLocalUdp,
        Set::NodePortSctp,
        Set::NodePortLocalSctp,
        Set::HealthCheckNodePort,
        Set::IpvsIps,
    ];

    /// The sets of decisions that kube-proxy cannot make. Each is there only while a rule asks for it, so that a node
    /// without such decisions looks like kube-proxy's.
    pub const POLICY: [Set; 10] = [
        Set::MasqueradeExcept,
        Set::Masquerade,
        Set::MasqueradeAlways,
        Set::MasqueradeOffCluster,
        Set::MasqueradeRemote,
        Set::Snat1,
        Set::Snat2,
        Set::SourceDeny,
        Set::SourceLimited,
        Set::SourceAllow,
    ];

    /// Whether the set is one of [`Set::POLICY`].
    pub fn is_of_policy(self) -> bool {
        Set::POLICY.contains(&self)
    }

    /// The ipset type name.
    pub fn set_type(self) -> SetType {
        match self {
            Set::LoopBack | Set::LoadBalancerSourceIp => SetType::HashIpPortIp,
            Set::LoadBalancerSourceCidr | Set::MasqueradeExcept | Set::SourceDeny | Set::SourceAllow => {
                SetType::HashIpPortNet
            }
            Set::NodePortTcp
            | Set::NodePortLocalTcp
            | Set::NodePortUdp
            | Set::NodePortLocalUdp
            | Set::HealthCheckNodePort => SetType::BitmapPort,
            Set::IpvsIps => SetType::HashIp,
            Set::ClusterIp
            | Set::ExternalIp
            | Set::ExternalIpLocal
            | Set::LoadBalancer
            | Set::LoadBalancerLocal
            | Set::LoadBalancerFw
            | Set::NodePortSctp
            | Set::NodePortLocalSctp
            | Set::Masquerade
            | Set::MasqueradeAlways
            | Set::MasqueradeOffCluster
            | Set::MasqueradeRemote
            | Set::Snat1
            | Set::Snat2
            | Set::SourceLimited => SetType::HashIpPort,
        }
    }

    /// The comment of the rules that use the set.
    pub fn comment(self) -> &'static str {
        match self {
            Set::LoopBack => "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
            Set::ClusterIp => "Kubernetes service cluster ip + port for masquerade purpose",
            Set::ExternalIp => "Kubernetes service external ip + port for masquerade and filter purpose",
            Set::ExternalIpLocal => "Kubernetes service external ip + port with externalTrafficPolicy=local",
            Set::LoadBalancer => "Kubernetes service lb portal",
            Set::LoadBalancerLocal => {
                "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"
            }
            Set::LoadBalancerFw => {
                "Kubernetes service load balancer ip + port for load balancer with sourceRange"
            }
            Set::LoadBalancerSourceIp => {
                "Kubernetes service load balancer ip + port + source IP for packet filter purpose"
            }
            Set::LoadBalancerSourceCidr => {
                "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"
            }
            Set::NodePortTcp => "Kubernetes nodeport TCP port for masquerade purpose",
            Set::NodePortLocalTcp => "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
            Set::NodePortUdp => "Kubernetes nodeport UDP port for masquerade purpose",
            Set::NodePortLocalUdp => "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
            Set::NodePortSctp => {
                "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'"
            }
            Set::NodePortLocalSctp => {
                "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'"
            }
            Set::HealthCheckNodePort => "Kubernetes health check node port",
            Set::IpvsIps => "Addresses on the ipvs interface",
            Set::MasqueradeExcept => "weir: sources that a policy never masquerades",
            Set::Masquerade => "weir: masquerading is decided by a policy",
            Set::MasqueradeAlways => "weir: a policy masquerades all sources",
            Set::MasqueradeOffCluster => "weir: a policy masquerades sources outside the cluster",
            Set::MasqueradeRemote => "weir: a policy masquerades on the way to other nodes",
            Set::Snat1 => "weir: a policy chose the first source address",
            Set::Snat2 => "weir: a policy chose the second source address",
            Set::SourceDeny => "weir: sources that a policy shuts out",
            Set::SourceLimited => "weir: a policy says who may connect",
            Set::SourceAllow => "weir: sources that a policy admits",
        }
    }

    /// The name without the family's prefix.
    fn suffix(self) -> &'static str {
        match self {
            Set::LoopBack => "LOOP-BACK",
            Set::ClusterIp => "CLUSTER-IP",
            Set::ExternalIp => "EXTERNAL-IP",
            Set::ExternalIpLocal => "EXTERNAL-IP-LOCAL",
            Set::LoadBalancer => "LOAD-BALANCER",
            Set::LoadBalancerLocal => "LOAD-BALANCER-LOCAL",
            Set::LoadBalancerFw => "LOAD-BALANCER-FW",
            Set::LoadBalancerSourceIp => "LOAD-BALANCER-SOURCE-IP",
            Set::LoadBalancerSourceCidr => "LOAD-BALANCER-SOURCE-CIDR",
            Set::NodePortTcp => "NODE-PORT-TCP",
            Set::NodePortLocalTcp => "NODE-PORT-LOCAL-TCP",
            Set::NodePortUdp => "NODE-PORT-UDP",
            Set::NodePortLocalUdp => "NODE-PORT-LOCAL-UDP",
            Set::NodePortSctp => "NODE-PORT-SCTP-HASH",
            Set::NodePortLocalSctp => "NODE-PORT-LOCAL-SCTP-HASH",
            Set::HealthCheckNodePort => "HEALTH-CHECK-NODE-PORT",
            Set::IpvsIps => "IPVS-IPS",
            Set::MasqueradeExcept => "MASQ-EXCEPT",
            Set::Masquerade => "MASQ",
            Set::MasqueradeAlways => "MASQ-ALWAYS",
            Set::MasqueradeOffCluster => "MASQ-OFF-CLUSTER",
            Set::MasqueradeRemote => "MASQ-REMOTE",
            Set::Snat1 => "SNAT-1",
            Set::Snat2 => "SNAT-2",
            Set::SourceDeny => "SOURCE-DENY",
            Set::SourceLimited => "SOURCE-LIMITED",
            Set::SourceAllow => "SOURCE-ALLOW",
        }
    }
}

/// The longest name of a set, in bytes (`IPSET_MAXNAMELEN` is 32 with the closing zero,
/// `include/uapi/linux/netfilter/ipset/ip_set.h`).
const NAME_BYTES: usize = 31;

/// One of weir's sets in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName {
    /// The family the set serves.
    pub family: Family,
    /// Which set.
    pub set: Set,
}

impl SetName {
    /// The name of `set` in `family`.
    pub fn new(family: Family, set: Set) -> SetName {
        SetName { family, set }
    }

    /// All names of one family.
    pub fn all(family: Family) -> impl Iterator<Item = SetName> {
        Set::UPSTREAM.into_iter().chain(Set::POLICY).map(move |set| SetName { family, set })
    }

    /// The names of kube-proxy's sets in one family.
    pub fn upstream(family: Family) -> impl Iterator<Item = SetName> {
        Set::UPSTREAM.into_iter().map(move |set| SetName { family, set })
    }

    /// What the set is created with when it holds no more than the usual number of entries.
    pub fn kind(self) -> SetKind {
        match self.set.set_type() {
            SetType::BitmapPort => SetKind::Bitmap,
            hash => SetKind::Hash { set_type: hash, family: self.family, max_elements: MAX_ELEMENTS },
        }
    }
}

impl SetName {
    /// The two parts of the name.
    fn parts(self) -> (&'static str, &'static str) {
        let prefix = match (self.set.is_of_policy(), self.family) {
            (false, Family::V4) => "KUBE-",
            (false, Family::V6) => "KUBE-6-",
            (true, Family::V4) => "WEIR-",
            (true, Family::V6) => "WEIR-6-",
        };
        // Two IPv6 names are too long for the kernel and are cut, as kube-proxy cuts them.
        let suffix = self.set.suffix();
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

/// A name that is none of weir's sets.
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

/// The ipset types in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetType {
    /// `hash:ip`
    HashIp,
    /// `hash:ip,port`
    HashIpPort,
    /// `hash:ip,port,ip`
    HashIpPortIp,
    /// `hash:ip,port,net`
    HashIpPortNet,
    /// `bitmap:port`
    BitmapPort,
}

impl SetType {
    /// All types.
    pub const ALL: [SetType; 5] = [
        SetType::HashIp,
        SetType::HashIpPort,
        SetType::HashIpPortIp,
        SetType::HashIpPortNet,
        SetType::BitmapPort,
    ];

    /// The name the kernel knows the type by.
    pub fn name(self) -> &'static str {
        match self {
            SetType::HashIp => "hash:ip",
            SetType::HashIpPort => "hash:ip,port",
            SetType::HashIpPortIp => "hash:ip,port,ip",
            SetType::HashIpPortNet => "hash:ip,port,net",
            SetType::BitmapPort => "bitmap:port",
        }
    }
}

impl fmt::Display for SetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many entries a hash set may hold, as kube-proxy creates it.
pub const MAX_ELEMENTS: u32 = 65536;

/// What a set is: its type and the parameters that must match for kube-proxy to accept it.
///
/// `hashsize` and `bucketsize` are left out: the kernel grows the first, and `create -exist` accepts any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// A hash set.
    Hash {
        /// Its type.
        set_type: SetType,
        /// The family of its addresses.
        family: Family,
        /// How many entries it may hold.
        max_elements: u32,
    },
    /// `bitmap:port range 0-65535`; it has no family.
    Bitmap,
    /// Anything else that was found under one of our names, described in the kernel's words: another type,
    /// another range, or extensions (counters, comments, timeouts), which kube-proxy refuses.
    Foreign(String),
}

impl SetKind {
    /// Whether a set of the other kind can take this one's place while rules name it: the kernel asks for the
    /// same type and family (`ip_set_swap`, `net/netfilter/ipset/ip_set_core.c`).
    pub fn swaps_with(&self, other: &SetKind) -> bool {
        let (a, b) = (self.to_string(), other.to_string());
        let essence = |text: &str| -> Vec<String> {
            let words: Vec<&str> = text.split(' ').collect();
            let family = words.iter().position(|w| *w == "family").and_then(|i| words.get(i + 1));
            words.first().into_iter().chain(family).map(|w| w.to_string()).collect()
        };
        essence(&a) == essence(&b)
    }
}

impl fmt::Display for SetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetKind::Hash { set_type, family, max_elements } => {
                let family = match family {
                    Family::V4 => "inet",
                    Family::V6 => "inet6",
                };
                write!(f, "{set_type} family {family} maxelem {max_elements}")
            }
            SetKind::Bitmap => f.write_str("bitmap:port range 0-65535"),
            SetKind::Foreign(text) => f.write_str(text),
        }
    }
}

impl FromStr for SetKind {
    type Err = std::convert::Infallible;

    /// Reads what [`SetKind`] prints; everything else is [`SetKind::Foreign`].
    fn from_str(text: &str) -> Result<SetKind, Self::Err> {
        if text == SetKind::Bitmap.to_string() {
            return Ok(SetKind::Bitmap);
        }
        let words: Vec<&str> = text.split(' ').collect();
        if let [set_type, "family", family, "maxelem", max_elements] = words[..]
            && let Some(set_type) = SetType::ALL.into_iter().find(|t| t.name() == set_type)
            && let Some(family) = match family {
                "inet" => Some(Family::V4),
                "inet6" => Some(Family::V6),
                _ => None,
            }
            && let Ok(max_elements) = max_elements.parse()
            && set_type != SetType::BitmapPort
        {
            return Ok(SetKind::Hash { set_type, family, max_elements });
        }
        Ok(SetKind::Foreign(text.to_owned()))
    }
}

/// A member of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetEntry {
    /// `hash:ip`
    Ip(IpAddr),
    /// `hash:ip,port`
    IpPort(IpAddr, Protocol, u16),
    /// `hash:ip,port,ip`
    IpPortIp(IpAddr, Protocol, u16, IpAddr),
    /// `hash:ip,port,net`; host bits are zero.
    IpPortNet(IpAddr, Protocol, u16, IpNet),
    /// `bitmap:port`
    Port(u16),
}

impl SetEntry {
    /// The type of set the entry fits in.
    pub fn set_type(&self) -> SetType {
        match self {
            SetEntry::Ip(_) => SetType::HashIp,
            SetEntry::IpPort(..) => SetType::HashIpPort,
            SetEntry::IpPortIp(..) => SetType::HashIpPortIp,
            SetEntry::IpPortNet(..) => SetType::HashIpPortNet,
            SetEntry::Port(_) => SetType::BitmapPort,
        }
    }

    /// The family of the entry's addresses; `None` for ports.
    pub fn family(&self) -> Option<Family> {
        match self {
            SetEntry::Ip(ip)
            | SetEntry::IpPort(ip, ..)
            | SetEntry::IpPortIp(ip, ..)
            | SetEntry::IpPortNet(ip, ..) => Some(Family::of(*ip)),
            SetEntry::Port(_) => None,
        }
    }
}

impl fmt::Display for SetEntry {
    /// Prints the entry as `ipset list` does, but a network of one address keeps its length, so that the text
    /// can be read back without knowing the set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetEntry::Ip(ip) => write!(f, "{ip}"),
            SetEntry::IpPort(ip, protocol, port) => write!(f, "{ip},{protocol}:{port}"),
            SetEntry::IpPortIp(ip, protocol, port, source) => write!(f, "{ip},{protocol}:{port},{source}"),
            SetEntry::IpPortNet(ip, protocol, port, net) => write!(f, "{ip},{protocol}:{port},{net}"),
            SetEntry::Port(port) => write!(f, "{port}"),
        }
    }
}

/// A text that is no entry of any of the set types in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a set entry")]
pub struct BadEntry(pub String);

impl FromStr for SetEntry {
    type Err = BadEntry;

    fn from_str(text: &str) -> Result<SetEntry, BadEntry> {
        parse_entry(text).ok_or_else(|| BadEntry(text.to_owned()))
    }
}

fn parse_entry(text: &str) -> Option<SetEntry> {
    if let Ok(port) = text.parse() {
        return Some(SetEntry::Port(port));
    }
    let mut fields = text.split(',');
    let ip: IpAddr = fields.next()?.parse().ok()?;
    let Some(service) = fields.next() else { return Some(SetEntry::Ip(ip)) };
    let (protocol, port) = service.split_once(':')?;
    let (protocol, port) = (protocol.parse().ok()?, port.parse().ok()?);
    let entry = match fields.next() {
        None => SetEntry::IpPort(ip, protocol, port),
        Some(source) if source.contains('/') => SetEntry::IpPortNet(ip, protocol, port, source.parse().ok()?),
        Some(source) => SetEntry::IpPortIp(ip, protocol, port, source.parse().ok()?),
    };
    fields.next().is_none().then_some(entry)
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

    #[test]
    fn entries_are_read_back() {
        for text in [
            "10.96.0.1",
            "fd00::1",
            "10.96.0.1,tcp:443",
            "fd00::1,sctp:99",
            "10.0.0.1,udp:53,10.0.0.1",
            "10.0.0.1,tcp:443,10.0.0.0/8",
            "10.0.0.1,tcp:443,10.1.2.3/32",
            "30080",
        ] {
            assert_eq!(text.parse::<SetEntry>().unwrap().to_string(), text);
        }
        for text in ["", "70000", "10.0.0.1,tcp", "10.0.0.1,icmp:1", "10.0.0.1,tcp:1,2,3", "10.0.0.1,tcp:1,x"]
        {
            assert!(text.parse::<SetEntry>().is_err(), "{text}");
        }
    }
}
