//! `v1` Node.

use serde::Deserialize;
use serde_json::Value;
use weir_core::net::{parse_cidr_sloppy, parse_ip_sloppy};
use weir_core::objects::{Allocatable, Node, NodeAddressType};

use super::Decoded;
use super::address::address;
use super::metadata::Metadata;
use super::quantity;
use crate::Problem;
use crate::problem::Problems;
use crate::wire::{self, Fit, items};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs", deserialize_with = "items")]
    pod_cidrs: Vec<String>,
    unschedulable: bool,
    #[serde(deserialize_with = "items")]
    taints: Vec<Taint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

impl Taint {
    /// `KEY=VALUE:EFFECT`, or `KEY:EFFECT`; `None` if it has no key or no effect.
    fn text(&self, field: &str, problems: &mut Problems) -> Option<String> {
        let Taint { key, value, effect } = self;
        for (part, text) in [("key", key), ("effect", effect)] {
            if text.is_empty() {
                problems.note(format!("{field}.{part}"), "", "must not be empty; the taint is left out");
            }
        }
        let text =
            if value.is_empty() { format!("{key}:{effect}") } else { format!("{key}={value}:{effect}") };
        (!key.is_empty() && !effect.is_empty()).then_some(text)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "items")]
    addresses: Vec<Address>,
    capacity: Resources,
    allocatable: Resources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    cpu: Option<Value>,
    memory: Option<Value>,
}

impl Status {
    fn allocatable(&self, problems: &mut Problems) -> Allocatable {
        let (given, there) = (&self.allocatable, &self.capacity);
        Allocatable {
            cpu_millis: amount("cpu", [&given.cpu, &there.cpu], quantity::millis, problems),
            memory_bytes: amount("memory", [&given.memory, &there.memory], quantity::bytes, problems),
        }
    }
}

