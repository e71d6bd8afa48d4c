//! Requests and answers as they are written: queries, pages of lists, lines of watches.

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_core::objects::ObjectName;

/// The annotation of the bookmark that ends the objects a streamed list begins with.
const LIST_END: &str = "k8s.io/initial-events-end";

/// The part of an address after `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(String);

impl Query {
    /// One without parameters.
    pub(crate) fn new() -> Query {
        Query::default()
    }

    /// The same with one more parameter.
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

    /// The request for this of a collection: path and query.
    pub(crate) fn of(&self, path: &str) -> String {
        if self.0.is_empty() { path.to_owned() } else { format!("{path}?{}", self.0) }
    }
}

/// A page of a list; its objects are not decoded yet, so that only one of them is at a time.
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
    /// From where to watch.
    pub(crate) resource_version: String,
    /// How to ask for the next page; empty on the last one.
    #[serde(rename = "continue")]
    pub(crate) next: Option<String>,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'t> {
    /// What happened.
    #[serde(rename = "type")]
    pub(crate) change: LineType,
    /// To what: an object, or a `Status` where something went wrong.
    #[serde(borrow)]
    pub(crate) object: &'t RawValue,
}

/// `type` of a line of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum LineType {
    /// The object is new, or matches the selectors only now.
    Added,
    /// The object changed.
    Modified,
    /// The object is gone, or does not match the selectors any more.
    Deleted,
    /// There is nothing to tell up to this version.
    Bookmark,
    /// The watch cannot go on.
    Error,
    /// Something this program does not know.
    #[serde(other)]
    Unknown,
}

/// What of an object's metadata is needed to keep track of it.
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

    /// The object's name; `None` if it has none, which no object of the API has.
    pub(crate) fn name(&self) -> Option<ObjectName> {
        let TrackedMetadata { name, namespace, .. } = &self.metadata;
        (!name.is_empty()).then(|| ObjectName::new(namespace, name))
    }

    /// The version of this state of it; empty if it says none.
    pub(crate) fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// Whether this bookmark ends the objects that a streamed list begins with.
    pub(crate) fn ends_list(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(LIST_END)).is_some_and(|value| value == "true")
    }
}

/// What of a `Status` is needed to know what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// The HTTP status, also where it is told in a watch.
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
