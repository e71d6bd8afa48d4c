//! The facts about the node that a plan needs: its addresses, its kernel's capabilities, and the configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use crate::net::{Family, PerFamily, is_loopback_or_link_local, unusable};
use crate::objects::{Node, NodeAddressType};
use crate::rule::Extension;
use crate::rule::extension::{Loss, Without};

/// Everything about the node that planning a service depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The node's name.
    pub name: String,
    /// The node's zone.
    pub zone: Option<String>,
    /// The node's main address in each family. It decides whether the node is inside source ranges, and what
    /// `primary` means in `nodePortAddresses`.
    pub node_ips: PerFamily<IpAddr>,
    /// The networks of pods on this node.
    pub pod_cidrs: Vec<IpNet>,
    /// Addresses of all interfaces except the dummy device.
    pub host_addresses: Vec<HostAddress>,
    /// The addresses in the Node object.
    pub own_addresses: Vec<IpAddr>,
    /// Addresses of the host that are VIPs of services, whichever program bound them; no node ports are served
    /// there. Maintained by the planner.
    pub vips_here: BTreeSet<IpAddr>,
    /// What is known about the addresses of other nodes. Maintained by the planner.
    pub others: OtherNodes,
    /// The configuration.
    pub config: ProxyConfig,
    /// The kernel's capabilities.
    pub capabilities: Capabilities,
}

/// What is known about the addresses of other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherNodes {
    /// All available addresses are known; a VIP that is a known address of another node is not bound.
    #[default]
    Known,
    /// The addresses are about to arrive; until then, VIPs that may be addresses of other nodes are not bound.
    Awaited,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The interface's name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
}

impl HostAddress {
    /// The network's broadcast address. IPv6 and networks of two machines have none.
    fn broadcast(&self) -> Option<IpAddr> {
        let net = IpNet::new(self.address, self.prefix).ok()?;
        (self.address.is_ipv4() && self.prefix < 31).then(|| net.broadcast())
    }
}

/// The part of the configuration that shapes plans (KubeProxyConfiguration and weir's own switches).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// `ipvs.scheduler`; never empty.
    pub scheduler: String,
    /// `ipvs.excludeCIDRs`: virtual servers at these addresses belong to other programs.
    pub exclude_cidrs: Vec<IpNet>,
    /// `ipvs.strictARP`
    pub strict_arp: bool,
    /// `ipvs.tcpTimeout`, whole seconds; `None` leaves the kernel's value.
    pub tcp_timeout: Option<u32>,
    /// `ipvs.tcpFinTimeout`
    pub tcp_fin_timeout: Option<u32>,
    /// `ipvs.udpTimeout`
    pub udp_timeout: Option<u32>,
    /// `iptables.masqueradeAll`
    pub masquerade_all: bool,
    /// `iptables.masqueradeBit`, 0 to 31.
    pub masquerade_bit: u8,
    /// `detectLocalMode` with its argument.
    pub detect_local: DetectLocal,
    /// `nodePortAddresses`
    pub node_port_addresses: Vec<NodePortAddress>,
    /// Feature gate `AllowServiceExternalIPs`.
    pub external_ips: Switch,
    /// The meaning of internal traffic policy Local for a service that is reachable from outside and has no
    /// endpoint on this node.
    pub internal_local: InternalLocal,
    /// The usual capacity of a set, beyond which it must grow. Only tests change it.
    pub set_size: u32,
    /// How often the complete state is compared with the kernel (`ipvs.syncPeriod`).
    pub sync_period: Duration,
    /// The minimum time between a change and the next one (`ipvs.minSyncPeriod`).
    pub min_sync_period: Duration,
}

impl Default for ProxyConfig {
    /// The defaults of an empty configuration file in mode ipvs.
    fn default() -> ProxyConfig {
        ProxyConfig {
            scheduler: "rr".to_owned(),
            exclude_cidrs: Vec::new(),
            strict_arp: false,
            tcp_timeout: None,
            tcp_fin_timeout: None,
            udp_timeout: None,
            masquerade_all: false,
            masquerade_bit: 14,
            detect_local: DetectLocal::ClusterCidr(Vec::new()),
            node_port_addresses: Vec::new(),
            external_ips: Switch::On,
            internal_local: InternalLocal::AsUpstream,
            set_size: crate::set::MAX_ELEMENTS,
            sync_period: Duration::from_secs(30),
            min_sync_period: Duration::ZERO,
        }
    }
}

