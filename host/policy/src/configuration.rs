//! The file that lists plugins: `PolicyConfiguration`, `policy.weir/v1alpha1`.
//!
//! A mistake in one plugin's entry rejects only that entry; a mistake outside the entries rejects the file. An
//! unknown or duplicate key is a mistake: a misspelt `failurePolicy` must not silently become the default. A null
//! counts as an absent field.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};
use weir_core::objects::Service;
use weir_core::text::printable;
use weir_k8s::{
    FaultKind, FileError, Format, KeyFault, Problem, Problems, abridged, nearest, parse_documents,
    read_regular,
};
use weir_plugin_views::glob;

mod entry;

/// The supported version of the file.
const API_VERSION: &str = "policy.weir/v1alpha1";
/// The maximum file size, in bytes.
const LARGEST: u64 = 16 << 20;
/// The kind of the file.
const KIND: &str = "PolicyConfiguration";

/// A parsed file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyConfiguration {
    /// The plugins in the order in which they are called.
    pub plugins: Vec<PluginEntry>,
    /// How many decisions a new version of a plugin may change at once.
    pub max_change: MaxChange,
    /// Digests of components whose large change is confirmed.
    pub confirmed: Vec<Digest>,
}

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginEntry {
    /// Its name; if it has no usable name, its position, such as `plugins[2]`.
    pub name: String,
    /// The entry, or everything that is wrong with it.
    pub plugin: Result<PluginConfiguration, Vec<Problem>>,
}

/// How one plugin is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfiguration {
    /// Its name, unique in the file.
    pub name: String,
    /// The component's file; a relative path has been joined with the configuration's folder.
    pub source: PathBuf,
    /// The required digest of the component, if any.
    pub sha256: Option<Digest>,
    /// The interfaces through which it is called; `None` = all interfaces that it exports.
    pub interfaces: Option<BTreeSet<Interface>>,
    /// The services for which it is called.
    pub select: Selector,
    /// Its own configuration, which only the plugin interprets.
    pub configuration: Value,
    /// What is used when the plugin gives no answer.
    pub failure_policy: FailurePolicy,
    /// Whether the plugin decides.
    pub mode: Mode,
    /// Its resource limits.
    pub limits: Limits,
}

/// An interface of the plugin contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// Decides which services, VIPs and endpoints are used.
    Filter,
    /// Decides how connections are spread.
    Scheduler,
    /// Decides which source addresses are replaced.
    Masquerade,
}

impl Interface {
    /// All interfaces, in the order in which a service passes them.
    pub const ALL: [Interface; 3] = [Interface::Filter, Interface::Scheduler, Interface::Masquerade];

    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Filter => "filter",
            Interface::Scheduler => "scheduler",
            Interface::Masquerade => "masquerade",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which services a plugin is called for: all, or those that match every given field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Names of namespaces, in which `*` matches any text; empty = all.
    pub namespaces: Vec<String>,
    /// Labels that the service must have with these values; empty = all.
    pub labels: BTreeMap<String, String>,
}

impl Selector {
    /// Whether a plugin is called for the service.
    pub fn selects(&self, service: &Service) -> bool {
        let namespace = &service.name.namespace;
        (self.namespaces.is_empty() || glob::matches_any(&self.namespaces, namespace))
            && self.labels.iter().all(|(key, value)| service.labels.get(key) == Some(value))
    }
}

/// What is used when a plugin gives no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Its last good answer about the service, if there is one.
    #[default]
    LastGood,
    /// Nothing, as if the plugin were not there.
    Default,
    /// The service is ignored on this node.
    SkipService,
}

/// Whether a plugin decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It is called, but the changes that it would cause are only reported.
    Shadow,
}

/// A plugin's resource limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of an instance in bytes, the sum of all its memories.
    pub memory_bytes: u64,
    /// Time for one call of up to 256 services.
    pub call_timeout: Duration,
    /// Time for all calls through one interface in one round.
    pub sync_budget: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 16 << 20,
            call_timeout: Duration::from_millis(100),
            sync_budget: Duration::from_millis(500),
        }
    }
}

/// How many decisions a new version of a plugin may change at once. A change is too large if it exceeds both
/// limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxChange {
    /// Percent of all services.
    pub percent: u32,
    /// Services.
    pub services: u32,
}

impl Default for MaxChange {
    fn default() -> MaxChange {
        MaxChange { percent: 20, services: 50 }
    }
}

impl MaxChange {
    /// Whether a change to `changed` of `all` services is too large.
    pub fn is_exceeded(self, changed: usize, all: usize) -> bool {
        changed > self.services as usize && changed * 100 > all * self.percent as usize
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A malformed digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest (64 hexadecimal digits, with or without `sha256:` before them)")]
pub struct BadDigest;

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Digest, BadDigest> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadDigest);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadDigest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadDigest)?;
        }
        Ok(Digest(bytes))
    }
}

/// Why a file cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum PolicyConfigError {
    /// It cannot be read.
    #[error("cannot be read")]
    Read {
        /// Why.
        #[source]
        source: FileError,
    },
    /// It is a component or a core module.
    #[error(
        "is a WebAssembly file; create a {KIND} file that names it as `source` of a plugin, and use that file"
    )]
    WebAssembly,
    /// It is not text.
    #[error("is not text, so it cannot be YAML or JSON")]
    Binary,
    /// It is not YAML or JSON.
    #[error("not valid YAML or JSON: {0}")]
    Syntax(String),
    /// It contains no document, or more than one.
    #[error("contains {0} documents; expected one {KIND}")]
    Documents(usize),
    /// Something outside the plugins' entries is wrong.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Reads a file.
