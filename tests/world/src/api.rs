//! Objects as users and controllers write them, in a form that an API server accepts: fields that the Service's type
//! does not allow are left out.

use serde_json::{Value, json};
use weir_core::cluster::Event;
use weir_core::net::{Family, Protocol};
use weir_core::objects::{
    Attributes, EndpointSlice, Node, NodeAddressType, ObjectName, SERVICE_NAME_LABEL, Service, ServicePort,
    ServiceType, TrafficPolicy,
};

/// The Service, EndpointSlice or Node that an event adds; `None` if the event removes an object or adds another kind.
pub fn object(event: &Event) -> Option<Value> {
    match event {
        Event::Service(of) => Some(service(of)),
        Event::Slice(of) => Some(slice(of)),
        Event::Node(of) => Some(node(of)),
        Event::ServiceGone(_)
        | Event::SliceGone(_)
        | Event::NodeGone
        | Event::Endpoints(_)
        | Event::EndpointsGone(_)
        | Event::AnyNode(_)
        | Event::AnyNodeGone(_)
        | Event::Namespace(_)
        | Event::NamespaceGone(_) => None,
    }
}

/// A `v1` Service; headless if it has no cluster IP and is not of type ExternalName.
pub fn service(service: &Service) -> Value {
    let cluster_ips = Family::BOTH.into_iter().filter_map(|family| *service.cluster_ips.get(family));
    let cluster_ips: Vec<String> = cluster_ips.map(|ip| ip.to_string()).collect();
    let is_alias = service.service_type == ServiceType::ExternalName;
    let is_headless = cluster_ips.is_empty() && !is_alias;
    let service_type = if is_headless { ServiceType::ClusterIp } else { service.service_type };
    let takes_node_ports = matches!(service_type, ServiceType::NodePort | ServiceType::LoadBalancer);
    let is_balanced = service_type == ServiceType::LoadBalancer;

    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(&service.name, &service.labels, &service.annotations),
        "spec": {
            "type": match service_type {
                ServiceType::ClusterIp => "ClusterIP",
                ServiceType::NodePort => "NodePort",
                ServiceType::LoadBalancer => "LoadBalancer",
                ServiceType::ExternalName => "ExternalName",
            },
            "ports": service.ports.iter().map(|of| port(of, takes_node_ports)).collect::<Vec<_>>(),
        },
    });
    let mut set = |name: &str, value: Value, is_allowed: bool| {
        if is_allowed {
            object["spec"][name] = value;
        }
    };
    set("externalIPs", texts(&service.external_ips), !service.external_ips.is_empty());
    set("externalName", "example.org".into(), is_alias);
    set("clusterIP", "None".into(), is_headless);
    set("clusterIPs", json!(["None"]), is_headless);
    if let Some(first) = cluster_ips.first().filter(|_| !is_alias) {
        set("clusterIP", first.as_str().into(), true);
        let policy = if cluster_ips.len() == 1 { "SingleStack" } else { "RequireDualStack" };
        set("ipFamilyPolicy", policy.into(), true);
        let families = Family::BOTH.into_iter().filter(|family| service.cluster_ips.get(*family).is_some());
        set("ipFamilies", families.map(|family| family.to_string()).collect(), true);
        set("clusterIPs", json!(cluster_ips), true);
    }
    if let Some(seconds) = service.client_ip_affinity {
        set("sessionAffinity", "ClientIP".into(), !is_alias);
        set("sessionAffinityConfig", json!({ "clientIP": { "timeoutSeconds": seconds } }), !is_alias);
    }
    let is_local = service.internal_policy == TrafficPolicy::Local;
    set("internalTrafficPolicy", "Local".into(), is_local && !is_alias);
    let is_exposed = takes_node_ports || (!is_headless && !is_alias && !service.external_ips.is_empty());
    let is_local = service.external_policy == TrafficPolicy::Local;
    set("externalTrafficPolicy", "Local".into(), is_local && is_exposed);
    let health_check = json!(service.health_check_node_port);
    set("healthCheckNodePort", health_check.clone(), is_local && is_balanced && !health_check.is_null());
    set(
        "loadBalancerSourceRanges",
        texts(&service.source_ranges),
        is_balanced && !service.source_ranges.is_empty(),
    );
    if is_balanced {
        let ingress = service.load_balancer_ips.iter().map(|ip| json!({ "ip": ip }));
        object["status"] = json!({ "loadBalancer": { "ingress": ingress.collect::<Vec<_>>() } });
    }
    object
}

/// A `discovery.k8s.io/v1` EndpointSlice.
pub fn slice(slice: &EndpointSlice) -> Value {
    let mut labels = slice.labels.clone();
    labels.insert(SERVICE_NAME_LABEL.to_owned(), slice.service.clone());
    let ports = slice
        .ports
        .iter()
        .map(|of| json!({ "name": of.name, "protocol": protocol(of.protocol), "port": of.port }));
    let names = |names: &[String]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
    let endpoints = slice.endpoints.iter().map(|endpoint| {
        let conditions = endpoint.conditions;
        let mut object = json!({
            "addresses": [endpoint.address],
            "conditions": {
                "ready": conditions.ready,
                "serving": conditions.serving,
                "terminating": conditions.terminating,
            },
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object[name] = value;
            }
        };
        set("nodeName", endpoint.node.as_deref().map(Value::from));
        set("zone", endpoint.zone.as_deref().map(Value::from));
        set(
            "hints",
            endpoint
                .hints
                .as_deref()
                .map(|hints| json!({ "forZones": names(&hints.zones), "forNodes": names(&hints.nodes) })),
        );
        object
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(&slice.name, &labels, &slice.annotations),
        "addressType": slice.family.to_string(),
        "ports": ports.collect::<Vec<_>>(),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

/// A `v1` Node.
pub fn node(node: &Node) -> Value {
    let addresses = node.addresses.iter().map(|(of_type, address)| {
        let name = match of_type {
            NodeAddressType::Internal => "InternalIP",
            NodeAddressType::External => "ExternalIP",
            NodeAddressType::Hostname => "Hostname",
        };
        json!({ "type": name, "address": address })
    });
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": node.name, "labels": node.labels },
        "spec": {
            "podCIDR": node.pod_cidrs.first().map(ToString::to_string),
            "podCIDRs": texts(&node.pod_cidrs),
        },
        "status": { "addresses": addresses.collect::<Vec<_>>() },
    });
    if node.unschedulable {
        object["spec"]["unschedulable"] = true.into();
    }
    object
}

fn metadata(name: &ObjectName, labels: &Attributes, annotations: &Attributes) -> Value {
    json!({ "name": name.name, "namespace": name.namespace, "labels": labels, "annotations": annotations })
}

fn port(port: &ServicePort, takes_node_ports: bool) -> Value {
    let mut object = json!({ "name": port.name, "protocol": protocol(port.protocol), "port": port.port });
    if let Some(node_port) = port.node_port.filter(|_| takes_node_ports) {
        object["nodePort"] = node_port.get().into();
    }
    object
}

fn protocol(protocol: Protocol) -> String {
    protocol.to_string().to_uppercase()
}

fn texts<T: ToString>(all: &[T]) -> Value {
    all.iter().map(ToString::to_string).collect()
}
