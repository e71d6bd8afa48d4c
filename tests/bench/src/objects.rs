//! A cluster as described by an API server.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use weir_core::cluster::Event;
use weir_k8s::objects::{self, Decoded};

/// Number of nodes the endpoints run on.
const NODES: u32 = 500;

fn name(n: u32) -> String {
    format!("service-{n}")
}

/// A service with one port.
pub(crate) fn service(n: u32) -> Result<Event> {
    let (namespace, name) = if n == 0 { ("default", "kubernetes".to_owned()) } else { ("bench", name(n)) };
    let object = json!({
        "metadata": {
            "namespace": namespace,
            "name": name,
            "creationTimestamp": "2026-11-28T10:00:00Z",
            "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": Ipv4Addr::from(0x0a60_0001 + n).to_string(),
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        },
    });
    match objects::service(&object).0 {
        Decoded::Here(service) => Ok(Event::Service(Box::new(service))),
        _ => bail!("the bench's own Service is refused"),
    }
}

/// Its endpoints; the last one is ready or not.
pub(crate) fn slice(n: u32, endpoints: u32, last_is_ready: bool) -> Result<Event> {
    let (namespace, name) = if n == 0 { ("default", "kubernetes".to_owned()) } else { ("bench", name(n)) };
    let endpoint = |i: u32| -> Value {
        let node = (n * 7 + i) % NODES;
        let ready = last_is_ready || i + 1 < endpoints;
        json!({
            "addresses": [Ipv4Addr::from(0x0b00_0000 + n * 256 + i).to_string()],
            "conditions": {"ready": ready, "serving": ready, "terminating": false},
            "nodeName": format!("worker-{node}.example.internal"),
            "zone": format!("zone-{}", node % 3),
        })
    };
    let object = json!({
        "metadata": {
            "namespace": namespace,
            "name": format!("{name}-x7k2p"),
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    });
    match objects::endpoint_slice(&object).0 {
        Decoded::Here(slice) => Ok(Event::Slice(Box::new(slice))),
        _ => bail!("the bench's own EndpointSlice is refused"),
    }
}
