//! Objects of the cluster: its Node, and Services with EndpointSlices of both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};
use weir_core::net::{Family, PerFamily, Protocol};

use super::{Cluster, POD_PORT, Place};

/// A dual-stack Service. Its number is the last part of all its VIPs, so tests need not name addresses.
#[derive(Debug, Clone)]
pub struct Service {
    name: String,
    number: u8,
    spec: Map<String, Value>,
    ports: Vec<Port>,
    annotations: Map<String, Value>,
    groups: Vec<Group>,
    ingress: Vec<Value>,
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

/// One port of a service.
#[derive(Debug, Clone, Copy)]
struct Port {
    protocol: Protocol,
    port: u16,
    node_port: Option<u16>,
}

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
        let mut service = Service {
            name: name.to_owned(),
            number,
            spec: Map::new(),
            ports: Vec::new(),
            annotations: Map::new(),
            groups: Vec::new(),
            ingress: Vec::new(),
        };
        let cluster_ips = Family::BOTH.map(|family| service.cluster_ip(family).to_string());
        service.spec.insert("type".to_owned(), json!("ClusterIP"));
        service.spec.insert("clusterIP".to_owned(), json!(cluster_ips[0]));
        service.spec.insert("clusterIPs".to_owned(), json!(cluster_ips));
        service.spec.insert("ipFamilies".to_owned(), json!(["IPv4", "IPv6"]));
        service.spec.insert("ipFamilyPolicy".to_owned(), json!("RequireDualStack"));
        service
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
        self.ports.push(Port { protocol, port, node_port: None });
        self
    }

    /// Adds a port that also has a node port.
    pub fn with_node_port(mut self, protocol: Protocol, port: u16, node_port: u16) -> Service {
        self.ports.push(Port { protocol, port, node_port: Some(node_port) });
        self.of_type("NodePort")
    }

    /// Adds an external IP of each family.
    pub fn with_external_ip(self) -> Service {
        let addresses = Family::BOTH.map(|family| self.external_ip(family).to_string());
        self.with("externalIPs", json!(addresses))
    }

    /// Adds a load balancer IP of each family.
    pub fn with_load_balancer(mut self) -> Service {
        self.ingress =
            Family::BOTH.map(|family| json!({"ip": self.load_balancer_ip(family).to_string()})).into();
        self.of_type("LoadBalancer")
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
        self.annotations.insert(key.to_owned(), json!(value));
        self
    }

    fn of_type(self, name: &str) -> Service {
        self.with("type", json!(name))
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
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|port| {
                json!({
                    "name": port.name(),
                    "protocol": port.protocol.to_string().to_uppercase(),
                    "port": port.port,
                    "targetPort": POD_PORT,
                    "nodePort": port.node_port,
                })
            })
            .collect();
        let mut spec = self.spec.clone();
        spec.insert("ports".to_owned(), json!(ports));
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name, "namespace": "default", "annotations": self.annotations},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": self.ingress}},
        })
    }

    fn slice(&self, group: &Group, family: Family) -> Value {
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|port| {
                json!({
                    "name": port.name(),
                    "protocol": port.protocol.to_string().to_uppercase(),
                    "port": POD_PORT,
                })
            })
            .collect();
        let endpoints: Vec<Value> = group
            .endpoints
            .iter()
            .map(|endpoint| {
                json!({
                    "addresses": [endpoint.addresses.get(family).to_string()],
                    "conditions": {"ready": true, "serving": true, "terminating": false},
                    "nodeName": endpoint.node,
                })
            })
            .collect();
        let mut labels = json!({"kubernetes.io/service-name": self.name});
        let mut name = format!("{}-{}", self.name, family.to_string().to_lowercase());
        if !group.name.is_empty() {
            labels[GROUP] = json!(group.name);
            name.push_str(&format!("-{}", group.name));
        }
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "addressType": family.to_string(),
            "ports": ports,
            "endpoints": endpoints,
        })
    }
}

/// A Node object.
#[derive(Debug, Clone)]
pub struct Node {
    object: Value,
}

impl Node {
    /// The Node at this place.
    pub fn of(cluster: &Cluster, place: Place) -> Node {
        let (host, number) = match place {
            Place::Local => (&cluster.node, 0),
            Place::Remote => (&cluster.other_node, 1),
        };
        let addresses = Family::BOTH
            .map(|family| json!({"type": "InternalIP", "address": host.address(family).to_string()}));
        let pods = [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")];
        let object = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": host.name(), "labels": {}},
            "spec": {"podCIDRs": pods},
            "status": {"addresses": addresses},
        });
        Node { object }
    }

    /// Adds a label.
    #[must_use]
    pub fn with_label(mut self, key: &str, value: &str) -> Node {
        self.object["metadata"]["labels"][key] = json!(value);
        self
    }

    /// Cordons the node: no new pods are scheduled there.
    #[must_use]
    pub fn unschedulable(mut self) -> Node {
        self.object["spec"]["unschedulable"] = json!(true);
        self
    }

    /// The object in JSON.
    pub fn to_json(&self) -> String {
        self.object.to_string()
    }
}

impl Port {
    fn name(&self) -> String {
        format!("{}-{}", self.protocol, self.port)
    }
}
