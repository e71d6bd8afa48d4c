//! `v1` Namespace.

use serde::Deserialize;
use serde_json::Value;
use weir_core::objects::Namespace;

use super::Decoded;
use super::metadata::Metadata;
use crate::Problem;
use crate::problem::Problems;
use crate::wire::{self, Fit};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    metadata: Metadata,
}

pub(super) fn decode(value: &Value) -> (Decoded<Namespace>, Vec<Problem>) {
    // Namespaces have no namespace.
    let name = value.pointer("/metadata/name").and_then(Value::as_str);
    let mut problems = Problems::of(format!("Namespace {}", name.unwrap_or("without a name")));
    let (wire, fit) = wire::decode::<Wire>(value, &mut problems);
    let name = wire.metadata.object_name(&mut problems).map(|name| name.name);
    let Metadata { labels, annotations, .. } = wire.metadata;
    let namespace = name.filter(|_| fit == Fit::Whole).map(|name| Namespace { name, labels, annotations });
    (namespace.map_or(Decoded::Invalid, Decoded::Here), problems.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_namespace_is_read() {
        let (namespace, problems) = decode(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shop", "labels": {"tier": "a"}, "annotations": {"b": "c"}},
        }));
        assert_eq!(problems, []);
        let Decoded::Here(namespace) = namespace else { panic!("{namespace:?}") };
        assert_eq!((namespace.name.as_str(), namespace.labels["tier"].as_str()), ("shop", "a"));
        assert_eq!(namespace.annotations["b"], "c");
        assert_eq!(decode(&json!({"metadata": {"name": "shop", "labels": 1}})).0, Decoded::Invalid);
    }
}
