//! Small objects.

use serde_json::{Value, json};
use weir_world::{api, build};

/// A Service in `shop` with one port.
pub(crate) fn service(name: &str, port: u16) -> Value {
    api::service(&build::service(&format!("shop/{name}")).cluster_ip("10.96.0.10").port(port).build())
}

/// A slice of a Service in `shop` with one endpoint.
pub(crate) fn slice(name: &str, service: &str, address: &str) -> Value {
    let slice = build::slice(&format!("shop/{service}")).named(name).port(80);
    api::slice(&slice.endpoints([build::endpoint(address)]).build())
}

/// A Node.
pub(crate) fn node(name: &str, address: &str) -> Value {
    api::node(&build::node(name, &[address]))
}

/// A Namespace.
pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// An object with one more label.
pub(crate) fn labelled(mut object: Value, label: &str, value: &str) -> Value {
    object["metadata"]["labels"][label] = json!(value);
    object
}
