//! `discovery.k8s.io/v1` EndpointSlice.

use serde::Deserialize;
use serde_json::{Number, Value};
use weir_core::net::Family;
use weir_core::objects::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, HEADLESS_LABEL, Hints, SERVICE_NAME_LABEL,
};

use super::metadata::{Metadata, describe};
use super::{Decoded, address, port};
use crate::Problem;
use crate::problem::Problems;
use crate::wire::{self, Fit, items};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    metadata: Metadata,
    address_type: String,
    #[serde(deserialize_with = "items")]
    endpoints: Vec<WireEndpoint>,
    #[serde(deserialize_with = "items")]
    ports: Vec<WirePort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireEndpoint {
    #[serde(deserialize_with = "items")]
    addresses: Vec<String>,
    conditions: WireConditions,
    node_name: Option<String>,
    zone: Option<String>,
    hints: WireHints,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireHints {
    #[serde(deserialize_with = "items")]
    for_zones: Vec<Hint>,
    #[serde(deserialize_with = "items")]
    for_nodes: Vec<Hint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hint {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WirePort {
    name: String,
    protocol: String,
    port: Option<Number>,
}

pub(super) fn decode(value: &Value) -> (Decoded<EndpointSlice>, Vec<Problem>) {
    let mut problems = Problems::of(describe("EndpointSlice", value));
    let (wire, fit) = wire::decode::<Wire>(value, &mut problems);
    let slice = if fit == Fit::Whole { wire.slice(&mut problems) } else { Decoded::Invalid };
    (slice, problems.into_vec())
}

impl Wire {
    fn slice(self, problems: &mut Problems) -> Decoded<EndpointSlice> {
        let Some(name) = self.metadata.object_name(problems) else { return Decoded::Invalid };
        if self.metadata.labels.contains_key(HEADLESS_LABEL) {
            return Decoded::Gone;
        }
        let service = self.metadata.labels.get(SERVICE_NAME_LABEL).filter(|service| !service.is_empty());
        let Some(service) = service.cloned() else {
            let field = format!("metadata.labels[{SERVICE_NAME_LABEL}]");
            problems.note(field, "", "must name the Service of the endpoints; the object is left out");
            return Decoded::Gone;
        };
        let family = match address::family(&self.address_type) {
            Some(family) => family,
            None if self.address_type == "FQDN" => {
                problems.note(
                    "addressType",
                    "FQDN",
                    "only IPv4 and IPv6 addresses can be load balanced, not names; the object is left out",
                );
                return Decoded::Gone;
            }
            None => {
                problems.note("addressType", &self.address_type, "must be IPv4 or IPv6");
                return Decoded::Invalid;
            }
        };
        let ports = self.ports.iter().enumerate();
        let ports = ports.filter_map(|(i, port)| port.endpoint_port(i, problems)).collect();
        let endpoints = self.endpoints.into_iter().enumerate();
        let endpoints = endpoints.filter_map(|(i, e)| e.endpoint(i, family, problems)).collect();
        Decoded::Here(EndpointSlice {
            name,
            service,
            labels: self.metadata.labels,
            annotations: self.metadata.annotations,
            family,
            ports,
            endpoints,
        })
    }
}

impl WirePort {
    fn endpoint_port(&self, i: usize, problems: &mut Problems) -> Option<EndpointPort> {
        let protocol = port::protocol(&self.protocol, format!("ports[{i}].protocol"), problems);
        let number = port::number(self.port.as_ref(), format!("ports[{i}].port"), "the port", problems);
        Some(EndpointPort { name: self.name.clone(), protocol: protocol?, port: number?.get() })
    }
}

impl WireEndpoint {
    fn endpoint(self, i: usize, family: Family, problems: &mut Problems) -> Option<Endpoint> {
        let Some(text) = self.addresses.first() else {
            problems.note(
                format!("endpoints[{i}].addresses"),
                "",
                "must not be empty; the endpoint is left out",
            );
            return None;
        };
        let field = format!("endpoints[{i}].addresses[0]");
        let address = address::endpoint_address(text, field.as_str(), problems)?;
        if Family::of(address) != family {
            let message =
                format!("must be an {family} address, as addressType says; the endpoint is left out");
            problems.note(field, text, message);
            return None;
        }
        let names = |hints: Vec<Hint>| hints.into_iter().map(|hint| hint.name).collect();
        Some(Endpoint {
            address,
            further_addresses: u16::try_from(self.addresses.len() - 1).unwrap_or(u16::MAX),
            conditions: self.conditions.filled_in(),
            node: self.node_name.filter(|name| !name.is_empty()).map(Into::into),
            zone: self.zone.map(Into::into),
            hints: Hints::new(names(self.hints.for_zones), names(self.hints.for_nodes)),
        })
    }
}

impl WireConditions {
    fn filled_in(&self) -> Conditions {
        Conditions {
            ready: self.ready.unwrap_or(Conditions::READY.ready),
            serving: self.serving.unwrap_or(Conditions::READY.serving),
            terminating: self.terminating.unwrap_or(Conditions::READY.terminating),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(mut patch: Value) -> (Decoded<EndpointSlice>, Vec<String>) {
        let mut value = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"]}],
            "ports": [{"name": "http", "port": 8080}],
        });
        for (key, patched) in patch.as_object_mut().unwrap() {
            value[key] = patched.take();
        }
        let (slice, problems) = decode(&value);
        (slice, problems.into_iter().map(|p| p.field).collect())
    }

    fn here(patch: Value) -> (EndpointSlice, Vec<String>) {
        match slice(patch) {
            (Decoded::Here(slice), problems) => (slice, problems),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn absent_fields_have_their_defaults() {
        let (slice, problems) = here(json!({}));
        assert_eq!(problems, [""; 0]);
        assert_eq!(slice.name.to_string(), "default/web-1");
        assert_eq!((slice.service.as_str(), slice.family), ("web", Family::V4));
        let port =
            EndpointPort { name: "http".to_owned(), protocol: weir_core::net::Protocol::Tcp, port: 8080 };
        assert_eq!(slice.ports, [port]);
        let endpoint = &slice.endpoints[0];
        assert_eq!(endpoint.conditions, Conditions::READY);
        assert_eq!((&endpoint.node, &endpoint.zone), (&None, &None));
        assert_eq!(endpoint.hints, None);
    }

    #[test]
    fn everything_an_endpoint_says_is_kept() {
        let (slice, problems) = here(json!({"endpoints": [{
            "addresses": ["010.0.0.01", "10.0.0.2"],
            "conditions": {"ready": false, "serving": null, "terminating": true},
            "nodeName": "n", "zone": "z", "hostname": "h", "targetRef": {"kind": "Pod"},
            "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "n"}]},
        }]}));
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            slice.endpoints,
            [Endpoint {
                address: "10.0.0.1".parse().unwrap(),
                further_addresses: 1,
                conditions: Conditions { ready: false, serving: true, terminating: true },
                node: Some("n".into()),
                zone: Some("z".into()),
                hints: Hints::new(vec!["a".to_owned(), "b".to_owned()], vec!["n".to_owned()]),
            }]
        );
    }

    #[test]
    fn an_empty_node_name_names_no_node() {
        let (slice, _) = here(json!({"endpoints": [{"addresses": ["10.0.0.1"], "nodeName": ""}]}));
        assert_eq!(slice.endpoints[0].node, None);
    }

    #[test]
    fn slices_without_a_service_are_gone() {
        let headless = json!({"metadata": {"name": "x", "labels": {
            "kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}}});
        assert_eq!(slice(headless), (Decoded::Gone, vec![]));
        let null = json!({"metadata": {"name": "x", "labels": {
            "kubernetes.io/service-name": "web", "service.kubernetes.io/headless": null}}});
        assert_eq!(slice(null), (Decoded::Gone, vec![]));
        let field = "metadata.labels[kubernetes.io/service-name]".to_owned();
        for labels in [
            json!({}),
            json!(null),
            json!({"kubernetes.io/service-name": ""}),
            json!({"kubernetes.io/service-name": null}),
        ] {
            let nameless = json!({"metadata": {"name": "x", "labels": labels}});
            assert_eq!(slice(nameless), (Decoded::Gone, vec![field.clone()]));
        }
        assert_eq!(slice(json!({"addressType": "FQDN"})), (Decoded::Gone, vec!["addressType".to_owned()]));
    }

    #[test]
    fn unknown_address_types_and_wrong_types_are_invalid() {
        for (patch, field) in [
            (json!({"addressType": "IPv5"}), "addressType"),
            (json!({"addressType": null}), "addressType"),
            (json!({"metadata": {}}), "metadata.name"),
            (json!({"endpoints": {}}), "endpoints"),
            (json!({"endpoints": [{"addresses": "10.0.0.1"}]}), "endpoints[0].addresses"),
            (json!({"ports": [{"port": "http"}]}), "ports[0].port"),
        ] {
            assert_eq!(slice(patch), (Decoded::Invalid, vec![field.to_owned()]));
        }
    }

    #[test]
    fn bad_ports_are_left_out() {
        let (slice, problems) = here(json!({"ports": [
            {"name": "nil"}, {"name": "zero", "port": 0}, {"name": "big", "port": 65536}, {"port": -1}, {"port": 1.5},
            {"name": "odd", "port": 1, "protocol": "ICMP"}, {"name": null, "port": 53, "protocol": "UDP"},
        ]}));
        assert_eq!(slice.ports.len(), 1);
        assert_eq!((slice.ports[0].name.as_str(), slice.ports[0].port), ("", 53));
        let fields: Vec<String> = (0..5).map(|i| format!("ports[{i}].port")).collect();
        assert_eq!(problems[..5], fields);
        assert_eq!(problems[5..], ["ports[5].protocol"]);
    }

    #[test]
    fn bad_endpoints_are_left_out() {
        let (slice, problems) = here(json!({"endpoints": [
            {"addresses": []}, {}, {"addresses": ["fd00::1"]}, {"addresses": ["127.0.0.1"]}, {"addresses": ["x"]},
            {"addresses": ["10.0.0.9"]},
        ]}));
        assert_eq!(slice.endpoints.len(), 1);
        assert_eq!(
            problems,
            [
                "endpoints[0].addresses",
                "endpoints[1].addresses",
                "endpoints[2].addresses[0]",
                "endpoints[3].addresses[0]",
                "endpoints[4].addresses[0]",
            ]
        );
    }
}
