//! A configuration inside a wrapper: a ConfigMap, or the description of an EKS add-on.

use serde_json::Value;

use super::KIND;
use crate::document::{self, Document, Format, SyntaxError};
use crate::objects::name_of;
use crate::problem::Problem;

/// The field of an EKS add-on's description (`aws eks describe-addon`) that contains a configuration.
const OF_ADDON: &str = "/addon/configurationValues";

/// A text and the name of its place.
struct Part {
    place: String,
    text: String,
}

/// The configuration in a document and its place; if the document is not a wrapper, the document itself and no place.
pub(super) fn open(document: Document) -> Result<(Document, String), Problem> {
    if let Some(text) = document.value.pointer(OF_ADDON).and_then(Value::as_str) {
        return Part { place: "addon.configurationValues".to_owned(), text: text.to_owned() }.read();
    }
    let kind = document.value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let maps = match (kind, document.value.get("items")) {
        ("ConfigMap", _) => std::slice::from_ref(&document.value),
        ("List" | "ConfigMapList", Some(Value::Array(items))) => items.as_slice(),
        _ => return Ok((document, String::new())),
    };
    let mut found: Vec<Part> = maps.iter().flat_map(parts).filter(Part::is_configuration).collect();
    let message = match found.len() {
        1 => return found.remove(0).read(),
        0 => format!("no key holds a {KIND}; pass a {KIND} file, or a ConfigMap with one"),
        _ => {
            let places: Vec<&str> = found.iter().map(|part| part.place.as_str()).collect();
            format!(
                "contains more than one {KIND}; save one of these texts as a file, and pass that file: {}",
                places.join("; ")
            )
        }
    };
    Err(Problem { field: "kind".to_owned(), value: kind.to_owned(), ..Problem::of_object("", message) })
}

/// The texts in a ConfigMap.
fn parts(map: &Value) -> Vec<Part> {
    let name = name_of(map).map_or("without a name".to_owned(), |name| name.to_string());
    let data = map.get("data").and_then(Value::as_object).into_iter().flatten();
    data.filter_map(|(key, text)| {
        Some(Part { place: format!("ConfigMap {name}, key {key}"), text: text.as_str()?.to_owned() })
    })
    .collect()
}

impl Part {
    /// Whether it is a configuration, or would be one if it could be parsed.
    fn is_configuration(&self) -> bool {
        match first(&self.text) {
            Ok(document) => document.is_some_and(|document| document.value["kind"] == KIND),
            Err(_) => self.text.contains(KIND),
        }
    }

    fn read(self) -> Result<(Document, String), Problem> {
        match first(&self.text) {
            Ok(Some(document)) => Ok((document, self.place)),
            Ok(None) => Err(Problem::of_object(self.place, format!("is empty; expected a {KIND}"))),
            Err(error) => Err(Problem::of_object(self.place, format!("not readable as YAML: {error}"))),
        }
    }
}

fn first(text: &str) -> Result<Option<Document>, SyntaxError> {
    Ok(document::parse(text, Format::Yaml)?.into_iter().next())
}
