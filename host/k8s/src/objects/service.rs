//! `v1` Service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Number, Value};
use weir_core::net::{Family, PerFamily, parse_cidr_sloppy};
use weir_core::objects::{Service, ServicePort, ServiceType, TrafficPolicy};

use super::metadata::{Metadata, describe};
use super::{Decoded, address, port};
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
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "type")]
    service_type: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "items")]
    cluster_ips: Vec<String>,
    #[serde(deserialize_with = "items")]
    ip_families: Vec<String>,
    #[serde(rename = "externalIPs", deserialize_with = "items")]
    external_ips: Vec<String>,
    #[serde(deserialize_with = "items")]
    ports: Vec<Port>,
    session_affinity: String,
    session_affinity_config: SessionAffinityConfig,
    internal_traffic_policy: String,
    external_traffic_policy: String,
    #[serde(deserialize_with = "items")]
    load_balancer_source_ranges: Vec<String>,
    health_check_node_port: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    name: String,
    protocol: String,
    port: Option<Number>,
    node_port: Option<Number>,
    app_protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SessionAffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: ClientIp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    load_balancer: LoadBalancer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    #[serde(deserialize_with = "items")]
    ingress: Vec<Ingress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ingress {
    ip: String,
    ip_mode: Option<String>,
}

/// The API server's default for session affinity without a timeout (`DefaultClientIPServiceAffinitySeconds`).
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
/// The longest affinity the API server accepts (`MaxClientIPServiceAffinitySeconds`).
const MAX_AFFINITY_SECONDS: i64 = 86_400;
/// The cluster IP of a headless service (`ClusterIPNone`).
const HEADLESS: &str = "None";

pub(super) fn decode(value: &Value) -> (Decoded<Service>, Vec<Problem>) {
    let mut problems = Problems::of(describe("Service", value));
    let (wire, fit) = wire::decode::<Wire>(value, &mut problems);
    let service = (fit == Fit::Whole).then(|| wire.service(&mut problems)).flatten();
    (service.map_or(Decoded::Invalid, Decoded::Here), problems.into_vec())
}

/// A manifest that was never in a cluster may lack the cluster IP that the API server would assign.
pub(super) fn hint(value: &Value, service: &Service) -> Option<Problem> {
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let spec = value.get("spec").unwrap_or(&Value::Null);
    let mut listed = spec.get("clusterIPs").and_then(Value::as_array).into_iter().flatten();
    let says = spec.get("clusterIP").is_some_and(text) || listed.any(text);
    (!says && service.service_type != ServiceType::ExternalName).then(|| {
        let mut problems = Problems::of(describe("Service", value));
        problems.note(
            "spec.clusterIP",
            "",
            "is missing, because the API server assigns it; add it, or export the object with `kubectl get -o yaml`",
        );
        problems.into_vec().remove(0)
    })
}

impl Wire {
    /// The service, or `None` if an error has no harmless interpretation. Everything is checked first, so that all
    /// problems are reported at once.
    fn service(self, problems: &mut Problems) -> Option<Service> {
        let created = self.metadata.created(problems);
        let name = self.metadata.object_name(problems);
        let spec = self.spec;
        let service_type = spec.service_type(problems);
        let cluster_ips = spec.cluster_ips(service_type, problems);
        let client_ip_affinity = spec.client_ip_affinity(problems);
        let internal = traffic_policy(&spec.internal_traffic_policy, "spec.internalTrafficPolicy", problems);
        let external = traffic_policy(&spec.external_traffic_policy, "spec.externalTrafficPolicy", problems);
        let external_ips = spec.external_ips(problems);
        let load_balancer_ips = self.status.load_balancer.ips(problems);
        let ports = spec.ports(problems);
        let source_ranges = spec.source_ranges(problems);
        let health_check_node_port = port::optional(
            spec.health_check_node_port.as_ref(),
            "spec.healthCheckNodePort".to_owned(),
            "the health check",
            problems,
        );
        Some(Service {
            name: name?,
            created,
            labels: self.metadata.labels,
            annotations: self.metadata.annotations,
            service_type: service_type?,
            cluster_ips: cluster_ips?,
            external_ips,
            load_balancer_ips,
            ports,
            client_ip_affinity: client_ip_affinity?,
            internal_policy: internal?,
            external_policy: external?,
            source_ranges,
            health_check_node_port,
        })
    }
}

