//! The selectors used by weir.

use serde_json::Value;

use crate::asked::Asked;

/// Whether an object matches a request's selectors.
///
/// # Panics
/// When a selector has an unsupported form.
pub(crate) fn matches(asked: &Asked, object: &Value) -> bool {
    let labels = asked.parameter("labelSelector").split(',').filter(|part| !part.is_empty());
    let fields = asked.parameter("fieldSelector").split(',').filter(|part| !part.is_empty());
    labels.clone().all(|part| label_matches(part, object))
        && fields.clone().all(|part| field_matches(part, object))
}

fn label_matches(selector: &str, object: &Value) -> bool {
    let Some(absent) = selector.strip_prefix('!') else { panic!("unsupported label selector `{selector}`") };
    object["metadata"]["labels"].get(absent).is_none()
}

fn field_matches(selector: &str, object: &Value) -> bool {
    let (path, wanted, value) = match selector.split_once("!=") {
        Some((path, value)) => (path, false, value),
        None => {
            let Some((path, value)) = selector.split_once('=') else {
                panic!("unsupported field selector `{selector}`")
            };
            (path, true, value)
        }
    };
    let found = path.split('.').fold(object, |value, key| &value[key]);
    (found.as_str().unwrap_or_default() == value) == wanted
}
