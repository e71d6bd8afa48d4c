//! A cluster as described by an API server.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use weir_core::cluster::Event;
use weir_core::objects::{Conditions, Endpoint};
use weir_k8s::objects::{self, Decoded};
use weir_world::{api, build};

/// Number of nodes the endpoints run on.
const NODES: u32 = 500;

fn name(n: u32) -> (&'static str, String) {
    if n == 0 { ("default", "kubernetes".to_owned()) } else { ("bench", format!("service-{n}")) }
}

/// A service with one port.
pub(crate) fn service(n: u32) -> Result<Event> {
    let (namespace, name) = name(n);
    let service = build::service(&format!("{namespace}/{name}")).named_port("http", 80);
    let service = service.cluster_ip(Ipv4Addr::from(0x0a60_0001 + n)).label("app.kubernetes.io/name", &name);
    let mut object = api::service(&service.label("app.kubernetes.io/managed-by", "Helm").build());
    object["metadata"]["creationTimestamp"] = "2026-11-28T10:00:00Z".into();
    match objects::service(&object).0 {
        Decoded::Here(service) => Ok(Event::Service(Box::new(service))),
        _ => bail!("the bench's own Service is refused"),
    }
}

/// Its endpoints; the last one is ready or not.
pub(crate) fn slice(n: u32, endpoints: u32, last_is_ready: bool) -> Result<Event> {
    let endpoint = |i: u32| {
        let node = (n * 7 + i) % NODES;
        let ready = last_is_ready || i + 1 < endpoints;
        Endpoint {
            conditions: Conditions { ready, serving: ready, terminating: false },
            node: Some(format!("worker-{node}.example.internal").into()),
            zone: Some(format!("zone-{}", node % 3).into()),
            ..build::endpoint(Ipv4Addr::from(0x0b00_0000 + n * 256 + i))
        }
    };
    let (namespace, name) = name(n);
    let slice = build::slice(&format!("{namespace}/{name}")).named(&format!("{name}-x7k2p"));
    let slice = slice.named_port("http", 8080).endpoints((0..endpoints).map(endpoint));
    let manager = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
    match objects::endpoint_slice(&api::slice(&slice.label(manager.0, manager.1).build())).0 {
        Decoded::Here(slice) => Ok(Event::Slice(Box::new(slice))),
        _ => bail!("the bench's own EndpointSlice is refused"),
    }
}