impl Spec {
    fn service_type(&self, problems: &mut Problems) -> Option<ServiceType> {
        match self.service_type.as_str() {
            "" | "ClusterIP" => Some(ServiceType::ClusterIp),
            "NodePort" => Some(ServiceType::NodePort),
            "LoadBalancer" => Some(ServiceType::LoadBalancer),
            "ExternalName" => Some(ServiceType::ExternalName),
            other => {
                problems.note(
                    "spec.type",
                    other,
                    "must be one of ClusterIP, NodePort, LoadBalancer, ExternalName",
                );
                None
            }
        }
    }

    /// The cluster IPs by family; `None` if one of them is invalid.
    fn cluster_ips(
        &self,
        service_type: Option<ServiceType>,
        problems: &mut Problems,
    ) -> Option<PerFamily<Option<IpAddr>>> {
        let mut of_family = PerFamily::default();
        if service_type == Some(ServiceType::ExternalName) {
            return Some(of_family);
        }
        let texts = self.cluster_ip_texts(problems);
        if texts.first().is_none_or(|(_, first)| first.is_empty() || *first == HEADLESS) {
            return Some(of_family);
        }
        let mut readable = true;
        for (i, (field, text)) in texts.into_iter().enumerate() {
            let Some(ip) = address::address(text, field.as_str(), problems) else {
                readable = false;
                continue;
            };
            match self.family_at(i, problems) {
                FamilyAt::Named(family) if family != Family::of(ip) => {
                    let message =
                        format!("spec.ipFamilies requires an {family} address; this address is left out");
                    problems.note(field, text, message);
                    continue;
                }
                FamilyAt::Beyond => continue,
                FamilyAt::Named(_) | FamilyAt::OfAddress => {}
            }
            let place = of_family.get_mut(Family::of(ip));
            match place {
                Some(first) => {
                    let message = format!("must be of a different family than {first}; it is left out");
                    problems.note(field, text, message);
                }
                None => *place = Some(ip),
            }
        }
        readable.then_some(of_family)
    }

    /// `clusterIPs`, or just `clusterIP` where the API server would copy it, each with its field's path. Empty items
    /// are ignored.
    fn cluster_ip_texts(&self, problems: &mut Problems) -> Vec<(String, &str)> {
        let fields = self.cluster_ips.iter().enumerate().filter(|(_, text)| !text.is_empty());
        let texts: Vec<(String, &str)> =
            fields.map(|(i, text)| (format!("spec.clusterIPs[{i}]"), text.as_str())).collect();
        let Some((field, first)) = texts.first() else {
            return vec![("spec.clusterIP".to_owned(), &self.cluster_ip)];
        };
        if !self.cluster_ip.is_empty() && self.cluster_ip != *first {
            problems.note(
                "spec.clusterIP",
                &self.cluster_ip,
                format!("must be equal to {field} (`{first}`); {field} is used"),
            );
        }
        texts
    }

    fn family_at(&self, i: usize, problems: &mut Problems) -> FamilyAt {
        if self.ip_families.is_empty() {
            return FamilyAt::OfAddress;
        }
        let Some(text) = self.ip_families.get(i) else { return FamilyAt::Beyond };
        match address::family(text) {
            Some(family) => FamilyAt::Named(family),
            None => {
                let field = format!("spec.ipFamilies[{i}]");
                problems.note(field, text, "must be IPv4 or IPv6; the family of the address is used");
                FamilyAt::OfAddress
            }
        }
    }

    /// The affinity's timeout, if there is affinity; `None` if it is invalid.
    fn client_ip_affinity(&self, problems: &mut Problems) -> Option<Option<u32>> {
        match self.session_affinity.as_str() {
            "" | "None" => return Some(None),
            "ClientIP" => {}
            other => {
                problems.note("spec.sessionAffinity", other, "must be None or ClientIP");
                return None;
            }
        }
        let Some(seconds) = self.session_affinity_config.client_ip.timeout_seconds else {
            return Some(Some(DEFAULT_AFFINITY_SECONDS));
        };
        let valid = u32::try_from(seconds).ok().filter(|_| (1..=MAX_AFFINITY_SECONDS).contains(&seconds));
        if valid.is_none() {
            problems.note(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                seconds,
                format!("must be a number of seconds from 1 to {MAX_AFFINITY_SECONDS}"),
            );
        }
        valid.map(Some)
    }

