//! The selectors that are asked for by weir.

use serde_json::Value;

use crate::asked::Asked;

/// Whether an object is one of those that were asked for.
///
/// # Panics
/// When a selector is of a form that no test needs.
pub(crate) fn matches(asked: &Asked, object: &Value) -> bool {
    let labels = asked.parameter("labelSelector").split(',').filter(|part| !part.is_empty());
    let fields = asked.parameter("fieldSelector").split(',').filter(|part| !part.is_empty());
    labels.clone().all(|part| label_matches(part, object))
        && fields.clone().all(|part| field_matches(part, object))
}

fn label_matches(selector: &str, object: &Value) -> bool {
    let Some(absent) = selector.strip_prefix('!') else { panic!("label selector `{selector}`") };
    object["metadata"]["labels"].get(absent).is_none()
}

fn field_matches(selector: &str, object: &Value) -> bool {
    let (path, wanted, value) = match selector.split_once("!=") {
        Some((path, value)) => (path, false, value),
        None => {
            let Some((path, value)) = selector.split_once('=') else { panic!("field selector `{selector}`") };
            (path, true, value)
        }
    };
    let found = path.split('.').fold(object, |value, key| &value[key]);
    (found.as_str().unwrap_or_default() == value) == wanted
}