impl ProxyConfig {
    /// The masquerade mark: one bit.
    pub fn masquerade_mark(&self) -> u32 {
        1 << (self.masquerade_bit & 31)
    }

    /// The lower of the two bits of the packet mark that encode how to masquerade, if a policy decided it. These are
    /// the two bits below the masquerade bit, or above it if the masquerade bit is one of the lowest two. They are used
    /// only while such a decision exists. By default these are bits 12 and 13 (0x3000), which no widespread network
    /// plugin uses.
    pub fn treatment_shift(&self) -> u32 {
        let bit = u32::from(self.masquerade_bit & 31);
        if bit >= 2 { bit - 2 } else { bit + 1 }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// See [`ProxyConfig::internal_local`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalLocal {
    /// The cluster IP uses endpoints of the whole cluster, as kube-proxy does.
    AsUpstream,
    /// The cluster IP has no endpoint, as the API says.
    Enforced,
}

/// How traffic from pods on this node is recognized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// By the cluster's pod networks, at most one per family.
    ClusterCidr(Vec<IpNet>),
    /// By the node's pod networks.
    NodeCidr,
    /// By the bridge that it comes from.
    BridgeInterface(String),
    /// By the prefix of its interface's name.
    InterfaceNamePrefix(String),
}

/// A value of `nodePortAddresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePortAddress {
    /// A network.
    Net(IpNet),
    /// `primary`: the node IP of each family.
    Primary,
    /// `localhost`: the loopback networks. IPVS mode serves no node ports there.
    Localhost,
    /// `all`: every address of the node.
    All,
}

/// The capabilities of the kernel and the installed programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The families in which everything needed works.
    pub families: Vec<Family>,
    /// Schedulers the kernel has or can load; `None` if unknown (planning without a kernel).
    pub schedulers: Option<Vec<String>>,
    /// Matches and targets of iptables that cannot be used in a family.
    pub missing: PerFamily<BTreeSet<Extension>>,
    /// What to do with `net/ipv4/vs/conn_reuse_mode`.
    pub connection_reuse: ConnectionReuse,
}

impl Capabilities {
    /// The capabilities of a recent kernel with all modules, used if no kernel was queried.
    pub fn assumed() -> Capabilities {
        Capabilities {
            families: Family::BOTH.to_vec(),
            schedulers: None,
            missing: PerFamily::default(),
            connection_reuse: ConnectionReuse::Leave,
        }
    }

    /// Whether rules of a family may use this match or target.
    pub fn has(&self, family: Family, extension: Extension) -> bool {
        !self.missing.get(family).contains(&extension)
    }

    /// Whether some VIPs of the family do not work because rules had to be left out.
    pub fn loses_vips(&self, family: Family) -> bool {
        let lost = |extension: &Extension| extension.row().without == Without::LeftOut(Loss::Vips);
        self.missing.get(family).iter().any(lost)
    }
}

/// What to do with `net/ipv4/vs/conn_reuse_mode` (kube-proxy's `NewProxier`: unless it is 0, kernels from 4.1 to 5.8
/// delay new connections from reused ports by a second; later kernels work with their default).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionReuse {
    /// Keep the kernel's value.
    Leave,
    /// Set it to 0.
    Disable,
}

impl NodeView {
    /// A view of the node from its object, its addresses and its configuration. `node` is `None` until the object
    /// has been seen; `bind_address` is the configured one, or `None` if it is unspecified.
    pub fn new(
        name: &str,
        node: Option<&Node>,
        bind_address: Option<IpAddr>,
        host_addresses: Vec<HostAddress>,
        config: ProxyConfig,
        capabilities: Capabilities,
    ) -> NodeView {
        let known = node.map(known_ips).unwrap_or_default();
        let node_ips = choose_node_ips(known, bind_address);
        NodeView {
            name: name.to_owned(),
            zone: node.and_then(Node::zone).map(str::to_owned),
            node_ips,
            pod_cidrs: node.map(|n| n.pod_cidrs.clone()).unwrap_or_default(),
            host_addresses,
            own_addresses: node.map(|n| n.addresses.iter().map(|(_, ip)| *ip).collect()).unwrap_or_default(),
            vips_here: BTreeSet::new(),
            others: OtherNodes::default(),
            config,
            capabilities,
        }
    }

    /// Whether an interface other than the dummy device has the address.
    pub fn is_host_address(&self, address: IpAddr) -> bool {
        self.host_addresses.iter().any(|host| host.address == address)
    }