    fn external_ips(&self, problems: &mut Problems) -> Vec<IpAddr> {
        let texts = self.external_ips.iter().enumerate();
        texts
            .filter_map(|(i, text)| address::address(text, format!("spec.externalIPs[{i}]"), problems))
            .collect()
    }

    fn ports(&self, problems: &mut Problems) -> Vec<ServicePort> {
        let ports = self.ports.iter().enumerate();
        let ports: Vec<(usize, ServicePort)> = ports
            .filter_map(|(i, port)| Some((i, port.service_port(&format!("spec.ports[{i}]"), problems)?)))
            .collect();
        note_meetings(&ports, problems);
        ports.into_iter().map(|(_, port)| port).collect()
    }

    fn source_ranges(&self, problems: &mut Problems) -> Vec<IpNet> {
        let mut ranges = Vec::new();
        for (i, text) in self.load_balancer_source_ranges.iter().enumerate() {
            match parse_cidr_sloppy(text.trim()) {
                Some(range) => ranges.push(range),
                None => problems.note(
                    format!("spec.loadBalancerSourceRanges[{i}]"),
                    text,
                    "must be a network such as `10.0.0.0/8`; it is left out",
                ),
            }
        }
        ranges
    }
}

/// The family that `spec.ipFamilies` gives to a cluster IP.
enum FamilyAt {
    /// This one.
    Named(Family),
    /// The address's own family.
    OfAddress,
    /// None: the list is shorter, so the service has no such family in the API.
    Beyond,
}

impl Port {
    fn service_port(&self, field: &str, problems: &mut Problems) -> Option<ServicePort> {
        let protocol = port::protocol(&self.protocol, format!("{field}.protocol"), problems);
        let number = port::number(self.port.as_ref(), format!("{field}.port"), "the port", problems);
        let node_port =
            port::optional(self.node_port.as_ref(), format!("{field}.nodePort"), "the node port", problems);
        Some(ServicePort {
            name: self.name.clone(),
            protocol: protocol?,
            port: number?.get(),
            node_port,
            app_protocol: self.app_protocol.clone(),
        })
    }
}

impl LoadBalancer {
    /// The addresses that this node serves: those that arriving traffic has as its destination.
    fn ips(&self, problems: &mut Problems) -> Vec<IpAddr> {
        let mut ips = Vec::new();
        for (i, ingress) in self.ingress.iter().enumerate().filter(|(_, ingress)| !ingress.ip.is_empty()) {
            let field = format!("status.loadBalancer.ingress[{i}]");
            match ingress.ip_mode.as_deref() {
                None | Some("VIP") => ips.extend(address::address(&ingress.ip, field + ".ip", problems)),
                Some("Proxy") => {}
                Some(other) => {
                    problems.note(field + ".ipMode", other, "must be VIP or Proxy; the address is left out");
                }
            }
        }
        ips
    }
}

/// Notes colliding ports of one service, which the API server would not accept.
fn note_meetings(ports: &[(usize, ServicePort)], problems: &mut Problems) {
    let (mut names, mut numbers, mut node_ports) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (i, port) in ports {
        let field = |name| format!("spec.ports[{i}].{name}");
        if let Some(other) = names.insert((port.name.as_str(), port.protocol), i) {
            let message = format!(
                "spec.ports[{other}] has the same name and protocol; only the last of the two ports is served; \
                 change one of the names"
            );
            problems.note(field("name"), &port.name, message);
            continue;
        }
        let one = "only one of the two ports is served; change one of the numbers";
        if let Some(other) = numbers.insert((port.port, port.protocol), i) {
            let message = format!("spec.ports[{other}] has the same port and protocol; {one}");
            problems.note(field("port"), port.port, message);
        }
        let Some(node_port) = port.node_port else { continue };
        if let Some(other) = node_ports.insert((node_port, port.protocol), i) {
            let message = format!("spec.ports[{other}] has the same node port and protocol; {one}");
            problems.note(field("nodePort"), node_port, message);
        }
    }
}

fn traffic_policy(text: &str, field: &str, problems: &mut Problems) -> Option<TrafficPolicy> {
    match text {
        "" | "Cluster" => Some(TrafficPolicy::Cluster),
        "Local" => Some(TrafficPolicy::Local),
        other => {
            problems.note(field, other, "must be Cluster or Local");
            None
        }
    }
}

#[cfg(test)]
mod tests;
