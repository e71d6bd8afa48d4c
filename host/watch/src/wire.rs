//! The wire format of requests and answers: queries, pages of lists, lines of watches.

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_core::objects::ObjectName;

/// The annotation of the bookmark that ends the initial objects of a streamed list.
const LIST_END: &str = "k8s.io/initial-events-end";

/// The query part of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(String);

impl Query {
    /// A query without parameters.
    pub(crate) fn new() -> Query {
        Query::default()
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, key: &str, value: impl AsRef<str>) -> Query {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(key);
        self.0.push('=');
        for byte in value.as_ref().bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    self.0.push(char::from(byte));
                }
                other => self.0.push_str(&format!("%{other:02X}")),
            }
        }
        self
    }

    /// The request with this query for a collection: path and query.
    pub(crate) fn of(&self, path: &str) -> String {
        if self.0.is_empty() { path.to_owned() } else { format!("{path}?{}", self.0) }
    }
}

/// A page of a list. Its objects are not decoded yet, so that only one is decoded at a time.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<'t> {
    /// The list's own metadata.
    #[serde(default)]
    pub(crate) metadata: ListMetadata,
    /// The objects. Go writes an empty list as null.
    #[serde(borrow, default)]
    pub(crate) items: Option<Vec<&'t RawValue>>,
}

/// `metadata` of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ListMetadata {
    /// The version to watch from.
    pub(crate) resource_version: String,
    /// The token for the next page; empty on the last one.
    #[serde(rename = "continue")]
    pub(crate) next: Option<String>,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'t> {
    /// What happened.
    #[serde(rename = "type")]
    pub(crate) change: LineType,
    /// The object, or a `Status` after an error.
    #[serde(borrow)]
    pub(crate) object: &'t RawValue,
}

/// `type` of a line of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum LineType {
    /// The object is new, or has started to match the selectors.
    Added,
    /// The object changed.
    Modified,
    /// The object is gone, or no longer matches the selectors.
    Deleted,
    /// There are no further changes up to this version.
    Bookmark,
    /// The watch cannot continue.
    Error,
    /// A type that this program does not know.
    #[serde(other)]
    Unknown,
}

/// The part of an object's metadata that is needed to track it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tracked {
    metadata: TrackedMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TrackedMetadata {
    name: String,
    namespace: String,
    resource_version: String,
    annotations: Option<std::collections::BTreeMap<String, serde_json::Value>>,
}

impl Tracked {
    /// Reads it from an object's text.
    pub(crate) fn read(object: &RawValue) -> Result<Tracked, serde_json::Error> {
        serde_json::from_str(object.get())
    }

    /// The object's name; `None` if it has none, which does not occur in the API.
    pub(crate) fn name(&self) -> Option<ObjectName> {
        let TrackedMetadata { name, namespace, .. } = &self.metadata;
        (!name.is_empty()).then(|| ObjectName::new(namespace, name))
    }

    /// The version of this state; empty if it has no version.
    pub(crate) fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// Whether this bookmark ends the initial objects of a streamed list.
    pub(crate) fn ends_list(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(LIST_END)).is_some_and(|value| value == "true")
    }
}

/// The part of a `Status` that is needed to react to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// The HTTP status, also in a watch.
    pub(crate) code: u16,
    /// The reason in one word.
    pub(crate) reason: String,
    /// The reason in a sentence.
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let query = Query::new().with("labelSelector", "!a.b/c-d").with("fieldSelector", "x!=None ä");
        assert_eq!(query.of("/p"), "/p?labelSelector=%21a.b%2Fc-d&fieldSelector=x%21%3DNone%20%C3%A4");
        assert_eq!(Query::new().of("/p"), "/p");
    }

    #[test]
    fn a_page_without_objects_is_read() {
        for text in [r#"{"items": null}"#, r#"{"metadata": {"resourceVersion": "1", "continue": null}}"#] {
            let page: Page<'_> = serde_json::from_str(text).unwrap();
            assert_eq!((page.items.unwrap_or_default().len(), page.metadata.next), (0, None));
        }
    }

    #[test]
    fn a_line_of_an_unknown_type_is_read() {
        let line: Line<'_> = serde_json::from_str(r#"{"type": "PAUSED", "object": {"a": 1}}"#).unwrap();
        assert_eq!((line.change, line.object.get()), (LineType::Unknown, r#"{"a": 1}"#));
    }

    #[test]
    fn the_end_of_a_streamed_list_is_an_annotation() {
        let tracked = |text: &str| Tracked::read(serde_json::from_str(text).unwrap()).unwrap();
        let end =
            r#"{"metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}}"#;
        assert!(tracked(end).ends_list());
        assert_eq!((tracked(end).name(), tracked(end).version()), (None, "7"));
        assert!(!tracked(r#"{"metadata": {"annotations": null}}"#).ends_list());
    }
}
