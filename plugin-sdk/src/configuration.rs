//! Strict parsing of configurations: all mistakes are reported at once, and a misspelt key is a mistake.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::value::{FromText, Malformed};

/// Parses a configuration into a type; a missing configuration counts as an empty one.
///
/// Use `#[serde(deny_unknown_fields)]`, so that a misspelt key is not silently ignored. serde stops at the first
/// mistake; [`Fields`] finds all of them.
///
/// # Errors
/// Returns the mistake.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Vec<String>> {
    let text = if text.trim() == "null" { "{}" } else { text };
    serde_json::from_str(text).map_err(|error| vec![error.to_string()])
}

/// Accepts no configuration, for plugins without one.
///
/// # Errors
/// Fails if there is a configuration.
pub fn none(text: &str) -> Result<(), Vec<String>> {
    Fields::read(text, |_| ())
}

/// The fields of an object, to be read one by one.
///
/// ```
/// use std::time::Duration;
/// use weir_plugin_sdk::configuration::Fields;
///
/// let read = |text| {
///     Fields::read(text, |fields| {
///         let window: Option<Duration> = fields.text("window");
///         let percent: u8 = fields.get("percent").unwrap_or(10);
///         (window, percent)
///     })
/// };
/// assert_eq!(read(r#"{"window": "30s"}"#), Ok((Some(Duration::from_secs(30)), 10)));
/// let mistakes = read(r#"{"window": "soon", "percent": -1, "windows": 1}"#).unwrap_err();
/// assert_eq!(mistakes.len(), 3);
/// assert_eq!(mistakes[0], "window is `soon`: write a duration like `90s`, `5m` or `1h30m`");
/// ```
#[derive(Debug)]
pub struct Fields {
    /// A prefix such as `rules[2].`, for an object in a list.
    place: String,
    values: Map<String, Value>,
    known: Vec<String>,
    problems: Vec<String>,
}

impl Fields {
    /// Reads a configuration; a missing configuration counts as an empty one.
    ///
    /// # Errors
    /// Returns all mistakes, including fields that `take` did not read.
    pub fn read<T>(text: &str, take: impl FnOnce(&mut Fields) -> T) -> Result<T, Vec<String>> {
        let value = serde_json::from_str(text).map_err(|error| vec![format!("invalid JSON: {error}")])?;
        let values = match value {
            Value::Null => Map::new(),
            Value::Object(values) => values,
            other => return Err(vec![format!("the configuration must be an object, not {}", kind(&other))]),
        };
        let mut fields = Fields::new(String::new(), values);
        let taken = take(&mut fields);
        let problems = fields.finish();
        if problems.is_empty() { Ok(taken) } else { Err(problems) }
    }

    fn new(place: String, values: Map<String, Value>) -> Fields {
        Fields { place, values, known: Vec::new(), problems: Vec::new() }
    }

    fn finish(mut self) -> Vec<String> {
        let known = self.known.join(", ");
        for key in self.values.keys() {
            self.problems.push(match known.as_str() {
                "" => format!("{}{key} is an unknown field: remove it", self.place),
                known => format!("{}{key} is an unknown field: use one of {known}", self.place),
            });
        }
        self.problems
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.known.push(key.to_owned());
        self.values.remove(key).filter(|value| !value.is_null())
    }

    /// Records a mistake in a field.
    pub fn problem(&mut self, key: &str, what: impl std::fmt::Display) {
        self.problems.push(format!("{}{key} {what}", self.place));
    }

