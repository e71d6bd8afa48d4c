//! YAML and JSON texts as plain values, with the keys that were written twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML, any number of documents.
    Yaml,
    /// JSON, any number of documents one after the other.
    Json,
}

/// A document: its value, and the paths of keys that occur more than once (the last one counts).
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The value.
    pub value: Value,
    /// The paths.
    pub repeated: Vec<String>,
}

/// Why a text is not readable as a whole.
#[derive(Debug, thiserror::Error)]
pub enum SyntaxError {
    /// It is no YAML, or asks for more memory than a manifest has a right to.
    #[error("{0}")]
    Yaml(#[from] Box<serde_saphyr::Error>),
    /// It is no JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// How many nodes a file may have after its aliases are replaced: the Services and EndpointSlices of the
/// largest clusters have a few million. What aliases add is limited far below this by the parser's defaults.
const MAX_NODES: usize = 16_000_000;
/// How many documents a file may have.
const MAX_DOCUMENTS: usize = 1_000_000;
/// How many bytes of text the scalars of a file may have.
const MAX_TEXT: usize = 1 << 30;

/// Reads all documents of a text; empty ones are skipped.
pub fn parse(text: &str, format: Format) -> Result<Vec<Document>, SyntaxError> {
    match format {
        Format::Json => {
            let documents = serde_json::Deserializer::from_str(text).into_iter::<Document>();
            Ok(documents.collect::<Result<_, _>>()?)
        }
        Format::Yaml => {
            let options = serde_saphyr::options! {
                duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
                // Only `true` and `false`: a zone called `no` is a name.
                strict_booleans: true,
                with_snippet: false,
                budget: serde_saphyr::budget! {
                    max_nodes: MAX_NODES,
                    max_events: 2 * MAX_NODES,
                    max_documents: MAX_DOCUMENTS,
                    max_total_scalar_bytes: MAX_TEXT,
                },
            };
            serde_saphyr::from_multiple_with_options(text, options)
                .map_err(|error| SyntaxError::Yaml(Box::new(error)))
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Document {
        Document { value, repeated: Vec::new() }
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can express")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Document, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Value::Number(number).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Document, E> {
        Ok(Value::from(value).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Document, E> {
        Ok(Value::String(value).into())
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Document, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        Document::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Document, A::Error> {
        let mut values = Vec::new();
        let mut repeated = Vec::new();
        while let Some(item) = sequence.next_element::<Document>()? {
            let index = values.len();
            repeated.extend(item.repeated.into_iter().map(|path| prefixed(&format!("[{index}]"), &path)));
            values.push(item.value);
        }
        Ok(Document { value: Value::Array(values), repeated })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
        let mut values = Map::new();
        let mut repeated = Vec::new();
        while let Some(key) = entries.next_key::<Document>()? {
            let key = match key.value {
                Value::String(key) => key,
                Value::Bool(_) | Value::Number(_) => key.value.to_string(),
                _ => return Err(A::Error::custom("a key must be text")),
            };
            let item = entries.next_value::<Document>()?;
            repeated.extend(item.repeated.into_iter().map(|path| prefixed(&key, &path)));
            if values.insert(key.clone(), item.value).is_some() {
                repeated.push(key);
            }
        }
        Ok(Document { value: Value::Object(values), repeated })
    }
}

fn prefixed(parent: &str, path: &str) -> String {
    if path.starts_with('[') { format!("{parent}{path}") } else { format!("{parent}.{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(text: &str, format: Format) -> Vec<Value> {
        parse(text, format).unwrap().into_iter().map(|document| document.value).collect()
    }

    #[test]
    fn documents_are_read_one_by_one() {
        let yaml = "a: 1\n---\n# nothing here\n---\n- x: [1, two]\n  y: 1.5\n- null\n- true\n";
        let wanted = vec![json!({"a": 1}), json!([{"x": [1, "two"], "y": 1.5}, null, true])];
        assert_eq!(values(yaml, Format::Yaml), wanted);
        assert_eq!(values("{\"a\": 1}\n {\"a\": -2}", Format::Json), vec![json!({"a": 1}), json!({"a": -2})]);
        assert!(values("", Format::Yaml).is_empty());
        assert!(values(" \n", Format::Json).is_empty());
    }

    #[test]
    fn names_are_no_booleans() {
        assert_eq!(
            values("[no, y, on, Off, true]", Format::Yaml),
            vec![json!(["no", "y", "on", "Off", true])]
        );
    }

    #[test]
    fn json_is_yaml_too() {
        let text = "{\n\t\"a\": [\"\\ud83d\\ude00\", {\"b\\/c\": null}],\n\t\"d\": {}\n}\n";
        assert_eq!(values(text, Format::Yaml), values(text, Format::Json));
    }

    #[test]
    fn repeated_keys_are_named_by_their_path() {
        let yaml = "a: {b: 1, c: [{d: 1, d: 2}], b: 3}\na: {b: 4}\n";
        let document = parse(yaml, Format::Yaml).unwrap().remove(0);
        assert_eq!(document.repeated, ["a.c[0].d", "a.b", "a"]);
        assert_eq!(document.value, json!({"a": {"b": 4}}));
        let document = parse("{\"a\": 1, \"a\": 2}", Format::Json).unwrap().remove(0);
        assert_eq!(document.repeated, ["a"]);
        assert_eq!(document.value, json!({"a": 2}));
    }

    #[test]
    fn anchors_work_and_bombs_do_not() {
        let yaml = "base: &base {a: 1}\nagain: *base\n";
        assert_eq!(values(yaml, Format::Yaml), vec![json!({"base": {"a": 1}, "again": {"a": 1}})]);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let item = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [item.as_str(); 10].join(", "));
        }
        assert!(parse(&bomb, Format::Yaml).is_err());
        assert!(parse(&"[".repeat(100_000), Format::Yaml).is_err());
        assert!(parse(&"[".repeat(100_000), Format::Json).is_err());
    }

    #[test]
    fn broken_text_is_refused_with_its_place() {
        let error = parse("a: 1\nb: [\n", Format::Yaml).unwrap_err().to_string();
        assert!(error.contains("line 2") || error.contains("line 3"), "{error}");
        let error = parse("{\"a\": }", Format::Json).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
