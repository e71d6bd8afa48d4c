//! Generated Services.

use serde_json::{Value, json};

use super::slice::Family;
use crate::Random;

const EXTERNAL: &[&str] = &["198.51.100.1", "198.51.100.2", "10.0.2.15", "2001:db8:1::1", "2001:db8:1::2"];
const BALANCERS: &[&str] = &["203.0.113.1", "203.0.113.2", "2001:db8:2::1", "2001:db8:2::2"];
const RANGES: &[&str] = &[
    "10.0.0.0/8",
    "10.0.2.0/24",
    "10.0.2.15/32",
    "192.0.2.0/24",
    "0.0.0.0/0",
    "fd00::/8",
    "fec0::15/128",
    "2001:db8::/32",
    "::/0",
];
const PROTOCOLS: &[&str] = &["TCP", "TCP", "UDP", "SCTP"];
const MODES: &[Option<&str>] = &[None, Some("VIP"), Some("Proxy")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    ClusterIp,
    NodePort,
    LoadBalancer,
    Headless,
    ExternalName,
}

/// The types a Service can change between.
const EXCHANGEABLE: &[Shape] = &[Shape::ClusterIp, Shape::NodePort, Shape::LoadBalancer];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Families {
    Only(Family),
    /// Both families, with this one first.
    Both(Family),
}

