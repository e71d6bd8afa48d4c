//! Decides which notes become Kubernetes Events and which are only counted. Times are arguments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::rate::Bucket;

use super::{Limits, Note, Regarding, Severity};

/// `pkg/apis/core/validation/events.go`, `NoteLengthLimit`.
const LONGEST_NOTE: usize = 1024;
/// `pkg/apis/core/validation/events.go`, `ReportingInstanceLengthLimit`, `ReasonLengthLimit`, `ActionLengthLimit`.
const LONGEST_WORD: usize = 128;
/// The most series, and objects with a rate, that are remembered. Further notes are dropped until some are forgotten.
const MEMORY: usize = 4096;

/// A write to the API server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Post {
    /// The Event's namespace.
    pub(super) namespace: String,
    /// The Event's name.
    pub(super) name: String,
    /// Whether the Event exists, so that only its count changes.
    pub(super) repeats: bool,
    /// The Event, or the changed fields.
    pub(super) body: Value,
    key: Note,
}

/// The outcome of a note.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    /// Written now.
    Now(Box<Post>),
    /// Counted; the count is written later.
    Later,
    /// Dropped: too many.
    Never,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    count: u32,
    written: u32,
    seen: Instant,
    seen_at: SystemTime,
    written_at: Instant,
}

/// Recent posts.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: Limits,
    node: String,
    overall: Bucket,
    objects: BTreeMap<Regarding, Bucket>,
    series: BTreeMap<Note, Series>,
    last_nanos: u128,
}

impl Ledger {
    /// An empty ledger; `node` is the name of this node.
    pub(super) fn new(limits: Limits, node: &str, now: Instant) -> Ledger {
        Ledger {
            limits,
            node: node.to_owned(),
            overall: Bucket::full(limits.overall, now),
            objects: BTreeMap::new(),
            series: BTreeMap::new(),
            last_nanos: 0,
        }
    }

    /// Processes a note. `at` is the wall-clock time.
    pub(super) fn note(&mut self, note: Note, now: Instant, at: SystemTime) -> Write {
        let key = Note {
            reason: cut(&note.reason, LONGEST_WORD).to_owned(),
            action: cut(&note.action, LONGEST_WORD).to_owned(),
            text: cut(&note.text, LONGEST_NOTE).to_owned(),
            ..note
        };
        let window = self.limits.window;
        let lives = |series: &&mut Series| now.saturating_duration_since(series.seen) < window;
        if let Some(series) = self.series.get_mut(&key).filter(lives) {
            series.count = series.count.saturating_add(1);
            (series.seen, series.seen_at) = (now, at);
            let is_first = series.count == 2;
            return if is_first || self.is_due(&key, now) { self.repeat(&key, now) } else { Write::Later };
        }
        if self.series.len() >= MEMORY || !self.may_write(&key.regarding, now) {
            return Write::Never;
        }
        let name = self.name(&key, at);
        let series =
            Series { name: name.clone(), count: 1, written: 1, seen: now, seen_at: at, written_at: now };
        self.series.insert(key.clone(), series);
        let body = self.event(&key, &name, at);
        let namespace = namespace_of(&key).to_owned();
        Write::Now(Box::new(Post { namespace, name, repeats: false, body, key }))
    }

    /// The counts to write by now. Series without recent repetitions are forgotten.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Post> {
        let due: Vec<Note> = self.series.keys().filter(|key| self.is_due(key, now)).cloned().collect();
        let writes = due.iter().map(|key| self.repeat(key, now));
        let posts = writes.filter_map(|write| match write {
            Write::Now(post) => Some(*post),
            Write::Later | Write::Never => None,
        });
        let posts = posts.collect();
        let window = self.limits.window;
        self.series.retain(|_, series| now.saturating_duration_since(series.seen) < window);
        self.objects.retain(|_, bucket| !bucket.is_full(now));
        posts
    }

    /// The Event of a post may not exist: its series starts again.
    pub(super) fn forget(&mut self, post: &Post) {
        self.series.remove(&post.key);
    }

    fn is_due(&self, key: &Note, now: Instant) -> bool {
        self.series.get(key).is_some_and(|series| {
            series.written < series.count
                && now.saturating_duration_since(series.written_at) >= self.limits.refresh
        })
    }

    fn repeat(&mut self, key: &Note, now: Instant) -> Write {
        if !self.may_write(&key.regarding, now) {
            return Write::Later;
        }
        let Some(series) = self.series.get_mut(key) else { return Write::Never };
        (series.written, series.written_at) = (series.count, now);
        let body = json!({"series": {"count": series.count, "lastObservedTime": micro_time(series.seen_at)}});
        let (namespace, name) = (namespace_of(key).to_owned(), series.name.clone());
        Write::Now(Box::new(Post { namespace, name, repeats: true, body, key: key.clone() }))
    }

    fn may_write(&mut self, regarding: &Regarding, now: Instant) -> bool {
        if !self.objects.contains_key(regarding) && self.objects.len() >= MEMORY {
            return false;
        }
        let fresh = || Bucket::full(self.limits.per_object, now);
        let object = self.objects.entry(regarding.clone()).or_insert_with(fresh);
        object.take(now).is_ok() && self.overall.take(now).is_ok()
    }

    /// As client-go names Events: the object and the time. Two at the same time would have the same name, so the time
    /// is advanced.
    fn name(&mut self, key: &Note, at: SystemTime) -> String {
        let nanos = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos();
        self.last_nanos = nanos.max(self.last_nanos + 1);
        // A name may have 253 characters.
        format!("{}.{:x}", cut(&key.regarding.name, 230), self.last_nanos)
    }

    fn event(&self, key: &Note, name: &str, at: SystemTime) -> Value {
        let Regarding { api_version, kind, namespace, name: object } = &key.regarding;
        let mut regarding = json!({"apiVersion": api_version, "kind": kind, "name": object});
        if !namespace.is_empty() {
            regarding["namespace"] = json!(namespace);
        }
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace_of(key)},
            "eventTime": micro_time(at),
            "reportingController": key.controller,
            "reportingInstance": cut(&format!("{}-{}", key.controller, self.node), LONGEST_WORD),
            "action": key.action,
            "reason": key.reason,
            "regarding": regarding,
            "note": key.text,
            "type": match key.severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            },
        })
    }
}

fn namespace_of(key: &Note) -> &str {
    if key.regarding.namespace.is_empty() { "default" } else { &key.regarding.namespace }
}

/// The start of a text, at most this many bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// `metav1.MicroTime`
fn micro_time(at: SystemTime) -> String {
    let time = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests;
