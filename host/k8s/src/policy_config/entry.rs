//! The entries of single plugins.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    FailurePolicy, Interface, Limits, Mode, PluginConfiguration, PluginEntry, Selector, only, texts,
};
use crate::config::parse_duration;
use crate::objects::quantity;
use crate::problem::{Problem, Problems};

const FIELDS: &[&str] =
    &["name", "source", "sha256", "interfaces", "select", "configuration", "failurePolicy", "mode", "limits"];

const MEMORY: RangeInclusive<u64> = 1 << 20..=64 << 20;
const CALL_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(5);
const LONGEST_BUDGET: Duration = Duration::from_secs(10);

/// Reads all entries.
pub(super) fn entries(values: &[Value], folder: &Path) -> Vec<PluginEntry> {
    let mut names = BTreeSet::new();
    let mut entries = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let named = value.get("name").and_then(Value::as_str).filter(|name| is_name(name));
        let name = named.map_or_else(|| format!("plugins[{i}]"), str::to_owned);
        let mut reader = Reader { problems: Problems::of(format!("plugin {name}")), folder };
        let read = reader.entry(value);
        if named.is_some() && !names.insert(name.clone()) {
            reader.problems.note(
                "name",
                &name,
                "is the name of an earlier plugin too; give this one another",
            );
        }
        let problems = reader.problems.into_vec();
        let plugin = match read {
            Some(plugin) if problems.is_empty() => Ok(plugin),
            _ => Err(problems),
        };
        entries.push(PluginEntry { name, plugin });
    }
    entries
}

fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| inner(b) || b == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

struct Reader<'a> {
    problems: Problems,
    folder: &'a Path,
}