    /// Reads a field with serde; `None` if it is absent or invalid. An invalid value is recorded as a mistake.
    pub fn get<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.take(key)?;
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(key, format!("cannot be read: {error}"));
                None
            }
        }
    }

    /// Reads a field that people write as text: a duration, a network, a number; `None` if it is absent or invalid. An
    /// invalid value is recorded as a mistake.
    pub fn text<T: FromText>(&mut self, key: &str) -> Option<T> {
        let value = self.take(key)?;
        let read = self.read_text(key, &value);
        read.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Reads a list of values, each like [`text`](Fields::text); invalid values are recorded as mistakes and left out.
    pub fn texts<T: FromText>(&mut self, key: &str) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let Value::Array(items) = value else {
            self.problem(key, format!("must be a list, not {}", kind(&value)));
            return None;
        };
        let mut read = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match self.read_text(&format!("{key}[{index}]"), item) {
                Ok(item) => read.push(item),
                Err(problem) => self.problems.push(problem),
            }
        }
        Some(read)
    }

    fn read_text<T: FromText>(&self, key: &str, value: &Value) -> Result<T, String> {
        let place = format!("{}{key}", self.place);
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            other => return Err(format!("{place} must be text, not {}", kind(other))),
        };
        T::from_text(&text).map_err(|expected| Malformed { place, value: text, expected }.to_string())
    }

    /// Reads an object; `None` if it is absent. Its mistakes are recorded with its place.
    pub fn object<T>(&mut self, key: &str, take: impl FnOnce(&mut Fields) -> T) -> Option<T> {
        match self.take(key)? {
            Value::Object(values) => Some(self.inner(key, values, take)),
            other => {
                self.problem(key, format!("must be an object, not {}", kind(&other)));
                None
            }
        }
    }

    /// Reads a list of objects; an absent list is empty. Mistakes are recorded with their places.
    pub fn objects<T>(&mut self, key: &str, mut take: impl FnMut(&mut Fields) -> T) -> Vec<T> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(key, format!("must be a list, not {}", kind(&other)));
                return Vec::new();
            }
        };
        let mut taken = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let place = format!("{key}[{index}]");
            match item {
                Value::Object(values) => taken.push(self.inner(&place, values, &mut take)),
                other => self.problem(&place, format!("must be an object, not {}", kind(&other))),
            }
        }
        taken
    }

    fn inner<T>(
        &mut self,
        place: &str,
        values: Map<String, Value>,
        take: impl FnOnce(&mut Fields) -> T,
    ) -> T {
        let mut inner = Fields::new(format!("{}{place}.", self.place), values);
        let taken = take(&mut inner);
        self.problems.extend(inner.finish());
        taken
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_an_empty_object() {
        assert_eq!(Fields::read("null", |fields| fields.get::<u8>("a")), Ok(None));
        assert_eq!(Fields::read(r#"{"a": null}"#, |fields| fields.get::<u8>("a")), Ok(None));
        assert_eq!(none("{}"), Ok(()));
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let text = r#"{"a": "x", "rules": [{"net": "10.0.0.0/8"}, {"net": "10.0/8", "nett": 1}, 7], "nets": ["lan", "::1"],
                       "limits": {"most": true}, "b": {}}"#;
        let mistakes = Fields::read(text, |fields| {
            fields.get::<u8>("a");
            fields.objects("rules", |rule| rule.text::<ipnet::IpNet>("net"));
            assert_eq!(fields.texts::<std::net::IpAddr>("nets").map(|nets| nets.len()), Some(1));
            fields.object("limits", |limits| limits.text::<u8>("most"));
            fields.text::<String>("b");
        });
        let expected = [
            "a cannot be read: invalid type: string \"x\", expected u8",
            "rules[1].net is `10.0/8`: write a network like `10.0.0.0/8` or `fd00::/64`",
            "rules[1].nett is an unknown field: use one of net",
            "rules[2] must be an object, not a number",
            "nets[0] is `lan`: write an address like `192.0.2.1` or `fd00::1`",
            "limits.most is `true`: write a whole number from 0 to 255",
            "b must be text, not an object",
        ];
        assert_eq!(mistakes.unwrap_err(), expected);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for (text, complaint) in
            [("[]", "a list"), ("\"x\"", "a string"), ("{", "invalid JSON"), ("", "invalid JSON")]
        {
            let mistakes = none(text).unwrap_err();
            assert!(mistakes[0].contains(complaint), "{text}: {mistakes:?}");
        }
        assert_eq!(none(r#"{"a": 1}"#).unwrap_err(), ["a is an unknown field: remove it"]);
        assert_eq!(parse::<Vec<u8>>("[1]"), Ok(vec![1]));
        assert!(parse::<u8>("null").is_err());
    }
}
