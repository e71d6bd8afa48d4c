//! The entries of single plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use weir_k8s::config::parse_duration;
use weir_k8s::{Problem, Problems, abridged, parse_bytes};

use super::{
    FailurePolicy, Interface, Limits, Mode, PluginConfiguration, PluginEntry, Repeated, Selector, field,
    only, repeated, texts,
};

/// The keys of an entry.
pub(super) const FIELDS: &[&str] =
    &["name", "source", "sha256", "interfaces", "select", "configuration", "failurePolicy", "mode", "limits"];

const MEMORY: RangeInclusive<u64> = 1 << 20..=64 << 20;
const CALL_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(5);
const LONGEST_BUDGET: Duration = Duration::from_secs(10);

/// Splits a path such as `plugins[2].limits.memory` into the entry's index and the rest.
pub(super) fn split(path: &str) -> Option<(usize, &str)> {
    let (index, field) = path.strip_prefix("plugins[")?.split_once("].")?;
    Some((index.parse().ok()?, field))
}

/// Reads all entries.
pub(super) fn entries(values: &[Value], twice: &Repeated<'_>, folder: &Path) -> Vec<PluginEntry> {
    // Where each name first occurs.
    let mut names = BTreeMap::new();
    let mut entries = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let named = value.get("name").and_then(Value::as_str).filter(|name| is_name(name));
        let first = named.map(|name| *names.entry(name).or_insert(i)).filter(|first| *first != i);
        // Two entries with the same name are told apart by their positions.
        let name = match (named, first) {
            (Some(name), None) => name.to_owned(),
            _ => format!("plugins[{i}]"),
        };
        let mut reader = Reader { problems: Problems::default(), folder };
        for key in twice.get(&i).into_iter().flatten() {
            repeated(key, &mut reader.problems);
        }
        let read = reader.entry(value);
        if let (Some(name), Some(first)) = (named, first) {
            let message = format!("is also the name of plugins[{first}]; rename one of them");
            reader.problems.note("name", name, message);
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

/// Whether a namespace name can match this pattern, whatever `*` stands for.
fn is_pattern(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'*';
    !text.is_empty() && text.bytes().all(allowed)
}

struct Reader<'a> {
    problems: Problems,
    folder: &'a Path,
}

impl Reader<'_> {
    fn entry(&mut self, value: &Value) -> Option<PluginConfiguration> {
        let Value::Object(fields) = value else {
            self.problems.note("", abridged(value), "must be an object with at least name and source");
            return None;
        };
        only(fields, "", FIELDS, &mut self.problems);
        let name = fields.get("name").and_then(Value::as_str).filter(|name| is_name(name));
        if name.is_none() {
            let found = fields.get("name").map(abridged).unwrap_or_default();
            self.problems.note(
                "name",
                found,
                "must consist of 1 to 63 characters a-z, 0-9 and -, like a Kubernetes name",
            );
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
            interfaces: self.interfaces(field(fields, "interfaces")),
            select: self.select(field(fields, "select")),
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
            limits: self.limits(field(fields, "limits")),
            name: name?.to_owned(),
            source: source?,
        })
    }

    fn source(&mut self, value: Option<&Value>) -> Option<PathBuf> {
        let Some(text) = value.and_then(Value::as_str).filter(|text| !text.is_empty()) else {
            let found = value.map(abridged).unwrap_or_default();
            self.problems.note("source", found, "must be the path of the component's file");
            return None;
        };
        let path = match text.split_once("://") {
            None => text,
            Some(("file", path)) if path.starts_with('/') => path,
            Some(("file", _)) => {
                let message = "needs a third slash: file:///PATH, with the absolute path";
                self.problems.note("source", text, message);
                return None;
            }
            Some((scheme, _)) => {
                let message = format!(
                    "this version of weir cannot fetch `{scheme}://` sources; put the component into a file, \
                     and give the file's path or file:///PATH"
                );
                self.problems.note("source", text, message);
                return None;
            }
        };
        Some(self.folder.join(path))
    }

    fn text<'v>(&mut self, fields: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
        match field(fields, key) {
            None => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                self.problems.note(key, abridged(other), "must be a string");
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
        let value = value?;
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
        if value.as_array().is_some_and(Vec::is_empty) {
            self.problems.note(
                "interfaces",
                "",
                "must name at least one interface; omit the field to use all, or remove the plugin to use none",
            );
        }
        Some(interfaces)
    }

    fn select(&mut self, value: Option<&Value>) -> Selector {
        let mut selector = Selector::default();
        let fields = match value {
            None => return selector,
            Some(Value::Object(fields)) => fields,
            Some(other) => {
                self.problems.note("select", abridged(other), "must be an object with namespaces or labels");
                return selector;
            }
        };
        only(fields, "select.", &["namespaces", "labels"], &mut self.problems);
        if let Some(value) = field(fields, "namespaces") {
            selector.namespaces = texts(value, "select.namespaces", &mut self.problems);
            if value.as_array().is_some_and(Vec::is_empty) {
                self.problems.note(
                    "select.namespaces",
                    "",
                    "must name at least one namespace; omit the field to select all",
                );
            }
            for (i, pattern) in selector.namespaces.iter().enumerate().filter(|(_, text)| !is_pattern(text)) {
                let message =
                    "cannot match any namespace; use only a-z, 0-9, - and *, which matches any text";
                self.problems.note(format!("select.namespaces[{i}]"), pattern, message);
            }
        }
        match field(fields, "labels") {
            None => {}
            Some(Value::Object(labels)) => {
                for (key, value) in labels {
                    match value {
                        Value::String(text) => {
                            selector.labels.insert(key.clone(), text.clone());
                        }
                        other => self.problems.note(
                            format!("select.labels.{key}"),
                            abridged(other),
                            "must be a string",
                        ),
                    }
                }
            }
            Some(other) => self.problems.note("select.labels", abridged(other), "must be an object"),
        }
        selector
    }

    fn limits(&mut self, value: Option<&Value>) -> Limits {
        let mut limits = Limits::default();
        let fields = match value {
            None => return limits,
            Some(Value::Object(fields)) => fields,
            Some(other) => {
                self.problems.note(
                    "limits",
                    abridged(other),
                    "must be an object with memory, callTimeout or syncBudget",
                );
                return limits;
            }
        };
        only(fields, "limits.", &["memory", "callTimeout", "syncBudget"], &mut self.problems);
        if let Some(value) = field(fields, "memory") {
            let written = abridged(value);
            match parse_bytes(&written).filter(|bytes| MEMORY.contains(bytes)) {
                Some(bytes) => limits.memory_bytes = bytes,
                None => self.problems.note("limits.memory", written, "must be a size from 1Mi to 64Mi"),
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
        let value = field(fields, key)?;
        let time = value.as_str().and_then(parse_duration).filter(|time| allowed.contains(time));
        if time.is_none() {
            let message = format!("must be a duration from {words}, written like `100ms`");
            self.problems.note(format!("limits.{key}"), abridged(value), message);
        }
        time
    }
}

/// The problems of an entry, as one sentence.
impl super::PluginEntry {
    /// Why the entry cannot be used, without its name; `None` if it can.
    pub fn refusal(&self) -> Option<String> {
        let problems: &Vec<Problem> = self.plugin.as_ref().err()?;
        Some(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }
}
