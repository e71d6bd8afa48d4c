//! Objects of the cluster: its node, and Services with EndpointSlices, both families each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};
use weir_core::net::{Family, PerFamily, Protocol};

use super::{Cluster, POD_PORT};

/// Services with one number each, which all their VIPs end in: a test needs to name no address.
#[derive(Debug, Clone)]
pub struct Service {
    name: String,
    number: u8,
    spec: Map<String, Value>,
    ports: Vec<Port>,
    endpoints: Vec<Endpoint>,
    ingress: Vec<Value>,
}

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
            endpoints: Vec::new(),
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
            Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, self.number.into()).into(),
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
        self.endpoints = endpoints.into_iter().collect();
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
        items.extend(Family::BOTH.map(|family| self.slice(family)));
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
            "metadata": {"name": self.name, "namespace": "default"},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": self.ingress}},
        })
    }

    fn slice(&self, family: Family) -> Value {
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
        let endpoints: Vec<Value> = self
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
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{}", self.name, family.to_string().to_lowercase()),
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": self.name},
            },
            "addressType": family.to_string(),
            "ports": ports,
            "endpoints": endpoints,
        })
    }
}

/// The Node object of the node where weir runs, in JSON.
pub fn node(cluster: &Cluster) -> String {
    let node = cluster.node();
    let addresses =
        Family::BOTH.map(|family| json!({"type": "InternalIP", "address": node.address(family).to_string()}));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name()},
        "spec": {"podCIDRs": ["10.244.0.0/24", "fd00:10:244::/64"]},
        "status": {"addresses": addresses},
    })
    .to_string()
}

impl Port {
    fn name(&self) -> String {
        format!("{}-{}", self.protocol, self.port)
    }
}
