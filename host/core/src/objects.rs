//! The Kubernetes objects, reduced to the fields that a service proxy uses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;

use crate::decision::VipKind;
use crate::net::{Family, PerFamily, Protocol};

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace; never empty for the objects used here.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectName {
    /// The name `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> ObjectName {
        ObjectName { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Labels or annotations.
pub type Attributes = BTreeMap<String, String>;

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ObjectName,
    /// `metadata.creationTimestamp` in seconds since 1970; `None` for manifests that were never in a cluster.
    pub created: Option<i64>,
    /// `metadata.labels`
    pub labels: Attributes,
    /// `metadata.annotations`
    pub annotations: Attributes,
    /// `spec.type`
    pub service_type: ServiceType,
    /// The cluster IP of each family; both are `None` for headless and ExternalName services.
    pub cluster_ips: PerFamily<Option<IpAddr>>,
    /// `spec.externalIPs`, without values that are not addresses.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`, only entries with an address that this node serves (ipMode absent or `VIP`).
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.ports`
    pub ports: Vec<ServicePort>,
    /// `spec.sessionAffinity: ClientIP` with its timeout in seconds; `None` for no affinity.
    pub client_ip_affinity: Option<u32>,
    /// `spec.internalTrafficPolicy`
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`
    pub external_policy: TrafficPolicy,
    /// `spec.loadBalancerSourceRanges`, without values that are not networks; host bits are masked off.
    pub source_ranges: Vec<IpNet>,
    /// `spec.healthCheckNodePort`
    pub health_check_node_port: Option<NonZeroU16>,
}

/// The label that assigns a Service to another proxy (any value, even an empty one).
pub const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// The label of EndpointSlices that belong to headless services.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// The label that names the Service of an EndpointSlice.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label of a node's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

impl Service {
    /// Whether this proxy handles the Service.
    pub fn is_ours(&self) -> bool {
        !self.labels.contains_key(PROXY_NAME_LABEL) && self.service_type != ServiceType::ExternalName
    }

    /// Whether the external traffic policy applies and is Local (`pkg/api/v1/service`, `ExternalPolicyLocal`).
    /// `may_have` says which addresses a service may have.
    pub fn external_policy_is_local(&self, may_have: impl Fn(IpAddr) -> bool) -> bool {
        let reachable = match self.service_type {
            ServiceType::LoadBalancer | ServiceType::NodePort => true,
            ServiceType::ClusterIp => self.external_ips.iter().any(|ip| may_have(*ip)),
            ServiceType::ExternalName => false,
        };
        reachable && self.external_policy == TrafficPolicy::Local
    }

    /// The VIPs of the families in which the service has a cluster IP, with their kinds; a VIP may occur twice.
    pub fn vips(&self) -> impl Iterator<Item = (VipKind, IpAddr)> {
        let cluster = Family::BOTH.into_iter().filter_map(|family| *self.cluster_ips.get(family));
        let external = self.external_ips.iter().map(|ip| (VipKind::External, *ip));
        let balanced = self.load_balancer_ips.iter().map(|ip| (VipKind::LoadBalancer, *ip));
        let all = cluster.map(|ip| (VipKind::Cluster, ip)).chain(external).chain(balanced);
        all.filter(|(_, ip)| self.cluster_ips.get(Family::of(*ip)).is_some())
    }

    /// The source ranges that apply to one family: none if one of them covers the family.
    pub fn source_ranges_of(&self, family: Family) -> Vec<IpNet> {
        let ranges: Vec<IpNet> =
            self.source_ranges.iter().filter(|net| Family::of_net(net) == family).copied().collect();
        if ranges.iter().any(|net| net.prefix_len() == 0) { Vec::new() } else { ranges }
    }
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// Reachable inside the cluster.
    ClusterIp,
    /// Reachable on a port of every node.
    NodePort,
    /// Also reachable through a load balancer.
    LoadBalancer,
    /// A DNS alias; nothing to proxy.
    ExternalName,
}

/// A traffic policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Endpoints of the whole cluster.
    Cluster,
    /// Endpoints on this node only.
    Local,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty when the Service has a single unnamed port.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port clients use on VIPs.
    pub port: u16,
    /// The port clients use on nodes.
    pub node_port: Option<NonZeroU16>,
    /// `appProtocol`; empty if absent.
    pub app_protocol: String,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its name.
    pub name: ObjectName,
    /// The Service it belongs to (label `kubernetes.io/service-name`), in the same namespace.
    pub service: String,
    /// `metadata.labels`
    pub labels: Attributes,
    /// `metadata.annotations`
    pub annotations: Attributes,
    /// `addressType`
    pub family: Family,
    /// `ports`, without those that lack a name or a number.
    pub ports: Vec<EndpointPort>,
    /// `endpoints`
    pub endpoints: Vec<Endpoint>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// The name that links it to a Service's port.
    pub name: String,
    /// Its protocol, which must also equal the Service port's.
    pub protocol: Protocol,
    /// The port the endpoint listens on.
    pub port: u16,
}

