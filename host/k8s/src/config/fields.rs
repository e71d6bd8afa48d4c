//! Fields of nested maps, by their path: `ipvs.scheduler`.

use serde_json::{Map, Value};

/// The value at a path, unless it is null.
pub(super) fn get<'v>(values: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    let mut parts = path.split('.');
    let first = values.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part)).filter(|value| !value.is_null())
}

/// The text at a path; empty if it is missing.
pub(super) fn text<'v>(values: &'v Map<String, Value>, path: &str) -> &'v str {
    get(values, path).and_then(Value::as_str).unwrap_or_default()
}

/// Sets the value at a path, creating sections as necessary.
pub fn set(values: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            values.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let section = values.entry(section).or_insert_with(|| Value::Object(Map::new()));
            if !section.is_object() {
                *section = Value::Object(Map::new());
            }
            if let Value::Object(section) = section {
                set(section, rest, value);
            }
        }
    }
}

/// Removes the value at a path.
pub(super) fn remove(values: &mut Map<String, Value>, path: &str) {
    match path.split_once('.') {
        None => {
            values.remove(path);
        }
        Some((section, rest)) => {
            if let Some(Value::Object(section)) = values.get_mut(section) {
                remove(section, rest);
            }
        }
    }
}

/// Overrides these values with others. Lists of log modules are joined, the new ones first, as in kube-proxy.
pub(super) fn overlay(values: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, new) in over {
        match (values.get_mut(&key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => overlay(old, new),
            (Some(Value::Array(old)), Value::Array(mut new)) if key == "vmodule" => {
                new.append(old);
                *old = new;
            }
            (_, new) => {
                values.insert(key, new);
            }
        }
    }
}