impl Families {
    pub(super) fn all(self) -> Vec<Family> {
        match self {
            Families::Only(family) => vec![family],
            Families::Both(Family::V4) => vec![Family::V4, Family::V6],
            Families::Both(Family::V6) => vec![Family::V6, Family::V4],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    slot: u16,
    pub(super) name: String,
    pub(super) protocol: &'static str,
    /// Changes the port number.
    turn: u16,
}

impl Port {
    /// The target port in slices.
    pub(super) fn target(&self) -> u16 {
        8000 + self.slot
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    number: u8,
    pub(super) families: Families,
    pub(super) shape: Shape,
    pub(super) ports: Vec<Port>,
    external_local: bool,
    internal_local: bool,
    affinity: Option<u32>,
    external_ips: Vec<&'static str>,
    /// Addresses of load balancers with their mode.
    balancers: Vec<(&'static str, Option<&'static str>)>,
    ranges: Vec<&'static str>,
    /// Whether it requests another proxy.
    elsewhere: bool,
    node_ports: bool,
    prefer_close: bool,
}

impl Service {
    pub(super) fn random(number: u8, random: &mut Random) -> Service {
        let families = match random.below(5) {
            0 => Families::Only(Family::V6),
            1 => Families::Both(Family::V4),
            2 => Families::Both(Family::V6),
            _ => Families::Only(Family::V4),
        };
        let shape = match random.below(20) {
            0 => Shape::Headless,
            1 => Shape::ExternalName,
            _ => *random.one(EXCHANGEABLE),
        };
        let mut service = Service {
            number,
            families,
            shape,
            ports: Vec::new(),
            external_local: random.percent(30),
            internal_local: random.percent(25),
            affinity: None,
            external_ips: random.some(EXTERNAL, 15),
            balancers: Vec::new(),
            ranges: Vec::new(),
            elsewhere: random.percent(4),
            node_ports: random.percent(85),
            prefer_close: random.percent(20),
        };
        for _ in 0..random.between(1, 2) {
            service.add_port(random);
        }
        if random.percent(25) {
            service.change_affinity(random);
        }
        service.change_balancers(random);
        if random.percent(40) {
            service.ranges = random.some(RANGES, 25);
        }
        service
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    pub(super) fn namespace(&self) -> &'static str {
        if self.number.is_multiple_of(2) { "default" } else { "shop" }
    }

    pub(super) fn name(&self) -> String {
        format!("s{}", self.number)
    }

    pub(super) fn add_port(&mut self, random: &mut Random) {
        let Some(slot) = (0..4).find(|slot| self.ports.iter().all(|port| port.slot != *slot)) else { return };
        let protocol = *random.one(PROTOCOLS);
        self.ports.push(Port { slot, name: format!("p{slot}"), protocol, turn: 0 });
    }

    pub(super) fn change_ports(&mut self, random: &mut Random) {
        let at = random.below(self.ports.len());
        match random.below(6) {
            0 | 1 => self.add_port(random),
            2 if self.ports.len() > 1 => drop(self.ports.remove(at)),
            3 => self.ports[at].name.push('x'),
            4 => {
                let now = self.ports[at].protocol;
                let other: Vec<&'static str> = PROTOCOLS.iter().copied().filter(|p| *p != now).collect();
                self.ports[at].protocol = *random.one(&other);
            }
            _ => self.ports[at].turn = (self.ports[at].turn + 1) % 10,
        }
        // No API server accepts a port with such a long name.
        self.ports.iter_mut().for_each(|port| port.name.truncate(8));
    }

    pub(super) fn change_shape(&mut self, random: &mut Random) {
        if EXCHANGEABLE.contains(&self.shape) {
            self.shape = *random.one(EXCHANGEABLE);
        }
    }

    pub(super) fn change_policy(&mut self, random: &mut Random) {
        match random.below(3) {
            0 => self.internal_local = !self.internal_local,
            1 => self.external_local = !self.external_local,
            _ => self.prefer_close = !self.prefer_close,
        }
    }

    pub(super) fn change_affinity(&mut self, random: &mut Random) {
        self.affinity = *random.one(&[None, Some(1), Some(120), Some(10_800), Some(86_400)]);
    }

    pub(super) fn change_external(&mut self, random: &mut Random) {
        self.external_ips = random.some(EXTERNAL, 40);
    }

    pub(super) fn change_balancers(&mut self, random: &mut Random) {
        let addresses = random.some(BALANCERS, 40);
        self.balancers = addresses.into_iter().map(|address| (address, *random.one(MODES))).collect();
    }

    pub(super) fn change_ranges(&mut self, random: &mut Random) {
        self.ranges = random.some(RANGES, 30);
    }

    pub(super) fn change_proxy(&mut self) {
        self.elsewhere = !self.elsewhere;
    }

    pub(super) fn change_node_ports(&mut self) {
        self.node_ports = !self.node_ports;
    }

    fn cluster_ips(&self) -> Vec<String> {
        let address = |family| match family {
            Family::V4 => format!("10.96.10.{}", self.number + 1),
            Family::V6 => format!("fd00:96::a{:02x}", self.number + 1),
        };
        match self.shape {
            Shape::Headless => vec!["None".to_owned()],
            Shape::ExternalName => Vec::new(),
            _ => self.families.all().into_iter().map(address).collect(),
        }
    }

    fn has_node_ports(&self) -> bool {
        match self.shape {
            Shape::NodePort => true,
            Shape::LoadBalancer => self.node_ports,
            _ => false,
        }
    }

    /// The Service as a user would write it.
    pub(super) fn object(&self) -> Value {
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name(), "namespace": self.namespace() },
            "spec": {
                "type": match self.shape {
                    Shape::ClusterIp | Shape::Headless => "ClusterIP",
                    Shape::NodePort => "NodePort",
                    Shape::LoadBalancer => "LoadBalancer",
                    Shape::ExternalName => "ExternalName",
                },
                "ports": self.ports.iter().map(|port| self.port(port)).collect::<Vec<_>>(),
            },
        });
        if self.elsewhere {
            object["metadata"]["labels"] = json!({ "service.kubernetes.io/service-proxy-name": "other" });
        }
        let spec = &mut object["spec"];
        if !self.external_ips.is_empty() {
            spec["externalIPs"] = json!(self.external_ips);
        }
        if self.prefer_close {
            spec["trafficDistribution"] = "PreferClose".into();
        }
        if self.shape == Shape::ExternalName {
            spec["externalName"] = "example.org".into();
            return object;
        }
        let cluster_ips = self.cluster_ips();
        spec["clusterIP"] = cluster_ips[0].as_str().into();
        spec["clusterIPs"] = json!(cluster_ips);
        let families = self.families.all();
        spec["ipFamilyPolicy"] = if families.len() == 1 { "SingleStack" } else { "RequireDualStack" }.into();
        spec["ipFamilies"] = families.into_iter().map(Family::name).collect();
        if let Some(seconds) = self.affinity {
            spec["sessionAffinity"] = "ClientIP".into();
            spec["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": seconds } });
        }
        if self.internal_local {
            spec["internalTrafficPolicy"] = "Local".into();
        }
        let external = matches!(self.shape, Shape::NodePort | Shape::LoadBalancer)
            || (self.shape == Shape::ClusterIp && !self.external_ips.is_empty());
        if external && self.external_local {
            spec["externalTrafficPolicy"] = "Local".into();
        }
        if self.shape == Shape::LoadBalancer {
            if self.external_local {
                spec["healthCheckNodePort"] = (32_000 + u16::from(self.number)).into();
            }
            if !self.node_ports {
                spec["allocateLoadBalancerNodePorts"] = false.into();
            }
            if !self.ranges.is_empty() {
                spec["loadBalancerSourceRanges"] = json!(self.ranges);
            }
            let ingress = self.balancers.iter().map(|(address, mode)| match mode {
                Some(mode) => json!({ "ip": address, "ipMode": mode }),
                None => json!({ "ip": address }),
            });
            object["status"] = json!({ "loadBalancer": { "ingress": ingress.collect::<Vec<_>>() } });
        }
        object
    }

    fn port(&self, port: &Port) -> Value {
        let offset = u16::from(self.number) * 40 + port.slot * 10 + port.turn;
        let mut object = json!({ "name": port.name, "protocol": port.protocol, "port": 1000 + offset });
        if self.has_node_ports() {
            object["nodePort"] = (30_000 + offset).into();
        }
        object
    }
}
