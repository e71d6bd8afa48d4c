//! YAML and JSON texts as plain values, with their repeated keys.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The syntax of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML, any number of documents.
    Yaml,
    /// JSON, any number of concatenated documents.
    Json,
}

/// A document: its value and its invalid keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The value.
    pub value: Value,
    /// Its invalid keys.
    pub faults: Vec<KeyFault>,
}

/// An invalid key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFault {
    /// The path of the key, or of the mapping if the key has no name. A key with characters other than letters, digits,
    /// `_`, `-` and `$` is in brackets: `metadata.labels[example.com/name]`.
    pub path: String,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It occurs more than once.
    Repeated,
    /// It is null, a list or a mapping, which JSON does not allow.
    NotText,
}

impl FaultKind {
    /// The message, including how the key is handled.
    pub(crate) fn message(self) -> &'static str {
        match self {
            FaultKind::Repeated => "occurs more than once; the last one is used",
            FaultKind::NotText => {
                "a key must be text, not null, a list or a mapping (is this an unrendered template?); the key \
                 is left out"
            }
        }
    }
}

impl KeyFault {
    fn below(self, parent: &str) -> KeyFault {
        KeyFault { path: prefixed(parent, &self.path), ..self }
    }
}

/// Why a text cannot be parsed completely.
#[derive(Debug, thiserror::Error)]
pub enum SyntaxError {
    /// It is not YAML, or would need too much memory for a manifest.
    #[error("{0}")]
    Yaml(#[from] Box<serde_saphyr::Error>),
    /// It is not JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// There are more broken documents than are reported.
    #[error("more than {MAX_BROKEN} documents are broken, so the rest of the file is not read")]
    TooMany,
}

/// The most nodes of a file after its aliases are expanded: the Services and EndpointSlices of the largest clusters
/// have a few million. The parser's defaults limit expansion by aliases to far less.
const MAX_NODES: usize = 16_000_000;
/// The most documents of a file.
const MAX_DOCUMENTS: usize = 1_000_000;
/// The most bytes of text in a file's scalars.
const MAX_TEXT: usize = 1 << 30;

/// How many broken documents are reported before the rest is skipped: each may cost as much as an alias bomb.
const MAX_BROKEN: usize = 20;

/// Parses all documents that can be parsed, and returns errors for the others. Empty ones are skipped.
pub(crate) fn parse_each(text: &str, format: Format) -> (Vec<Document>, Vec<SyntaxError>) {
    match format {
        Format::Json => {
            let mut documents = Vec::new();
            for document in serde_json::Deserializer::from_str(text).into_iter::<Document>() {
                match document {
                    Ok(document) => documents.push(document),
                    // The start of the next one is unknown.
                    Err(error) => return (documents, vec![error.into()]),
                }
            }
            documents.retain(|document| !document.value.is_null());
            (documents, Vec::new())
        }
        Format::Yaml => match parse(text, format) {
            Ok(documents) => (documents, Vec::new()),
            Err(_) => parse_apart(text),
        },
    }
}

/// Parses each YAML document separately.
fn parse_apart(text: &str) -> (Vec<Document>, Vec<SyntaxError>) {
    let mut documents = Vec::new();
    let mut broken = Vec::new();
    for (first_line, part) in parts(text) {
        if parse(part, Format::Yaml).map(|mut read| documents.append(&mut read)).is_ok() {
            continue;
        }
        if broken.len() == MAX_BROKEN {
            broken.push(SyntaxError::TooMany);
            break;
        }
        // Leading empty lines make errors show the line in the file.
        let in_place = "\n".repeat(first_line) + part;
        broken.extend(parse(&in_place, Format::Yaml).err());
    }
    (documents, broken)
}

/// The documents of a YAML text, with the number of lines before each. A line that starts with `---` always starts
/// one, even inside an unfinished quoted or block scalar (YAML 1.2, `c-forbidden`).
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let begins =
            line.strip_prefix("---").is_some_and(|rest| rest.trim_start() != rest || rest.is_empty());
        if begins && at > start {
            parts.push((first_line, &text[start..at]));
            (start, first_line) = (at, number);
        }
        at += line.len();
    }
    parts.push((first_line, &text[start..]));
    parts
}