    /// Why no service may have this address on this node; `None` if one may.
    pub fn unusable(&self, address: IpAddr) -> Option<&'static str> {
        let broadcast = || {
            let mut networks = self.host_addresses.iter().filter_map(HostAddress::broadcast);
            networks.any(|broadcast| broadcast == address) && !self.is_host_address(address)
        };
        unusable(address).or_else(|| broadcast().then_some("broadcast"))
    }

    /// Whether the address is this node's own: an interface or the node's object has it.
    pub fn is_own_address(&self, address: IpAddr) -> bool {
        self.own_addresses.contains(&address) || self.is_host_address(address)
    }

    /// Whether an address of an interface is there only as a VIP, and so does not count as an address of the node.
    /// Addresses in the Node object are always the node's own. If the object has no address of the family, any address
    /// may be the node's own.
    pub fn is_only_a_vip(&self, vip: IpAddr) -> bool {
        let mut own = self.own_addresses.iter().filter(|own| Family::of(**own) == Family::of(vip)).peekable();
        own.peek().is_some() && own.all(|own| *own != vip) && self.is_host_address(vip)
    }

    /// The addresses that node ports of a family are served on, sorted.
    ///
    /// If no network of the family is configured, or one covers the whole family, these are all addresses of the
    /// host except loopback and IPv6 link-local ones. Otherwise they are the addresses inside a configured network,
    /// except loopback. VIPs of services are excluded.
    pub fn node_port_ips(&self, family: Family) -> Vec<IpAddr> {
        let nets = self.node_port_nets(family);
        let all = nets.is_empty() || nets.iter().any(|net| net.prefix_len() == 0);
        let mut ips: Vec<IpAddr> = self
            .host_addresses
            .iter()
            .map(|host| host.address)
            .filter(|ip| Family::of(*ip) == family && !self.vips_here.contains(ip))
            .filter(|ip| {
                if all {
                    !is_loopback_or_link_local(*ip)
                } else {
                    !ip.is_loopback() && nets.iter().any(|net| net.contains(ip))
                }
            })
            .collect();
        ips.sort();
        ips.dedup();
        ips
    }

    /// The addresses on which health check ports of services listen: those selected by `nodePortAddresses`,
    /// including loopback. If it selects all addresses of a family, the unspecified address stands for them.
    pub fn health_check_ips(&self) -> BTreeSet<IpAddr> {
        let mut ips = BTreeSet::new();
        for family in Family::BOTH {
            let nets = self.node_port_nets(family);
            if nets.is_empty() || nets.iter().any(|net| net.prefix_len() == 0) {
                ips.insert(match family {
                    Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
                    Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
                });
                continue;
            }
            let addresses = self.host_addresses.iter().map(|host| host.address);
            ips.extend(addresses.filter(|ip| nets.iter().any(|net| net.contains(ip))));
        }
        ips
    }

    fn node_port_nets(&self, family: Family) -> Vec<IpNet> {
        let mut nets = Vec::new();
        for address in &self.config.node_port_addresses {
            match (address, family) {
                (NodePortAddress::Net(net), _) => nets.push(*net),
                (NodePortAddress::Primary, _) => {
                    let ip = *self.node_ips.get(family);
                    if !ip.is_loopback() {
                        nets.push(IpNet::from(ip));
                    }
                }
                (NodePortAddress::Localhost, Family::V4) => nets.extend("127.0.0.0/8".parse::<IpNet>()),
                (NodePortAddress::Localhost, Family::V6) => nets.extend("::1/128".parse::<IpNet>()),
                (NodePortAddress::All, Family::V4) => nets.extend("0.0.0.0/0".parse::<IpNet>()),
                (NodePortAddress::All, Family::V6) => nets.extend("::/0".parse::<IpNet>()),
            }
        }
        nets.retain(|net| Family::of_net(net) == family);
        nets
    }

    /// Whether the family is planned.
    pub fn runs(&self, family: Family) -> bool {
        self.capabilities.families.contains(&family)
    }
}

/// The node IPs of the object: the first InternalIP, otherwise the first ExternalIP, and the first address of the
/// other family, with InternalIPs before ExternalIPs (kube-proxy's `GetNodeHostIPs`).
fn known_ips(node: &Node) -> Vec<IpAddr> {
    let of_type =
        |wanted: NodeAddressType| node.addresses.iter().filter(move |(t, _)| *t == wanted).map(|(_, ip)| *ip);
    let mut ordered = of_type(NodeAddressType::Internal).chain(of_type(NodeAddressType::External));
    let Some(primary) = ordered.next() else { return Vec::new() };
    let secondary = ordered.find(|ip| Family::of(*ip) != Family::of(primary));
    std::iter::once(primary).chain(secondary).collect()
}

