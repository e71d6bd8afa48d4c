//! Generated EndpointSlices and their endpoints.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::service::Service;
use super::{NODE, ZONES};
use crate::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// A pod on this or another node, or a program in the node's own network.
pub(super) fn address(family: Family, random: &mut Random) -> String {
    let (net, host) = (random.below(2), random.between(1, 6));
    match family {
        Family::V4 if random.percent(4) => "10.0.2.15".to_owned(),
        Family::V4 => format!("10.244.{net}.{host}"),
        Family::V6 if net == 0 => format!("fd00:10:244::{host}"),
        Family::V6 => format!("fd00:10:244:1::{host}"),
    }
}

fn is_local(address: &str) -> bool {
    ["10.244.0.", "fd00:10:244::", "10.0.2.15"].iter().any(|start| address.starts_with(start))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) service: u8,
    pub(super) family: Family,
    namespace: &'static str,
    service_name: String,
    /// Name, protocol, number.
    ports: Vec<(String, &'static str, u16)>,
    pub(super) addresses: Vec<String>,
}

impl Slice {
    pub(super) fn new(service: &Service, family: Family) -> Slice {
        Slice {
            service: service.number(),
            family,
            namespace: service.namespace(),
            service_name: service.name(),
            ports: ports(service, 0),
            addresses: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, address: String) {
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// Adopts the Service's ports, or different target ports.
    pub(super) fn follow(&mut self, service: &Service, shift: u16) {
        self.ports = ports(service, shift);
    }

    pub(super) fn object(&self, number: u32, endpoints: &BTreeMap<(u8, String), Endpoint>) -> Value {
        let ports = self
            .ports
            .iter()
            .map(|(name, protocol, port)| json!({ "name": name, "protocol": protocol, "port": port }));
        let listed = self.addresses.iter().filter_map(|address| {
            endpoints.get(&(self.service, address.clone())).map(|endpoint| endpoint.object(address))
        });
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{number}", self.service_name),
                "namespace": self.namespace,
                "labels": { "kubernetes.io/service-name": self.service_name },
            },
            "addressType": self.family.name(),
            "ports": ports.collect::<Vec<_>>(),
            "endpoints": listed.collect::<Vec<_>>(),
        })
    }
}

fn ports(service: &Service, shift: u16) -> Vec<(String, &'static str, u16)> {
    service.ports.iter().map(|port| (port.name.clone(), port.protocol, port.target() + shift)).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Whether it has a node and a zone.
    placed: bool,
    /// ready, serving, terminating; absent means the API's default.
    conditions: [Option<bool>; 3],
    zone_hints: Vec<&'static str>,
    node_hints: Vec<&'static str>,
}

impl Endpoint {
    pub(super) fn random(address: &str, random: &mut Random) -> Endpoint {
        let mut endpoint = Endpoint {
            placed: is_local(address) || random.percent(90),
            conditions: [None; 3],
            zone_hints: Vec::new(),
            node_hints: Vec::new(),
        };
        if random.percent(40) {
            endpoint.change_conditions(random);
        }
        endpoint
    }

    pub(super) fn change_conditions(&mut self, random: &mut Random) {
        self.conditions = *random.one(&[
            [None, None, None],
            [Some(true), Some(true), Some(false)],
            [Some(false), Some(false), Some(false)],
            [Some(false), Some(true), Some(true)],
            [Some(false), Some(false), Some(true)],
            [Some(true), None, None],
            [Some(false), None, None],
        ]);
    }

    pub(super) fn change_hints(&mut self, random: &mut Random) {
        self.zone_hints = random.some(ZONES, 50);
        self.node_hints = random.some(&[NODE, "node2"], 25);
    }

    fn object(&self, address: &str) -> Value {
        let mut object = json!({ "addresses": [address] });
        if self.placed {
            object["nodeName"] = if is_local(address) { NODE } else { "node2" }.into();
            object["zone"] = if is_local(address) { ZONES[0] } else { ZONES[1] }.into();
        }
        for (name, value) in ["ready", "serving", "terminating"].into_iter().zip(self.conditions) {
            if let Some(value) = value {
                object["conditions"][name] = value.into();
            }
        }
        let names = |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
        if !self.zone_hints.is_empty() {
            object["hints"]["forZones"] = names(&self.zone_hints).into();
        }
        if !self.node_hints.is_empty() {
            object["hints"]["forNodes"] = names(&self.node_hints).into();
        }
        object
    }
}