/// The amount of a resource: allocatable, otherwise capacity; 0 if neither is known.
fn amount(
    resource: &str,
    values: [&Option<Value>; 2],
    read: fn(&str) -> Option<u64>,
    problems: &mut Problems,
) -> u64 {
    let mut fields = ["allocatable", "capacity"].into_iter().zip(values);
    let Some((part, value)) = fields.find_map(|(part, value)| Some((part, value.as_ref()?))) else {
        return 0;
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    read(&text).unwrap_or_else(|| {
        let field = format!("status.{part}.{resource}");
        let message = "must be a quantity such as `500m` or `16Gi`; the amount is treated as unknown";
        problems.note(field, text, message);
        0
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    #[serde(rename = "type")]
    address_type: String,
    address: String,
}

pub(super) fn decode(value: &Value) -> (Decoded<Node>, Vec<Problem>) {
    // Nodes have no namespace.
    let name = value.pointer("/metadata/name").and_then(Value::as_str);
    let mut problems = Problems::of(format!("Node {}", name.unwrap_or("without a name")));
    let (wire, fit) = wire::decode::<Wire>(value, &mut problems);
    let node = (fit == Fit::Whole).then(|| wire.node(&mut problems)).flatten();
    (node.map_or(Decoded::Invalid, Decoded::Here), problems.into_vec())
}

impl Wire {
    fn node(self, problems: &mut Problems) -> Option<Node> {
        let name = self.metadata.object_name(problems)?.name;
        let mut addresses = Vec::new();
        for (i, wire) in self.status.addresses.iter().enumerate() {
            let address_type = match wire.address_type.as_str() {
                "InternalIP" => NodeAddressType::Internal,
                "ExternalIP" => NodeAddressType::External,
                "Hostname" => {
                    let ip = parse_ip_sloppy(&wire.address);
                    addresses.extend(ip.map(|ip| (NodeAddressType::Hostname, ip)));
                    continue;
                }
                _ => continue,
            };
            let field = format!("status.addresses[{i}].address");
            addresses.extend(address(&wire.address, field, problems).map(|ip| (address_type, ip)));
        }
        let pod_cidrs = self.spec.networks(problems);
        let taints = self.spec.taints.iter().enumerate();
        let taints =
            taints.filter_map(|(i, taint)| taint.text(&format!("spec.taints[{i}]"), problems)).collect();
        let allocatable = self.status.allocatable(problems);
        Some(Node {
            name,
            labels: self.metadata.labels,
            addresses,
            pod_cidrs,
            annotations: self.metadata.annotations,
            unschedulable: self.spec.unschedulable,
            deleting: self.metadata.deletion_timestamp.is_some(),
            taints,
            allocatable,
        })
    }
}

impl Spec {
    fn networks(&self, problems: &mut Problems) -> Vec<ipnet::IpNet> {
        let fields: Vec<(String, &String)> = if self.pod_cidrs.is_empty() {
            let single = Some(&self.pod_cidr).filter(|cidr| !cidr.is_empty());
            single.map(|cidr| ("spec.podCIDR".to_owned(), cidr)).into_iter().collect()
        } else {
            self.pod_cidrs.iter().enumerate().map(|(i, cidr)| (format!("spec.podCIDRs[{i}]"), cidr)).collect()
        };
        let mut networks = Vec::new();
        for (field, text) in fields {
            match parse_cidr_sloppy(text) {
                Some(network) => networks.push(network),
                None => problems.note(field, text, "must be a network such as `10.0.0.0/8`; it is left out"),
            }
        }
        networks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_read() {
        let (node, problems) = decode(&json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "a"}},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"]},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n"},
                {"type": "Hostname", "address": "10.0.0.9"},
                {"type": "InternalDNS", "address": "n.example"},
                {"type": "InternalIP", "address": "10.0.0.1"},
                {"type": "ExternalIP", "address": "2001:db8::1"},
            ]},
        }));
        assert_eq!(problems, []);
        let Decoded::Here(node) = node else { panic!("{node:?}") };
        assert_eq!((node.name.as_str(), node.zone()), ("n", Some("a")));
        assert_eq!(node.pod_cidrs, ["10.1.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()]);
        assert_eq!(
            node.addresses,
            [
                (NodeAddressType::Hostname, "10.0.0.9".parse().unwrap()),
                (NodeAddressType::Internal, "10.0.0.1".parse().unwrap()),
                (NodeAddressType::External, "2001:db8::1".parse().unwrap()),
            ]
        );
    }

    #[test]
    fn a_zone_label_without_a_value_names_no_zone() {
        for value in [json!(null), json!("")] {
            let labels = json!({"topology.kubernetes.io/zone": value});
            let (node, problems) = decode(&json!({"metadata": {"name": "n", "labels": labels}}));
            let Decoded::Here(node) = node else { panic!("{node:?}") };
            assert_eq!((node.zone(), node.labels.len(), problems.len()), (None, 1, 0));
        }
    }

    #[test]
    fn what_policies_look_at_is_read() {
        let (node, problems) = decode(&json!({
            "metadata": {"name": "n", "annotations": {"a": "b"}, "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"unschedulable": true, "taints": [
                {"key": "maintenance", "effect": "NoSchedule"},
                {"key": "gpu", "value": "yes", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"},
            ]},
            "status": {"capacity": {"cpu": "8", "memory": "32Gi"}, "allocatable": {"cpu": "7500m"}},
        }));
        assert_eq!(problems, []);
        let Decoded::Here(node) = node else { panic!("{node:?}") };
        assert!(node.unschedulable && node.deleting);
        assert_eq!(node.taints, ["maintenance:NoSchedule", "gpu=yes:NoExecute"]);
        assert_eq!(node.allocatable, Allocatable { cpu_millis: 7500, memory_bytes: 32 << 30 });
        assert_eq!(node.annotations["a"], "b");
    }

    #[test]
    fn what_policies_look_at_stops_nothing() {
        let (node, problems) = decode(&json!({
            "metadata": {"name": "n"},
            "spec": {"unschedulable": null, "taints": [{"value": "x", "effect": "NoSchedule"}, null]},
            "status": {"capacity": {"cpu": "lots", "memory": 1024}, "allocatable": {"memory": "-1"}},
        }));
        let Decoded::Here(node) = node else { panic!("{node:?}") };
        assert_eq!(
            (node.unschedulable, node.taints.len(), node.allocatable),
            (false, 0, Allocatable::default())
        );
        let told: Vec<(&str, &str)> = problems.iter().map(|p| (p.field.as_str(), p.value.as_str())).collect();
        assert_eq!(
            told,
            [
                ("spec.taints[0].key", ""),
                ("spec.taints[1].key", ""),
                ("spec.taints[1].effect", ""),
                ("status.capacity.cpu", "lots"),
                ("status.allocatable.memory", "-1"),
            ]
        );
    }

    #[test]
    fn pod_cidr_stands_in_for_pod_cidrs_and_bad_values_are_named() {
        let (node, problems) = decode(&json!({
            "metadata": {"name": "n"},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": []},
            "status": {"addresses": [{"type": "InternalIP", "address": "n"}]},
        }));
        let Decoded::Here(node) = node else { panic!("{node:?}") };
        assert_eq!(node.pod_cidrs, ["10.1.0.0/24".parse().unwrap()]);
        assert!(node.addresses.is_empty());
        assert_eq!(problems[0].field, "status.addresses[0].address");
        let (_, problems) = decode(&json!({"metadata": {"name": "n"}, "spec": {"podCIDRs": ["x"]}}));
        assert_eq!(problems[0].field, "spec.podCIDRs[0]");
        assert_eq!(decode(&json!({"metadata": {}})).0, Decoded::Invalid);
    }
}