/// Parses all documents of a text; empty ones are skipped.
pub fn parse(text: &str, format: Format) -> Result<Vec<Document>, SyntaxError> {
    match format {
        Format::Json => {
            let documents = serde_json::Deserializer::from_str(text).into_iter::<Document>();
            Ok(documents.collect::<Result<_, _>>()?)
        }
        Format::Yaml => {
            let options = serde_saphyr::options! {
                // The visitor still sees all of them; `<<` merges the last one.
                duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
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
        Document { value, faults: Vec::new() }
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
        let mut faults = Vec::new();
        while let Some(item) = sequence.next_element::<Document>()? {
            let index = format!("[{}]", values.len());
            faults.extend(item.faults.into_iter().map(|fault| fault.below(&index)));
            values.push(item.value);
        }
        Ok(Document { value: Value::Array(values), faults })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
        let mut values = Map::new();
        let mut not_text = None;
        // By key, so that faults inside an overridden value are dropped with it.
        let mut faults: BTreeMap<String, Vec<KeyFault>> = BTreeMap::new();
        while let Some(key) = entries.next_key::<Document>()? {
            let key = match key.value {
                Value::String(key) => key,
                Value::Bool(_) | Value::Number(_) => key.value.to_string(),
                _ => {
                    entries.next_value::<Document>()?;
                    not_text = Some(KeyFault { path: String::new(), kind: FaultKind::NotText });
                    continue;
                }
            };
            let item = entries.next_value::<Document>()?;
            let mut of_key: Vec<KeyFault> =
                item.faults.into_iter().map(|fault| fault.below(&segment(&key))).collect();
            if values.insert(key.clone(), item.value).is_some() {
                of_key.push(KeyFault { path: segment(&key), kind: FaultKind::Repeated });
            }
            if !of_key.is_empty() {
                faults.insert(key, of_key);
            }
        }
        let faults = not_text.into_iter().chain(faults.into_values().flatten()).collect();
        Ok(Document { value: Value::Object(values), faults })
    }
}

/// A key as a path segment.
fn segment(key: &str) -> String {
    let is_plain =
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'));
    if is_plain { key.to_owned() } else { format!("[{key}]") }
}

fn prefixed(parent: &str, path: &str) -> String {
    if path.is_empty() || path.starts_with('[') {
        format!("{parent}{path}")
    } else {
        format!("{parent}.{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(text: &str, format: Format) -> Vec<Value> {
        parse(text, format).unwrap().into_iter().map(|document| document.value).collect()
    }

    fn paths(document: &Document, kind: FaultKind) -> Vec<String> {
        let faults = document.faults.iter().filter(|fault| fault.kind == kind);
        faults.map(|fault| fault.path.clone()).collect()
    }

    fn repeated(document: &Document) -> Vec<String> {
        paths(document, FaultKind::Repeated)
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
        // Repetitions inside the first `a` do not matter.
        assert_eq!(repeated(&document), ["a"]);
        assert_eq!(document.value, json!({"a": {"b": 4}}));
        let yaml = "a: 1\na: {x.y/z: 1, c: [0, {d: 1, d: 2, d: 3}], x.y/z: 3}\nab: {b: 1, b: 2}\nab.c: 1\n";
        let document = parse(yaml, Format::Yaml).unwrap().remove(0);
        assert_eq!(repeated(&document), ["a.c[1].d", "a[x.y/z]", "a", "ab.b"]);
        assert_eq!(document.value, json!({"a": {"x.y/z": 3, "c": [0, {"d": 3}]}, "ab": {"b": 2}, "ab.c": 1}));
        let document = parse("{\"a\": 1, \"a\": 2}", Format::Json).unwrap().remove(0);
        assert_eq!(repeated(&document), ["a"]);
        assert_eq!(document.value, json!({"a": 2}));
    }

    #[test]
    fn equal_keys_need_not_be_written_alike() {
        let yaml = "a: 1\n'a': 2\n\"\\x61\": 3\ntrue: 4\n\"true\": 5\n";
        let document = parse(yaml, Format::Yaml).unwrap().remove(0);
        assert_eq!(
            (&document.value, repeated(&document)),
            (&json!({"a": 3, "true": 5}), vec!["a".to_owned(), "true".to_owned()])
        );
    }

    #[test]
    fn a_key_that_is_no_text_takes_nothing_with_it() {
        let yaml =
            "~: 1\na: [{? [x, y] : 1, b: 2}, {c: {{ .Values.c }}}]\nx.y/z: {null: 1, ~: 2, d: 3, d: 4}\n";
        let document = parse(yaml, Format::Yaml).unwrap().remove(0);
        assert_eq!(paths(&document, FaultKind::NotText), ["", "a[0]", "a[1].c", "[x.y/z]"]);
        assert_eq!(repeated(&document), ["[x.y/z].d"]);
        assert_eq!(document.value, json!({"a": [{"b": 2}, {"c": {}}], "x.y/z": {"d": 4}}));
    }

    #[test]
    fn merged_keys_are_overruled_and_not_repeated() {
        let yaml = "a: &a {x: 1, x: 2, y: 1}\nb: {x: 3, <<: *a}\nc: {<<: *a, y: 3, y: 4}\n";
        let document = parse(yaml, Format::Yaml).unwrap().remove(0);
        assert_eq!(repeated(&document), ["a.x", "c.y"]);
        assert_eq!(
            document.value,
            json!({"a": {"x": 2, "y": 1}, "b": {"x": 3, "y": 1}, "c": {"x": 2, "y": 4}})
        );
    }

    fn each(text: &str, format: Format) -> (Vec<Value>, Vec<String>) {
        let (documents, broken) = parse_each(text, format);
        (
            documents.into_iter().map(|document| document.value).collect(),
            broken.iter().map(SyntaxError::to_string).collect(),
        )
    }

    #[test]
    fn a_broken_document_leaves_the_others() {
        let yaml = "a: 1\n--- # two\nb: [\n---\nc: |\n  ---\n  x\n---\r\nd: [}\n---\ne: \"\n---\nf: 1";
        let (values, broken) = each(yaml, Format::Yaml);
        assert_eq!(values, [json!({"a": 1}), json!({"c": "---\nx\n"}), json!({"f": 1})]);
        assert_eq!(broken.len(), 3);
        for (error, line) in broken.iter().zip(["line 3", "line 9", "line 11"]) {
            assert!(error.contains(line), "{error}");
        }
        let (values, broken) = each("{\"a\": 1} {\"b\": } {\"c\": 1}", Format::Json);
        assert_eq!((values, broken.len()), (vec![json!({"a": 1})], 1));
        assert_eq!(each("null {\"a\": 1}", Format::Json), (vec![json!({"a": 1})], vec![]));
    }

    #[test]
    fn many_broken_documents_are_given_up() {
        let text = "a: [\n---\n".repeat(MAX_BROKEN) + "b: 1\n";
        let (values, broken) = each(&text, Format::Yaml);
        assert_eq!((values.len(), broken.len()), (1, MAX_BROKEN), "the last document is still read");
        let text = "a: [\n---\n".repeat(2 * MAX_BROKEN) + "b: 1\n";
        let (values, broken) = each(&text, Format::Yaml);
        assert_eq!((values.len(), broken.len()), (0, MAX_BROKEN + 1));
        assert!(broken[MAX_BROKEN].contains("not read"), "{broken:?}");
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
