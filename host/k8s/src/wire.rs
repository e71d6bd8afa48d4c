//! Converts plain values into typed ones. Every field of a wrong type is reported, not only the first.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use crate::problem::{Problems, abridged};

/// Whether every known field had the right type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Every field had the right type.
    Whole,
    /// Some fields had a wrong type; they are treated as absent, with a problem for each.
    Partial,
}

/// Decodes a value. Unknown fields are ignored; a null is treated as in the API server.
///
/// Serde stops at the first wrong type, so that field is removed and decoding repeated until nothing is wrong.
pub(crate) fn decode<T: DeserializeOwned + Default>(value: &Value, problems: &mut Problems) -> (T, Fit) {
    let mut value = without_nulls(value);
    let mut fit = Fit::Whole;
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(typed) => return (typed, fit),
            Err(error) => error,
        };
        fit = Fit::Partial;
        let field = Some(error.path().to_string()).filter(|path| path != ".").unwrap_or_default();
        let taken = take(&mut value, error.path());
        problems.note(field, taken.as_ref().map(abridged).unwrap_or_default(), error.inner().to_string());
        if taken.is_none() {
            return (T::default(), fit);
        }
    }
}

/// The fields with arbitrary keys and text values (`map[string]string`).
const TEXT_MAPS: [&str; 2] = ["labels", "annotations"];

/// A copy as the API server stores it: null fields are absent, and null values in a [`TEXT_MAPS`] are empty. List
/// items stay, so that indices remain valid.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(key, value)| {
                let value = match value {
                    Value::Object(texts) if TEXT_MAPS.contains(&key.as_str()) => empty_for_null(texts),
                    value => without_nulls(value),
                };
                (key.clone(), value)
            })
            .collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        scalar => scalar.clone(),
    }
}

fn empty_for_null(texts: &Map<String, Value>) -> Value {
    let text = |value: &Value| if value.is_null() { Value::from("") } else { value.clone() };
    texts.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// Removes the value at `path`, leaving a null in lists; `None` if there is nothing left to remove.
fn take(value: &mut Value, path: &Path) -> Option<Value> {
    let mut place = value;
    let mut segments = path.iter().peekable();
    while let Some(segment) = segments.next() {
        match (place, segment) {
            (Value::Object(fields), Segment::Map { key }) if segments.peek().is_none() => {
                return fields.remove(key);
            }
            (Value::Object(fields), Segment::Map { key }) => place = fields.get_mut(key)?,
            (Value::Array(items), Segment::Seq { index }) => place = items.get_mut(*index)?,
            _ => return None,
        }
        if segments.peek().is_none() {
            return Some(place.take()).filter(|taken| !taken.is_null());
        }
    }
    None
}

/// For `deserialize_with`: a list in which null items are empty ones, as in the API server's decoder.
pub(crate) fn items<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    let items = Vec::<Option<T>>::deserialize(deserializer)?;
    Ok(items.into_iter().map(Option::unwrap_or_default).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Example {
        number: i64,
        #[serde(deserialize_with = "items")]
        names: Vec<String>,
        labels: BTreeMap<String, String>,
        inner: Inner,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        flag: bool,
        text: Option<String>,
    }

    fn paths(value: Value) -> (Example, Fit, Vec<String>) {
        let mut problems = Problems::of("Example");
        let (typed, fit) = decode(&value, &mut problems);
        (typed, fit, problems.into_vec().into_iter().map(|p| p.field).collect())
    }

    #[test]
    fn every_wrong_type_is_named() {
        let (typed, fit, paths) = paths(json!({
            "number": "1", "names": [1, "b", {"x": 1}, "d"], "inner": {"flag": "yes", "text": []}, "other": 1,
        }));
        assert_eq!(paths, ["inner.flag", "inner.text", "names[0]", "names[2]", "number"]);
        assert_eq!(fit, Fit::Partial);
        assert_eq!(typed.names, ["", "b", "", "d"]);
    }

    #[test]
    fn nulls_are_absent() {
        let (typed, fit, paths) =
            paths(json!({"number": null, "names": [null, "b"], "inner": {"flag": null, "text": null}}));
        assert_eq!((fit, paths.len()), (Fit::Whole, 0));
        assert_eq!(typed, Example { names: vec![String::new(), "b".to_owned()], ..Example::default() });
        assert_eq!(super::tests::paths(json!({"names": null})).1, Fit::Whole);
    }

    #[test]
    fn a_label_that_is_null_is_there_and_empty() {
        let (typed, fit, _) = paths(json!({"labels": {"a": null, "b": "c"}}));
        assert_eq!((fit, typed.labels["a"].as_str(), typed.labels["b"].as_str()), (Fit::Whole, "", "c"));
        assert_eq!(paths(json!({"labels": null})), (Example::default(), Fit::Whole, vec![]));
        let wrong = paths(json!({"labels": {"a": null, "b": {"c": null}, "d": 1}}));
        assert_eq!(wrong.2, ["labels.b", "labels.d"]);
    }

    #[test]
    fn what_is_no_object_at_all_is_one_problem() {
        for value in [json!(1), json!("x"), json!(true)] {
            let (typed, fit, paths) = paths(value);
            assert_eq!((typed, fit, paths), (Example::default(), Fit::Partial, vec![String::new()]));
        }
    }

    #[test]
    fn long_values_are_cut() {
        let mut problems = Problems::of("Example");
        decode::<Example>(&json!({"number": "ä".repeat(100)}), &mut problems);
        assert_eq!(problems.into_vec()[0].value, format!("{}…", "ä".repeat(60)));
    }
}
