//! Builders of the objects that tests name: `service("shop/web").cluster_ip("10.96.0.1").port(80).build()`.
//!
//! Fields that are not set have the API server's defaults.

use std::fmt::Display;
use std::net::IpAddr;
use std::num::NonZeroU16;

use weir_core::cluster::Event;
use weir_core::net::{Family, Protocol};
use weir_core::objects::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, Node, NodeAddressType, ObjectName, Service,
    ServicePort, ServiceType, TrafficPolicy,
};

/// Builds a Service.
#[derive(Clone, Debug)]
pub struct ServiceBuilder(Service);

/// Builds an EndpointSlice.
#[derive(Clone, Debug)]
pub struct SliceBuilder(EndpointSlice);

/// Starts a Service with this name, in `default` unless the name has a namespace: type ClusterIP, no address, no port.
pub fn service(name: &str) -> ServiceBuilder {
    ServiceBuilder(Service {
        name: object_name(name),
        created: None,
        labels: Default::default(),
        annotations: Default::default(),
        service_type: ServiceType::ClusterIp,
        cluster_ips: Default::default(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        ports: Vec::new(),
        client_ip_affinity: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
        health_check_node_port: None,
    })
}

/// Starts an EndpointSlice of this Service, named like it with `-1`, for IPv4: no port, no endpoint.
pub fn slice(service: &str) -> SliceBuilder {
    let ObjectName { namespace, name } = object_name(service);
    SliceBuilder(EndpointSlice {
        name: ObjectName::new(namespace, format!("{name}-1")),
        service: name,
        labels: Default::default(),
        annotations: Default::default(),
        family: Family::V4,
        ports: Vec::new(),
        endpoints: Vec::new(),
    })
}

/// A ready endpoint with this address, on no known node.
pub fn endpoint(address: impl Display) -> Endpoint {
    Endpoint {
        address: ip(address),
        further_addresses: 0,
        conditions: Conditions::READY,
        node: None,
        zone: None,
        hints: None,
    }
}

/// A Node with these internal addresses.
pub fn node(name: &str, addresses: &[&str]) -> Node {
    Node {
        name: name.to_owned(),
        labels: Default::default(),
        addresses: addresses.iter().map(|address| (NodeAddressType::Internal, ip(address))).collect(),
        pod_cidrs: Vec::new(),
        annotations: Default::default(),
        unschedulable: false,
        deleting: false,
        taints: Vec::new(),
        allocatable: Default::default(),
    }
}

/// The address in a text.
pub fn ip(text: impl Display) -> IpAddr {
    text.to_string().parse().expect("an address")
}

/// `NAMESPACE/NAME`, or a name in `default`.
pub fn object_name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    ObjectName::new(namespace, name)
}

impl ServiceBuilder {
    /// Sets the creation time, in seconds.
    pub fn created(mut self, seconds: i64) -> Self {
        self.0.created = Some(seconds);
        self
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets the type.
    pub fn of_type(mut self, service_type: ServiceType) -> Self {
        self.0.service_type = service_type;
        self
    }

    /// Sets the cluster IP of the address's family.
    pub fn cluster_ip(mut self, address: impl Display) -> Self {
        let address = ip(address);
        *self.0.cluster_ips.get_mut(Family::of(address)) = Some(address);
        self
    }

    /// Adds an external IP.
    pub fn external_ip(mut self, address: impl Display) -> Self {
        self.0.external_ips.push(ip(address));
        self
    }

    /// Adds a load balancer's address.
    pub fn load_balancer_ip(mut self, address: impl Display) -> Self {
        self.0.load_balancer_ips.push(ip(address));
        self
    }

    /// Adds a TCP port without a name.
    pub fn port(self, port: u16) -> Self {
        self.named_port("", port)
    }

    /// Adds a TCP port.
    pub fn named_port(mut self, name: &str, port: u16) -> Self {
        self.0.ports.push(ServicePort {
            name: name.to_owned(),
            protocol: Protocol::Tcp,
            port,
            node_port: None,
            app_protocol: String::new(),
        });
        self
    }

    /// Sets the protocol of the port added last.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.last_port().protocol = protocol;
        self
    }

    /// Sets the node port of the port added last.
    pub fn node_port(mut self, port: u16) -> Self {
        self.last_port().node_port = NonZeroU16::new(port);
        self
    }

    /// Sets the external traffic policy to Local.
    pub fn external_local(mut self) -> Self {
        self.0.external_policy = TrafficPolicy::Local;
        self
    }

    /// Sets the port of the health check.
    pub fn health_check(mut self, port: u16) -> Self {
        self.0.health_check_node_port = NonZeroU16::new(port);
        self
    }

    /// The Service.
    pub fn build(self) -> Service {
        self.0
    }

    /// The event that adds the object.
    pub fn event(self) -> Event {
        Event::Service(Box::new(self.0))
    }

    fn last_port(&mut self) -> &mut ServicePort {
        self.0.ports.last_mut().expect("a port")
    }
}

impl SliceBuilder {
    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Replaces the slice's own name.
    pub fn named(mut self, name: &str) -> Self {
        self.0.name.name = name.to_owned();
        self
    }

    /// Sets the family.
    pub fn family(mut self, family: Family) -> Self {
        self.0.family = family;
        self
    }

    /// Adds a TCP port without a name.
    pub fn port(self, port: u16) -> Self {
        self.named_port("", port)
    }

    /// Adds a TCP port.
    pub fn named_port(mut self, name: &str, port: u16) -> Self {
        self.0.ports.push(EndpointPort { name: name.to_owned(), protocol: Protocol::Tcp, port });
        self
    }

    /// Sets the protocol of the port added last.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.0.ports.last_mut().expect("a port").protocol = protocol;
        self
    }

    /// Adds endpoints; the slice gets the family of the last one, if any.
    pub fn endpoints(mut self, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        self.0.endpoints.extend(endpoints);
        self.0.family = self.0.endpoints.last().map_or(self.0.family, |last| Family::of(last.address));
        self
    }

    /// The EndpointSlice.
    pub fn build(self) -> EndpointSlice {
        self.0
    }

    /// The event that adds the object.
    pub fn event(self) -> Event {
        Event::Slice(Box::new(self.0))
    }
}
