//! Objects of the cluster: its Node, and Services with EndpointSlices of both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};
use weir_core::net::{Family, PerFamily, Protocol};
use weir_core::objects::{self, ServiceType};
use weir_world::api;
use weir_world::build::{self, ServiceBuilder};

use super::{Cluster, POD_PORT, Place};

/// A dual-stack Service. Its number is the last part of all its VIPs, so tests need not name addresses.
#[derive(Debug, Clone)]
pub struct Service {
    name: String,
    number: u8,
    service: ServiceBuilder,
    /// Other fields of `spec`.
    spec: Map<String, Value>,
    groups: Vec<Group>,
}

/// Endpoints with their own EndpointSlices, one per family.
#[derive(Debug, Clone)]
struct Group {
    /// The value of the label [`GROUP`], and the suffix of the slices' names; empty for neither.
    name: String,
    endpoints: Vec<Endpoint>,
}

/// The label by which the plugin `annotations` recognises groups of endpoints.
const GROUP: &str = "policy.weir/group";

/// A pod as a ready endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's name.
    pub name: String,
    /// Its node's name.
    pub node: &'static str,
    /// Its addresses.
    pub addresses: PerFamily<IpAddr>,
}

impl Service {
    /// A service with cluster IPs only.
    pub fn new(name: &str, number: u8) -> Service {
        let groups = Vec::new();
        let service = Service {
            name: name.to_owned(),
            number,
            service: build::service(name),
            spec: Map::new(),
            groups,
        };
        service.with_all(Service::cluster_ip, ServiceBuilder::cluster_ip)
    }

    fn with_all(
        mut self,
        address: fn(&Service, Family) -> IpAddr,
        add: fn(ServiceBuilder, IpAddr) -> ServiceBuilder,
    ) -> Service {
        for family in Family::BOTH {
            let ip = address(&self, family);
            self.service = add(self.service, ip);
        }
        self
    }

    /// The number it was created with.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Its cluster IP.
    pub fn cluster_ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 96, 0, self.number).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, self.number.into()).into(),
        }
    }

    /// The address added by [`Service::with_external_ip`].
    pub fn external_ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(203, 0, 113, self.number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, self.number.into()).into(),
        }
    }

    /// The address added by [`Service::with_load_balancer`].
    pub fn load_balancer_ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(198, 51, 100, self.number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, self.number.into()).into(),
        }
    }

    /// Adds a port that leads to the pods' servers.
    pub fn with_port(mut self, protocol: Protocol, port: u16) -> Service {
        let name = format!("{protocol}-{port}");
        self.service = self.service.named_port(&name, port).protocol(protocol);
        self
    }

    /// Adds a port that also has a node port.
    pub fn with_node_port(self, protocol: Protocol, port: u16, node_port: u16) -> Service {
        let mut service = self.with_port(protocol, port);
        service.service = service.service.node_port(node_port);
        // A load balancer has node ports as well, and stays one.
        if service.service.clone().build().service_type == ServiceType::ClusterIp {
            service.service = service.service.of_type(ServiceType::NodePort);
        }
        service
    }

    /// Adds an external IP of each family.
    pub fn with_external_ip(self) -> Service {
        self.with_all(Service::external_ip, ServiceBuilder::external_ip)
    }

    /// Adds a load balancer IP of each family.
    pub fn with_load_balancer(self) -> Service {
        let mut service = self.with_all(Service::load_balancer_ip, ServiceBuilder::load_balancer_ip);
        service.service = service.service.of_type(ServiceType::LoadBalancer);
        service
    }

    /// Sets any other field of `spec`.
    pub fn with(mut self, field: &str, value: Value) -> Service {
        self.spec.insert(field.to_owned(), value);
        self
    }

    /// Replaces the endpoints.
    pub fn with_endpoints(mut self, endpoints: impl IntoIterator<Item = Endpoint>) -> Service {
        self.groups.clear();
        self.with_group("", endpoints)
    }

    /// Adds endpoints as a group that policies can distinguish.
    pub fn with_group(mut self, name: &str, endpoints: impl IntoIterator<Item = Endpoint>) -> Service {
        self.groups.push(Group { name: name.to_owned(), endpoints: endpoints.into_iter().collect() });
        self
    }

    /// Adds an annotation.
    pub fn with_annotation(mut self, key: &str, value: &str) -> Service {
        self.service = self.service.annotation(key, value);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Service and its EndpointSlices as one List, in JSON.
    pub fn to_list(&self) -> String {
        let mut items = vec![self.object()];
        for group in &self.groups {
            items.extend(Family::BOTH.map(|family| self.slice(group, family)));
        }
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    }

    fn object(&self) -> Value {
        let mut object = api::service(&self.service.clone().build());
        for (field, value) in &self.spec {
            object["spec"][field] = value.clone();
        }
        object
    }

    fn slice(&self, group: &Group, family: Family) -> Value {
        let mut name = format!("{}-{}", self.name, family.to_string().to_lowercase());
        let mut slice = build::slice(&self.name).family(family);
        if !group.name.is_empty() {
            slice = slice.label(GROUP, &group.name);
            name.push_str(&format!("-{}", group.name));
        }
        for port in self.service.clone().build().ports {
            slice = slice.named_port(&port.name, POD_PORT).protocol(port.protocol);
        }
        let endpoints = group.endpoints.iter().map(|endpoint| objects::Endpoint {
            node: Some(endpoint.node.into()),
            ..build::endpoint(endpoint.addresses.get(family))
        });
        api::slice(&slice.named(&name).endpoints(endpoints).build())
    }
}

/// A Node object.
#[derive(Debug, Clone)]
pub struct Node(objects::Node);

impl Node {
    /// The Node at this place.
    pub fn of(cluster: &Cluster, place: Place) -> Node {
        let (host, number) = match place {
            Place::Local => (&cluster.node, 0),
            Place::Remote => (&cluster.other_node, 1),
        };
        let addresses = Family::BOTH.map(|family| host.address(family).to_string());
        let pods = [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")];
        Node(objects::Node {
            pod_cidrs: pods.map(|net| net.parse().expect("a network")).to_vec(),
            ..build::node(host.name(), &addresses.each_ref().map(String::as_str))
        })
    }

    /// Adds a label.
    #[must_use]
    pub fn with_label(mut self, key: &str, value: &str) -> Node {
        self.0.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Cordons the node: no new pods are scheduled there.
    #[must_use]
    pub fn unschedulable(mut self) -> Node {
        self.0.unschedulable = true;
        self
    }

    /// The object in JSON.
    pub fn to_json(&self) -> String {
        api::node(&self.0).to_string()
    }
}
