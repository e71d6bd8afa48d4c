//! The data that a plugin sees.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Labels or annotations.
pub type Attributes = BTreeMap<String, String>;

/// Values common to all services of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Context {
    /// This node's name.
    pub node: String,
    /// This node's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// Differs between nodes and never changes on a node.
    pub seed: u64,
    /// Seconds since 1970; absent unless the need `time` is declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<u64>,
    /// The configured scheduler, which services get by default.
    pub default_scheduler: String,
    /// The schedulers available in this node's kernel; empty if unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedulers: Vec<String>,
    /// Addresses of this node's interfaces; empty unless the need `host-addresses` is declared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_addresses: Vec<IpAddr>,
    /// All nodes of the cluster, sorted by name; empty unless a need for nodes is declared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
}

impl Context {
    /// Returns the node that an endpoint runs on; requires the needs `endpoints` and `nodes`.
    pub fn node_of(&self, endpoint: &Endpoint) -> Option<&Node> {
        self.node_named(endpoint.node.as_deref()?)
    }

    /// Returns a node by name; requires a need for nodes.
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        let index = self.nodes.binary_search_by(|node| node.name.as_str().cmp(name)).ok()?;
        Some(&self.nodes[index])
    }
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// Whether it is this node.
    #[serde(skip_serializing_if = "is_false")]
    pub this: bool,
    /// Its labels that were declared as needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Attributes,
    /// Its annotations that were declared as needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Attributes,
    /// `spec.unschedulable`
    #[serde(skip_serializing_if = "is_false")]
    pub unschedulable: bool,
    /// Its taints, as `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<String>,
    /// Thousandths of a processor that pods may use; 0 if unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu_millis: u64,
    /// Bytes of memory that pods may use; 0 if unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub memory_bytes: u64,
    /// Its InternalIP and ExternalIP addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `ClusterIP`, `NodePort` or `LoadBalancer`.
    pub service_type: String,
    /// Its labels that were declared as needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Attributes,
    /// Its annotations that were declared as needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Attributes,
    /// Its namespace's labels that were declared as needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_labels: Attributes,
    /// Its namespace's annotations that were declared as needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_annotations: Attributes,
    /// Session affinity `ClientIP` with its timeout in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u32>,
    /// `internalTrafficPolicy: Local`
    #[serde(skip_serializing_if = "is_false")]
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`, where it applies.
    #[serde(skip_serializing_if = "is_false")]
    pub external_local: bool,
    /// `loadBalancerSourceRanges`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ranges: Vec<IpNet>,
    /// Its EndpointSlices; empty unless a need for slices is declared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<Slice>,
    /// Its ports, one per port and address family.
    pub ports: Vec<Port>,
}

impl Service {
    /// Returns one of its EndpointSlices.
    pub fn slice_named(&self, name: &str) -> Option<&Slice> {
        self.slices.iter().find(|slice| slice.name == name)
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Slice {
    /// Its name.
    pub name: String,
    /// Its labels that were declared as needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Attributes,
    /// Its annotations that were declared as needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Attributes,
}

/// A port of a service in one address family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Port {
    /// Its name; empty if it has none.
    #[serde(default)]
    pub name: String,
    /// Its address family.
    #[serde(default)]
    pub family: Family,
    /// Its protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// The port that clients use on VIPs.
    pub port: u16,
    /// The port that clients use on nodes; 0 for none.
    #[serde(default, skip_serializing_if = "is_no_port")]
    pub node_port: u16,
    /// `appProtocol`; empty if absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app_protocol: String,
    /// Cluster IP, external IPs and load-balancer VIPs.
    #[serde(default)]
    pub vips: Vec<Vip>,
    /// The number of endpoints.
    #[serde(default)]
    pub endpoints_total: u32,
    /// The number of endpoints on this node.
    #[serde(default)]
    pub endpoints_local: u32,
    /// All endpoints sorted by address; empty unless the need `endpoints` is declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// IPVS's counters, one per endpoint in order; empty before the first sample, and unless the port is TCP and the
    /// need `statistics` is declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<ServerStatistics>,
}

/// IPVS's counters on this node for one endpoint, summed over the port's VIPs. All are 0 for an endpoint that has not
/// been counted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ServerStatistics {
    /// Current connections, from the first SYN to the first FIN.
    pub active: u32,
    /// Ended connections, until IPVS forgets them.
    pub inactive: u32,
    /// The largest weight of the endpoint in the kernel on any of the VIPs.
    pub weight: u32,
    /// When counting began, in seconds since 1970.
    pub since: u64,
    /// New connections since then.
    pub connections: u64,
    /// Bytes from clients since then.
    pub bytes_in: u64,
    /// Bytes to clients since then.
    pub bytes_out: u64,
    /// Thousandths of new connections, decaying with age: at the age given in the need, a connection counts 1/e.
    pub recent_connections: u64,
    /// Active connections × milliseconds, decaying in the same way. Divided by the new connections it gives the mean
    /// duration of a connection.
    pub recent_active_time: u64,
}

/// A virtual address of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vip {
    /// Its kind.
    pub kind: VipKind,
    /// Its address.
    pub address: IpAddr,
}

/// An endpoint of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Accepts new connections.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ready: bool,
    /// Still answers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub serving: bool,
    /// Is shutting down.
    #[serde(default, skip_serializing_if = "is_false")]
    pub terminating: bool,
    /// Runs on this node.
    #[serde(default, skip_serializing_if = "is_false")]
    pub local: bool,
    /// Was selected for the cluster IP.
    #[serde(default, skip_serializing_if = "is_false")]
    pub internal: bool,
    /// Was selected for external IPs, load-balancer VIPs and node ports.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// Its node's name; absent unless a need for nodes is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// Its EndpointSlice's name; absent unless a need for slices is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<Arc<str>>,
    /// When this node saw it become ready, in seconds since 1970; absent for an endpoint that was ready before weir
    /// first saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<u64>,
}

impl Endpoint {
    /// Whether the endpoint was selected for any VIP.
    pub fn is_used(&self) -> bool {
        self.internal || self.external
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// The kind of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_no_port(value: &u16) -> bool {
    *value == 0
}
