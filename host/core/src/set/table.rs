//! The table of sets: everything weir knows about a set is in its row. Plans, comparisons, prerequisites, checks
//! and rules use it. A new set needs a variant of [`Set`], a row here, and a rule that uses it.

use ipnet::IpNet;

use super::{Set, SetEntry, SetType};
use crate::decision::Treatment;
use crate::decision::VipKind::{self, Cluster, External, LoadBalancer, NodePort};
use crate::net::Protocol;
use crate::objects::TrafficPolicy;
use crate::state::VirtualServer;
use crate::wants::{Limits, Ranges, Want};

/// Everything known about a set.
pub struct Row {
    /// The set.
    pub set: Set,
    /// Which programs know it.
    pub owner: Owner,
    /// The name without the prefixes for owner and family.
    pub suffix: &'static str,
    /// The comment of the rules that use it.
    pub comment: &'static str,
    /// The effect of its entries, which determines their order.
    pub step: Step,
    /// The set that must also contain an entry's VIP; without that, the entry has no meaning.
    pub beside: Option<Set>,
    /// Which entries it has.
    pub fill: Fill,
}

/// The programs that know a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// kube-proxy, which requires the set to exist.
    KubeProxy,
    /// Only weir; the set exists only while a rule uses it.
    Weir,
}

/// The effect of a set's entries, in the order in which they are added; they are removed in reverse order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// They admit sources to a VIP that an entry of the companion set closes, so they are added first.
    Admits,
    /// They close a VIP to sources: it must not be reachable without them.
    Closes,
    /// They determine how a VIP is treated, before it is recognized as one.
    Refines,
    /// They make a VIP recognized.
    Serves,
    /// They close the host's own ports on an address: it must not be bound without them.
    Guards,
}

