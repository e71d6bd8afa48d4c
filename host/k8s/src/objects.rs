//! The API's objects, reduced to the fields that a service proxy uses, and their meaning.
//!
//! Absent fields get the API server's defaults, so that a manifest that was never in a cluster means the same as the
//! object the cluster would make of it.

use serde_json::Value;
use weir_core::objects::{EndpointSlice, Namespace, Node, ObjectName, Service};

use crate::Problem;

mod address;
mod metadata;
mod namespace;
mod node;
mod port;
pub(crate) mod quantity;
mod service;
mod slice;
pub(crate) mod timestamp;

pub(crate) use metadata::name_of;

/// The result of decoding an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<T> {
    /// The object is usable; invalid parts were left out.
    Here(T),
    /// The object is valid, but there is nothing to do for it.
    Gone,
    /// The object's meaning is unknown; its last good version, if any, is a better guess.
    Invalid,
}

impl<T> Decoded<T> {
    /// Applies a function to the value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Decoded<U> {
        match self {
            Decoded::Here(value) => Decoded::Here(change(value)),
            Decoded::Gone => Decoded::Gone,
            Decoded::Invalid => Decoded::Invalid,
        }
    }
}

/// Decodes a `v1` Service.
pub fn service(value: &Value) -> (Decoded<Service>, Vec<Problem>) {
    service::decode(value)
}

/// What is missing from a manually written Service.
pub(crate) fn service_hint(value: &Value, service: &Service) -> Option<Problem> {
    service::hint(value, service)
}

/// Decodes a `discovery.k8s.io/v1` EndpointSlice. Slices of headless services and of no service are gone.
pub fn endpoint_slice(value: &Value) -> (Decoded<EndpointSlice>, Vec<Problem>) {
    slice::decode(value)
}

/// The name of a `v1` Endpoints object, if it has addresses; nothing else in it is read.
pub(crate) fn endpoints(value: &Value, name: Option<&ObjectName>) -> Decoded<ObjectName> {
    let subsets = value.get("subsets").and_then(Value::as_array).into_iter().flatten();
    let mut addresses = subsets.filter_map(|subset| subset.get("addresses").and_then(Value::as_array));
    match name {
        Some(name) if addresses.any(|list| !list.is_empty()) => Decoded::Here(name.clone()),
        _ => Decoded::Gone,
    }
}

/// Decodes a `v1` Node.
pub fn node(value: &Value) -> (Decoded<Node>, Vec<Problem>) {
    node::decode(value)
}

/// Decodes a `v1` Namespace.
pub fn namespace(value: &Value) -> (Decoded<Namespace>, Vec<Problem>) {
    namespace::decode(value)
}