///
/// # Errors
/// If the file as a whole cannot be used. Problems of single plugins are in their entries.
pub fn load(path: &Path) -> Result<PolicyConfiguration, PolicyConfigError> {
    let bytes = read_regular(path, LARGEST).map_err(|source| PolicyConfigError::Read { source })?;
    if bytes.starts_with(b"\0asm") {
        return Err(PolicyConfigError::WebAssembly);
    }
    let text = String::from_utf8(bytes).map_err(|_| PolicyConfigError::Binary)?;
    parse(&text, path.parent().unwrap_or(Path::new("")))
}

/// Parses the text of a file located in `folder`; see [`load`].
pub fn parse(text: &str, folder: &Path) -> Result<PolicyConfiguration, PolicyConfigError> {
    let format = if text.trim_start().starts_with('{') { Format::Json } else { Format::Yaml };
    let mut documents = parse_documents(text, format)
        .map_err(|error| PolicyConfigError::Syntax(printable(&error.to_string()).into_owned()))?;
    documents.retain(|document| !document.value.is_null());
    let count = documents.len();
    let (Some(document), 1) = (documents.pop(), count) else {
        return Err(PolicyConfigError::Documents(count));
    };
    let mut problems = Problems::default();
    let mut of_entries = BTreeMap::new();
    for KeyFault { path: key, kind } in &document.faults {
        if *kind == FaultKind::NotText {
            problems.note(key, "", "a key must be a string");
            continue;
        }
        match entry::split(key) {
            Some((index, field)) => of_entries.entry(index).or_insert_with(Vec::new).push(field),
            None => repeated(key, &mut problems),
        }
    }
    let configuration = file(&document.value, &of_entries, folder, &mut problems);
    let problems = problems.into_vec();
    if problems.is_empty() { Ok(configuration) } else { Err(PolicyConfigError::Invalid(problems)) }
}

/// Duplicate keys, by the index of the entry.
type Repeated<'a> = BTreeMap<usize, Vec<&'a str>>;

fn repeated(key: &str, problems: &mut Problems) {
    problems.note(key, "", "appears more than once; remove the duplicates");
}

/// A field that is present and not null.
fn field<'v>(fields: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    fields.get(key).filter(|value| !value.is_null())
}

fn file(
    value: &Value,
    of_entries: &Repeated<'_>,
    folder: &Path,
    problems: &mut Problems,
) -> PolicyConfiguration {
    let mut configuration = PolicyConfiguration::default();
    let Value::Object(fields) = value else {
        problems.note("", abridged(value), "must be an object with apiVersion, kind and plugins");
        return configuration;
    };
    only(fields, "", &["apiVersion", "kind", "maxChange", "confirmed", "plugins"], problems);
    for (key, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        if fields.get(key).and_then(Value::as_str) != Some(wanted) {
            let found = fields.get(key).map(abridged).unwrap_or_default();
            problems.note(key, found, format!("must be `{wanted}`"));
        }
    }
    if let Some(value) = field(fields, "maxChange") {
        configuration.max_change = max_change(value, problems);
    }
    if let Some(value) = field(fields, "confirmed") {
        for (i, text) in texts(value, "confirmed", problems).into_iter().enumerate() {
            match text.parse() {
                Ok(digest) => configuration.confirmed.push(digest),
                Err(error) => problems.note(format!("confirmed[{i}]"), text, format!("is {error}")),
            }
        }
    }
    match field(fields, "plugins") {
        None => {}
        Some(Value::Array(entries)) => configuration.plugins = entry::entries(entries, of_entries, folder),
        Some(other) => problems.note("plugins", abridged(other), "must be a list"),
    }
    configuration
}

fn max_change(value: &Value, problems: &mut Problems) -> MaxChange {
    let mut max_change = MaxChange::default();
    let Value::Object(fields) = value else {
        problems.note("maxChange", abridged(value), "must be an object with percent and services");
        return max_change;
    };
    only(fields, "maxChange.", &["percent", "services"], problems);
    let places =
        [("percent", &mut max_change.percent, 100), ("services", &mut max_change.services, u32::MAX)];
    for (key, place, most) in places {
        let Some(value) = field(fields, key) else { continue };
        match value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= most) {
            Some(number) => *place = number,
            None => problems.note(
                format!("maxChange.{key}"),
                abridged(value),
                format!("must be a whole number from 0 to {most}"),
            ),
        }
    }
    max_change
}

/// Reports every unknown key, with the key that was probably meant.
fn only(fields: &Map<String, Value>, path: &str, known: &[&str], problems: &mut Problems) {
    for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
        let hint = match nearest(key, known.iter().copied()) {
            Some(name) => format!("; did you mean `{name}`?"),
            None => format!("; known keys: {}", known.join(", ")),
        };
        problems.note(format!("{path}{key}"), "", format!("is unknown{hint}"));
    }
}

fn texts(value: &Value, path: &str, problems: &mut Problems) -> Vec<String> {
    let Value::Array(items) = value else {
        problems.note(path, abridged(value), "must be a list of strings");
        return Vec::new();
    };
    let mut texts = Vec::new();
    for (i, item) in items.iter().enumerate() {
        match item {
            Value::String(text) => texts.push(text.clone()),
            other => problems.note(format!("{path}[{i}]"), abridged(other), "must be a string"),
        }
    }
    texts
}

#[cfg(test)]
mod tests;