/// Which entries a set has.
pub enum Fill {
    /// Address and port of each selected VIP.
    Vip(fn(&Vip<'_>) -> bool),
    /// The port number of each selected VIP of this protocol.
    Port(Protocol, fn(&Vip<'_>) -> bool),
    /// VIPs with these sources.
    Sources(for<'a> fn(&Vip<'a>) -> &'a [IpNet]),
    /// Each selected VIP, with its own address as the source.
    Itself(fn(&Vip<'_>) -> bool),
    /// The address of each selected VIP.
    Address(fn(&Vip<'_>) -> bool),
    /// Endpoints on this node, with their own address as the source.
    Hairpin,
    /// Health check ports of services.
    HealthPort,
}

impl Fill {
    /// The type of a set with this fill.
    pub fn set_type(&self) -> SetType {
        match self {
            Fill::Vip(_) => SetType::HashIpPort,
            Fill::Port(..) | Fill::HealthPort => SetType::BitmapPort,
            Fill::Sources(_) => SetType::HashIpPortNet,
            Fill::Itself(_) | Fill::Hairpin => SetType::HashIpPortIp,
            Fill::Address(_) => SetType::HashIp,
        }
    }
}

/// A virtual server as used by the table.
pub struct Vip<'a> {
    /// The virtual server.
    pub server: VirtualServer,
    /// What is wanted of it.
    pub want: &'a Want,
    /// The treatment of clients' sources, after slots were assigned among all services.
    pub treatment: Treatment,
    /// The slot of the address that replaces sources, if any.
    pub slot: Option<usize>,
}

impl<'a> Vip<'a> {
    /// Calls `entry` for each entry that the sets of its family have for it.
    pub fn entries(&self, mut entry: impl FnMut(Set, SetEntry)) {
        let (ip, port, protocol) =
            (self.server.address.ip(), self.server.address.port(), self.server.protocol);
        for row in &SETS {
            match row.fill {
                Fill::Vip(has) if has(self) => entry(row.set, SetEntry::IpPort(ip, protocol, port)),
                Fill::Port(of, has) if of == protocol && has(self) => entry(row.set, SetEntry::Port(port)),
                Fill::Itself(has) if has(self) => entry(row.set, SetEntry::IpPortIp(ip, protocol, port, ip)),
                Fill::Address(has) if has(self) => entry(row.set, SetEntry::Ip(ip)),
                Fill::Sources(of) => {
                    of(self)
                        .iter()
                        .for_each(|net| entry(row.set, SetEntry::IpPortNet(ip, protocol, port, *net)));
                }
                Fill::Vip(_) | Fill::Port(..) | Fill::Itself(_) | Fill::Address(_) => {}
                Fill::Hairpin | Fill::HealthPort => {}
            }
        }
    }

    fn is(&self, kind: VipKind) -> bool {
        self.want.kinds.contains(kind)
    }

    fn stays_local(&self) -> bool {
        self.want.external == TrafficPolicy::Local
    }

    /// SCTP has no bitmap of ports, so the set also names the address.
    fn is_sctp_node_port(&self) -> bool {
        self.server.protocol == Protocol::Sctp && self.is(NodePort)
    }

    fn limits(&self) -> Option<&'a Limits> {
        self.want.limits.as_deref()
    }

    fn ranges(&self) -> Option<&'a Ranges> {
        self.limits()?.ranges.as_ref()
    }

    fn admitted(&self) -> Option<&'a [IpNet]> {
        self.limits()?.sources.allowed.as_deref()
    }

    fn is_translated_by(&self, slot: usize) -> bool {
        self.slot == Some(slot)
    }
}

/// The sets, in the order of [`Set`].
pub static SETS: [Row; 27] = [
    Row {
        set: Set::LoopBack,
        owner: Owner::KubeProxy,
        suffix: "LOOP-BACK",
        comment: "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
        step: Step::Serves,
        beside: None,
        fill: Fill::Hairpin,
    },
    Row {
        set: Set::ClusterIp,
        owner: Owner::KubeProxy,
        suffix: "CLUSTER-IP",
        comment: "Kubernetes service cluster ip + port for masquerade purpose",
        step: Step::Serves,
        beside: None,
        fill: Fill::Vip(|vip| vip.is(Cluster)),
    },
    Row {
        set: Set::ExternalIp,
        owner: Owner::KubeProxy,
        suffix: "EXTERNAL-IP",
        comment: "Kubernetes service external ip + port for masquerade and filter purpose",
        step: Step::Serves,
        beside: None,
        fill: Fill::Vip(|vip| vip.is(External) && !vip.stays_local()),
    },
    Row {
        set: Set::ExternalIpLocal,
        owner: Owner::KubeProxy,
        suffix: "EXTERNAL-IP-LOCAL",
        comment: "Kubernetes service external ip + port with externalTrafficPolicy=local",
        step: Step::Refines,
        beside: None,
        fill: Fill::Vip(|vip| vip.is(External) && vip.stays_local()),
    },
    Row {
        set: Set::LoadBalancer,
        owner: Owner::KubeProxy,
        suffix: "LOAD-BALANCER",
        comment: "Kubernetes service lb portal",
        step: Step::Serves,
        beside: None,
        fill: Fill::Vip(|vip| vip.is(LoadBalancer)),
    },
    Row {
        set: Set::LoadBalancerLocal,
        owner: Owner::KubeProxy,
        suffix: "LOAD-BALANCER-LOCAL",
        comment: "Kubernetes service load balancer ip + port with externalTrafficPolicy=local",
        step: Step::Refines,
        beside: Some(Set::LoadBalancer),
        fill: Fill::Vip(|vip| vip.is(LoadBalancer) && vip.stays_local()),
    },
    Row {
        set: Set::LoadBalancerFw,
        owner: Owner::KubeProxy,
        suffix: "LOAD-BALANCER-FW",
        comment: "Kubernetes service load balancer ip + port for load balancer with sourceRange",
        step: Step::Closes,
        beside: Some(Set::LoadBalancer),
        fill: Fill::Vip(|vip| vip.ranges().is_some()),
    },
    Row {
        set: Set::LoadBalancerSourceIp,
        owner: Owner::KubeProxy,
        suffix: "LOAD-BALANCER-SOURCE-IP",
        comment: "Kubernetes service load balancer ip + port + source IP for packet filter purpose",
        step: Step::Admits,
        beside: Some(Set::LoadBalancerFw),
        fill: Fill::Itself(|vip| vip.ranges().is_some_and(|ranges| ranges.admits_node)),
    },
    Row {
        set: Set::LoadBalancerSourceCidr,
        owner: Owner::KubeProxy,
        suffix: "LOAD-BALANCER-SOURCE-CIDR",
        comment: "Kubernetes service load balancer ip + port + source cidr for packet filter purpose",
        step: Step::Admits,
        beside: Some(Set::LoadBalancerFw),
        fill: Fill::Sources(|vip| vip.ranges().map_or(&[], |ranges| &ranges.networks)),
    },
    Row {
        set: Set::NodePortTcp,
        owner: Owner::KubeProxy,
        suffix: "NODE-PORT-TCP",
        comment: "Kubernetes nodeport TCP port for masquerade purpose",
        step: Step::Serves,
        beside: None,
        fill: Fill::Port(Protocol::Tcp, |vip| vip.is(NodePort)),
    },
    Row {
        set: Set::NodePortLocalTcp,
        owner: Owner::KubeProxy,
        suffix: "NODE-PORT-LOCAL-TCP",
        comment: "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
        step: Step::Refines,
        beside: Some(Set::NodePortTcp),
        fill: Fill::Port(Protocol::Tcp, |vip| vip.is(NodePort) && vip.stays_local()),
    },
    Row {
        set: Set::NodePortUdp,
        owner: Owner::KubeProxy,
        suffix: "NODE-PORT-UDP",
        comment: "Kubernetes nodeport UDP port for masquerade purpose",
        step: Step::Serves,
        beside: None,
        fill: Fill::Port(Protocol::Udp, |vip| vip.is(NodePort)),
    },
    Row {
        set: Set::NodePortLocalUdp,
        owner: Owner::KubeProxy,
        suffix: "NODE-PORT-LOCAL-UDP",
        comment: "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
        step: Step::Refines,
        beside: Some(Set::NodePortUdp),
        fill: Fill::Port(Protocol::Udp, |vip| vip.is(NodePort) && vip.stays_local()),
    },
    Row {
        set: Set::NodePortSctp,
        owner: Owner::KubeProxy,
        suffix: "NODE-PORT-SCTP-HASH",
        comment: "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
        step: Step::Serves,
        beside: None,
        fill: Fill::Vip(|vip| vip.is_sctp_node_port()),
    },
    Row {
        set: Set::NodePortLocalSctp,
        owner: Owner::KubeProxy,
        suffix: "NODE-PORT-LOCAL-SCTP-HASH",
        comment: "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
        step: Step::Refines,
        beside: Some(Set::NodePortSctp),
        fill: Fill::Vip(|vip| vip.is_sctp_node_port() && vip.stays_local()),
    },
    Row {
        set: Set::HealthCheckNodePort,
        owner: Owner::KubeProxy,
        suffix: "HEALTH-CHECK-NODE-PORT",
        comment: "Kubernetes health check node port",
        step: Step::Serves,
        beside: None,
        fill: Fill::HealthPort,
    },
    Row {
        set: Set::IpvsIps,
        owner: Owner::KubeProxy,
        suffix: "IPVS-IPS",
        comment: "Addresses on the ipvs interface",
        step: Step::Guards,
        beside: None,
        fill: Fill::Address(|vip| vip.want.bound),
    },
    Row {
        set: Set::MasqueradeExcept,
        owner: Owner::Weir,
        suffix: "MASQ-EXCEPT",
        comment: "weir: sources that a policy never masquerades",
        step: Step::Refines,
        beside: None,
        fill: Fill::Sources(|vip| vip.limits().map_or(&[], |limits| &limits.except)),
    },
    Row {
        set: Set::Masquerade,
        owner: Owner::Weir,
        suffix: "MASQ",
        comment: "weir: masquerading is decided by a policy",
        step: Step::Serves,
        beside: None,
        fill: Fill::Vip(|vip| vip.treatment != Treatment::Default),
    },
    Row {
        set: Set::MasqueradeAlways,
        owner: Owner::Weir,
        suffix: "MASQ-ALWAYS",
        comment: "weir: a policy masquerades all sources",
        step: Step::Refines,
        beside: Some(Set::Masquerade),
        fill: Fill::Vip(|vip| vip.treatment == Treatment::Always),
    },
    Row {
        set: Set::MasqueradeOffCluster,
        owner: Owner::Weir,
        suffix: "MASQ-OFF-CLUSTER",
        comment: "weir: a policy masquerades sources outside the cluster",
        step: Step::Refines,
        beside: Some(Set::Masquerade),
        fill: Fill::Vip(|vip| vip.treatment == Treatment::OffCluster),
    },
    Row {
        set: Set::MasqueradeRemote,
        owner: Owner::Weir,
        suffix: "MASQ-REMOTE",
        comment: "weir: a policy masquerades on the way to other nodes",
        step: Step::Refines,
        beside: Some(Set::Masquerade),
        fill: Fill::Vip(|vip| vip.treatment == Treatment::RemoteEndpoints),
    },
    Row {
        set: Set::Snat1,
        owner: Owner::Weir,
        suffix: "SNAT-1",
        comment: "weir: a policy chose the first source address",
        step: Step::Refines,
        beside: Some(Set::Masquerade),
        fill: Fill::Vip(|vip| vip.is_translated_by(0)),
    },
    Row {
        set: Set::Snat2,
        owner: Owner::Weir,
        suffix: "SNAT-2",
        comment: "weir: a policy chose the second source address",
        step: Step::Refines,
        beside: Some(Set::Masquerade),
        fill: Fill::Vip(|vip| vip.is_translated_by(1)),
    },
    Row {
        set: Set::SourceDeny,
        owner: Owner::Weir,
        suffix: "SOURCE-DENY",
        comment: "weir: sources that a policy shuts out",
        step: Step::Closes,
        beside: None,
        fill: Fill::Sources(|vip| vip.limits().map_or(&[], |limits| &limits.sources.denied)),
    },
    Row {
        set: Set::SourceLimited,
        owner: Owner::Weir,
        suffix: "SOURCE-LIMITED",
        comment: "weir: a policy says who may connect",
        step: Step::Closes,
        beside: None,
        fill: Fill::Vip(|vip| vip.admitted().is_some()),
    },
    Row {
        set: Set::SourceAllow,
        owner: Owner::Weir,
        suffix: "SOURCE-ALLOW",
        comment: "weir: sources that a policy admits",
        step: Step::Admits,
        beside: Some(Set::SourceLimited),
        fill: Fill::Sources(|vip| vip.admitted().unwrap_or_default()),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_has_its_row() {
        for (index, row) in SETS.iter().enumerate() {
            assert_eq!(row.set as usize, index, "{:?}", row.set);
            assert!(row.step != Step::Admits || row.beside.is_some_and(|set| set.row().step == Step::Closes));
        }
    }
}