/// The node IP of each family: the bind address replaces the one of its own family, and loopback fills in for a
/// missing one (kube-proxy's `detectNodeIPs`).
fn choose_node_ips(known: Vec<IpAddr>, bind_address: Option<IpAddr>) -> PerFamily<IpAddr> {
    let mut ips = PerFamily {
        v4: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        v6: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    };
    for ip in known.into_iter().chain(bind_address.filter(|ip| !ip.is_unspecified())) {
        *ips.get_mut(Family::of(ip)) = ip;
    }
    ips
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;

    fn view(addresses: &[&str], config: ProxyConfig) -> NodeView {
        let node = Node {
            addresses: vec![
                (NodeAddressType::External, "203.0.113.1".parse().unwrap()),
                (NodeAddressType::Internal, "10.0.2.15".parse().unwrap()),
                (NodeAddressType::External, "2001:db8::1".parse().unwrap()),
            ],
            ..build::node("node1", &[])
        };
        let host = addresses
            .iter()
            .map(|a| HostAddress { interface: "eth0".to_owned(), address: a.parse().unwrap(), prefix: 24 })
            .collect();
        NodeView::new("node1", Some(&node), None, host, config, Capabilities::assumed())
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn node_ips_prefer_internal_addresses_and_fill_the_other_family() {
        let view = view(&[], ProxyConfig::default());
        assert_eq!(view.node_ips.v4, "10.0.2.15".parse::<IpAddr>().unwrap());
        assert_eq!(view.node_ips.v6, "2001:db8::1".parse::<IpAddr>().unwrap());
        let unknown = choose_node_ips(Vec::new(), None);
        assert!(unknown.v4.is_loopback() && unknown.v6.is_loopback());
        let bound = choose_node_ips(ips(&["10.0.2.15"]), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(bound.v4, "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn node_ports_avoid_loopback_and_link_local() {
        let all = ["127.0.0.1", "10.0.2.15", "169.254.1.1", "::1", "fe80::1", "fec0::15"];
        let open = view(&all, ProxyConfig::default());
        assert_eq!(open.node_port_ips(Family::V4), ips(&["10.0.2.15", "169.254.1.1"]));
        assert_eq!(open.node_port_ips(Family::V6), ips(&["fec0::15"]));
        let nets = vec![
            NodePortAddress::Net("127.0.0.0/8".parse().unwrap()),
            NodePortAddress::Net("10.0.0.0/8".parse().unwrap()),
            NodePortAddress::Net("fe80::/10".parse().unwrap()),
        ];
        let narrow = view(&all, ProxyConfig { node_port_addresses: nets, ..ProxyConfig::default() });
        assert_eq!(narrow.node_port_ips(Family::V4), ips(&["10.0.2.15"]));
        // A network that explicitly covers link-local addresses is accepted.
        assert_eq!(narrow.node_port_ips(Family::V6), ips(&["fe80::1"]));
    }

    #[test]
    fn the_broadcast_address_of_a_network_of_the_node_is_no_vip() {
        let view = view(&["10.0.2.15", "2001:db8::1"], ProxyConfig::default());
        let why = |text: &str| view.unusable(text.parse().unwrap());
        assert_eq!(why("10.0.2.255"), Some("broadcast"));
        assert_eq!(why("127.0.0.1"), Some("loopback"));
        for good in ["10.0.2.0", "10.0.2.15", "10.0.3.255", "2001:db8::ffff"] {
            assert_eq!(why(good), None, "{good}");
        }
        let mut own = view.clone();
        own.host_addresses[0].address = "10.0.2.255".parse().unwrap();
        assert_eq!(own.unusable("10.0.2.255".parse().unwrap()), None, "an interface has it");
    }

    #[test]
    fn keywords_are_expanded() {
        let all = ["127.0.0.1", "10.0.2.15", "10.0.2.16", "2001:db8::1", "2001:db8::2"];
        let only =
            |word| view(&all, ProxyConfig { node_port_addresses: vec![word], ..ProxyConfig::default() });
        assert_eq!(only(NodePortAddress::Primary).node_port_ips(Family::V4), ips(&["10.0.2.15"]));
        assert_eq!(only(NodePortAddress::Primary).node_port_ips(Family::V6), ips(&["2001:db8::1"]));
        assert!(only(NodePortAddress::Localhost).node_port_ips(Family::V4).is_empty());
        assert_eq!(only(NodePortAddress::All).node_port_ips(Family::V4).len(), 2);
    }
}
