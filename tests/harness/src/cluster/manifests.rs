//! Objects of the cluster: its node, and Services with EndpointSlices, both families each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};
use weir_core::net::{Family, PerFamily, Protocol};

use super::{Cluster, POD_PORT, Place};

/// Services with one number each, which all their VIPs end in: a test needs to name no address.
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

/// Endpoints that have an EndpointSlice of each family to themselves.
#[derive(Debug, Clone)]
struct Group {
    /// The value of the label [`GROUP`], and the end of the slices' names; empty = neither.
    name: String,
    endpoints: Vec<Endpoint>,
}

/// By which the plugin `annotations` knows groups of endpoints.
const GROUP: &str = "policy.weir/group";

/// One port of a service.
#[derive(Debug, Clone, Copy)]
struct Port {
    protocol: Protocol,
    port: u16,
    node_port: Option<u16>,
}

/// A pod as an endpoint, ready.
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
    /// A service with cluster IPs and nothing else.
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

    /// The number it was made with.
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

    /// What [`Service::with_external_ip`] adds.
    pub fn external_ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(203, 0, 113, self.number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, self.number.into()).into(),
        }
    }

    /// What [`Service::with_load_balancer`] adds.
    pub fn load_balancer_ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(198, 51, 100, self.number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, self.number.into()).into(),
        }
    }

    /// One more port, which leads to the pods' servers.
    pub fn with_port(mut self, protocol: Protocol, port: u16) -> Service {
        self.ports.push(Port { protocol, port, node_port: None });
        self
    }

    /// One more port, on all nodes too.
    pub fn with_node_port(mut self, protocol: Protocol, port: u16, node_port: u16) -> Service {
        self.ports.push(Port { protocol, port, node_port: Some(node_port) });
        self.of_type("NodePort")
    }

    /// An external IP of each family.
    pub fn with_external_ip(self) -> Service {
        let addresses = Family::BOTH.map(|family| self.external_ip(family).to_string());
        self.with("externalIPs", json!(addresses))
    }

    /// A load balancer's IP of each family.
    pub fn with_load_balancer(mut self) -> Service {
        self.ingress =
            Family::BOTH.map(|family| json!({"ip": self.load_balancer_ip(family).to_string()})).into();
        self.of_type("LoadBalancer")
    }

    /// Any other field of `spec`.
    pub fn with(mut self, field: &str, value: Value) -> Service {
        self.spec.insert(field.to_owned(), value);
        self
    }

    /// The pods that answer, instead of those it had.
    pub fn with_endpoints(mut self, endpoints: impl IntoIterator<Item = Endpoint>) -> Service {
        self.groups.clear();
        self.with_group("", endpoints)
    }

    /// More pods that answer, as a group that policies can tell from the others.
    pub fn with_group(mut self, name: &str, endpoints: impl IntoIterator<Item = Endpoint>) -> Service {
        self.groups.push(Group { name: name.to_owned(), endpoints: endpoints.into_iter().collect() });
        self
    }

    /// An annotation.
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
    /// The node of this place.
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

    /// A label.
    #[must_use]
    pub fn with_label(mut self, key: &str, value: &str) -> Node {
        self.object["metadata"]["labels"][key] = json!(value);
        self
    }

    /// Cordoned: no new pods shall be put there.
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
