//! `metadata`, and how problems name an object.

use serde::Deserialize;
use serde_json::Value;
use weir_core::objects::{Attributes, ObjectName};

use super::timestamp;
use crate::problem::Problems;

/// The namespace of objects that do not name one.
const DEFAULT_NAMESPACE: &str = "default";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    namespace: String,
    creation_timestamp: Option<String>,
    pub(super) deletion_timestamp: Option<String>,
    pub(super) labels: Attributes,
    pub(super) annotations: Attributes,
}

impl Metadata {
    /// The object's name; `None`, with a problem, if it has none.
    pub(super) fn object_name(&self, problems: &mut Problems) -> Option<ObjectName> {
        if self.name.is_empty() {
            problems.note("metadata.name", "", "an object must have a name; the object is left out");
            return None;
        }
        Some(ObjectName::new(namespace_or_default(&self.namespace), &self.name))
    }

    /// `creationTimestamp` in seconds since 1970.
    pub(super) fn created(&self, problems: &mut Problems) -> Option<i64> {
        let text = self.creation_timestamp.as_deref()?;
        let seconds = timestamp::parse(text);
        if seconds.is_none() {
            problems.note(
                "metadata.creationTimestamp",
                text,
                "must be a time such as `2006-01-02T15:04:05Z`; the object is treated as just created",
            );
        }
        seconds
    }
}

fn namespace_or_default(namespace: &str) -> &str {
    if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace }
}

/// The name of an object, whatever else is wrong with it; `None` if even that cannot be read.
pub(crate) fn name_of(object: &Value) -> Option<ObjectName> {
    let metadata = object.get("metadata")?;
    let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?;
    let namespace = match metadata.get("namespace") {
        None | Some(Value::Null) => DEFAULT_NAMESPACE,
        Some(namespace) => namespace_or_default(namespace.as_str()?),
    };
    Some(ObjectName::new(namespace, name))
}

/// How problems name an object: `Service default/web`.
pub(super) fn describe(kind: &str, object: &Value) -> String {
    match name_of(object) {
        Some(name) => format!("{kind} {name}"),
        None => format!("{kind} without a name"),
    }
}