impl Reader<'_> {
    fn entry(&mut self, value: &Value) -> Option<PluginConfiguration> {
        let Value::Object(fields) = value else {
            self.problems.note("", value, "must be an object with at least name and source");
            return None;
        };
        only(fields, "", FIELDS, &mut self.problems);
        let name = fields.get("name").and_then(Value::as_str).filter(|name| is_name(name));
        if name.is_none() {
            let found = fields.get("name").map(Value::to_string).unwrap_or_default();
            self.problems.note("name", found, "must be 1 to 63 of a-z, 0-9 and -, as a name in Kubernetes");
        }
        let source = self.source(fields.get("source"));
        Some(PluginConfiguration {
            sha256: self.text(fields, "sha256").and_then(|text| match text.parse() {
                Ok(digest) => Some(digest),
                Err(error) => {
                    self.problems.note("sha256", text, format!("is {error}"));
                    None
                }
            }),
            interfaces: self.interfaces(fields.get("interfaces")),
            select: self.select(fields.get("select")),
            configuration: fields.get("configuration").cloned().unwrap_or(Value::Null),
            failure_policy: self.one_of(
                fields,
                "failurePolicy",
                &[
                    ("LastGood", FailurePolicy::LastGood),
                    ("Default", FailurePolicy::Default),
                    ("SkipService", FailurePolicy::SkipService),
                ],
            ),
            mode: self.one_of(fields, "mode", &[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)]),
            limits: self.limits(fields.get("limits")),
            name: name?.to_owned(),
            source: source?,
        })
    }

    fn source(&mut self, value: Option<&Value>) -> Option<PathBuf> {
        let Some(text) = value.and_then(Value::as_str).filter(|text| !text.is_empty()) else {
            let found = value.map(Value::to_string).unwrap_or_default();
            self.problems.note("source", found, "must name the component's file");
            return None;
        };
        let path = match text.split_once("://") {
            None => text,
            Some(("file", path)) if path.starts_with('/') => path,
            Some((scheme, _)) => {
                let message = format!(
                    "`{scheme}://` cannot be fetched by this version of weir: put the component into a file, \
                     and name that by its path or as file:///PATH"
                );
                self.problems.note("source", text, message);
                return None;
            }
        };
        Some(self.folder.join(path))
    }

    fn text<'v>(&mut self, fields: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
        match fields.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                self.problems.note(key, other, "must be a text");
                None
            }
        }
    }

    fn one_of<T: Copy + Default>(
        &mut self,
        fields: &Map<String, Value>,
        key: &str,
        values: &[(&str, T)],
    ) -> T {
        let Some(text) = self.text(fields, key) else { return T::default() };
        match values.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => *value,
            None => {
                let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
                self.problems.note(key, text, format!("must be one of {}", names.join(", ")));
                T::default()
            }
        }
    }

    fn interfaces(&mut self, value: Option<&Value>) -> Option<BTreeSet<Interface>> {
        let value = value.filter(|value| !value.is_null())?;
        let names = texts(value, "interfaces", &mut self.problems);
        let mut interfaces = BTreeSet::new();
        for name in &names {
            match Interface::ALL.into_iter().find(|interface| interface.to_string() == *name) {
                Some(interface) => {
                    interfaces.insert(interface);
                }
                None => self.problems.note("interfaces", name, "must be filter, scheduler or masquerade"),
            }
        }
        if names.is_empty() {
            self.problems.note(
                "interfaces",
                "",
                "must name one; leave it out to use all, or the entry to use none",
            );
        }
        Some(interfaces)
    }

    fn select(&mut self, value: Option<&Value>) -> Selector {
        let mut selector = Selector::default();
        let fields = match value {
            None | Some(Value::Null) => return selector,
            Some(Value::Object(fields)) => fields,
            Some(other) => {
                self.problems.note("select", other, "must be an object with namespaces or labels");
                return selector;
            }
        };
        only(fields, "select.", &["namespaces", "labels"], &mut self.problems);
        if let Some(value) = fields.get("namespaces") {
            selector.namespaces = texts(value, "select.namespaces", &mut self.problems);
            if selector.namespaces.is_empty() {
                self.problems.note("select.namespaces", "", "must name one; leave it out for all");
            }
        }
        match fields.get("labels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(labels)) => {
                for (key, value) in labels {
                    match value {
                        Value::String(text) => {
                            selector.labels.insert(key.clone(), text.clone());
                        }
                        other => self.problems.note(format!("select.labels.{key}"), other, "must be a text"),
                    }
                }
            }
            Some(other) => self.problems.note("select.labels", other, "must be an object"),
        }
        selector
    }

    fn limits(&mut self, value: Option<&Value>) -> Limits {
        let mut limits = Limits::default();
        let fields = match value {
            None | Some(Value::Null) => return limits,
            Some(Value::Object(fields)) => fields,
            Some(other) => {
                self.problems.note(
                    "limits",
                    other,
                    "must be an object with memory, callTimeout or syncBudget",
                );
                return limits;
            }
        };
        only(fields, "limits.", &["memory", "callTimeout", "syncBudget"], &mut self.problems);
        if let Some(value) = fields.get("memory") {
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match quantity::bytes(&written).filter(|bytes| MEMORY.contains(bytes)) {
                Some(bytes) => limits.memory_bytes = bytes,
                None => self.problems.note("limits.memory", written, "must be from 1Mi to 64Mi"),
            }
        }
        if let Some(time) = self.duration(fields, "callTimeout", &CALL_TIMEOUT, "1ms to 5s") {
            limits.call_timeout = time;
            limits.sync_budget = limits.sync_budget.max(time);
        }
        let budgets = limits.call_timeout..=LONGEST_BUDGET;
        if let Some(time) = self.duration(fields, "syncBudget", &budgets, "callTimeout to 10s") {
            limits.sync_budget = time;
        }
        limits
    }

    fn duration(
        &mut self,
        fields: &Map<String, Value>,
        key: &str,
        allowed: &RangeInclusive<Duration>,
        words: &str,
    ) -> Option<Duration> {
        let value = fields.get(key)?;
        let time = value.as_str().and_then(parse_duration).filter(|time| allowed.contains(time));
        if time.is_none() {
            let message = format!("must be a duration of {words}, as `100ms`");
            self.problems.note(format!("limits.{key}"), value, message);
        }
        time
    }
}

/// The problems of an entry as one sentence.
impl super::PluginEntry {
    /// Why the entry cannot be used, if it cannot.
    pub fn refusal(&self) -> Option<String> {
        let problems: &Vec<Problem> = self.plugin.as_ref().err()?;
        Some(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }
}