/// An endpoint of an EndpointSlice: one address, all ports of the slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `addresses[0]`
    pub address: IpAddr,
    /// The number of further entries in `addresses`; proxies only use the first.
    pub further_addresses: u16,
    /// `conditions`
    pub conditions: Conditions,
    /// `nodeName`; shared, because the same few names occur in many endpoints.
    pub node: Option<Arc<str>>,
    /// `zone`
    pub zone: Option<Arc<str>>,
    /// `hints`, if there are any.
    pub hints: Option<Arc<Hints>>,
}

/// Where an endpoint should be used (`hints` of an EndpointSlice).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `hints.forZones`
    pub zones: Vec<String>,
    /// `hints.forNodes`
    pub nodes: Vec<String>,
}

impl Hints {
    /// The hints, or `None` if there are none.
    pub fn new(zones: Vec<String>, nodes: Vec<String>) -> Option<Arc<Hints>> {
        (!zones.is_empty() || !nodes.is_empty()).then(|| Arc::new(Hints { zones, nodes }))
    }
}

/// `conditions` of an endpoint, with absent ones filled in as kube-proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// Takes new connections (absent = true).
    pub ready: bool,
    /// Still answers (absent = true).
    pub serving: bool,
    /// Is shutting down (absent = false).
    pub terminating: bool,
}

impl Conditions {
    /// The conditions of a normal endpoint.
    pub const READY: Conditions = Conditions { ready: true, serving: true, terminating: false };
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `metadata.labels`
    pub labels: Attributes,
    /// `status.addresses` of the types InternalIP and ExternalIP, and of the type Hostname if it is an address.
    pub addresses: Vec<(NodeAddressType, IpAddr)>,
    /// `spec.podCIDRs`
    pub pod_cidrs: Vec<IpNet>,
    /// `metadata.annotations`
    pub annotations: Attributes,
    /// `spec.unschedulable`
    pub unschedulable: bool,
    /// Whether it was deleted and is only being cleaned up (`metadata.deletionTimestamp`).
    pub deleting: bool,
    /// `spec.taints`, as `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
    pub taints: Vec<String>,
    /// `status.allocatable`, otherwise `status.capacity`.
    pub allocatable: Allocatable,
}

/// The resources of a node that pods may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocatable {
    /// Thousandths of a processor; 0 if unknown.
    pub cpu_millis: u64,
    /// Bytes of memory; 0 if unknown.
    pub memory_bytes: u64,
}

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// `metadata.labels`
    pub labels: Attributes,
    /// `metadata.annotations`
    pub annotations: Attributes,
}

impl Node {
    /// The addresses of the types InternalIP and ExternalIP.
    pub fn service_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let typed = self.addresses.iter().filter(|(of, _)| *of != NodeAddressType::Hostname);
        typed.map(|(_, ip)| *ip)
    }

    /// The node's zone; an empty label counts as none, as in kube-proxy.
    pub fn zone(&self) -> Option<&str> {
        self.labels.get(ZONE_LABEL).map(String::as_str).filter(|zone| !zone.is_empty())
    }
}

/// The type of a node's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAddressType {
    /// `InternalIP`
    Internal,
    /// `ExternalIP`
    External,
    /// `Hostname`
    Hostname,
}
