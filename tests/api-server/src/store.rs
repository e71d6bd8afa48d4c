//! Objects, their versions, and their changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fault::WatchEnd;

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Collection {
    /// `v1` Node
    Nodes,
    /// `v1` Namespace
    Namespaces,
    /// `v1` Service
    Services,
    /// `discovery.k8s.io/v1` EndpointSlice
    EndpointSlices,
    /// `events.k8s.io/v1` Event
    Events,
}

impl Collection {
    const ALL: [(Collection, &'static str, &'static str, &'static str); 5] = [
        (Collection::Nodes, "v1", "Node", "/api/v1/nodes"),
        (Collection::Namespaces, "v1", "Namespace", "/api/v1/namespaces"),
        (Collection::Services, "v1", "Service", "/api/v1/services"),
        (
            Collection::EndpointSlices,
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "/apis/discovery.k8s.io/v1/endpointslices",
        ),
        (Collection::Events, "events.k8s.io/v1", "Event", "/apis/events.k8s.io/v1/events"),
    ];

    /// Parses a path: the collection, a namespace if given, and the rest, which is an object's name.
    pub(crate) fn at(path: &str) -> Option<(Collection, Option<&str>)> {
        for (collection, _, _, all) in Collection::ALL {
            if path == all {
                return Some((collection, None));
            }
            let (group, plural) = all.rsplit_once('/')?;
            let Some(rest) = path.strip_prefix(group).and_then(|rest| rest.strip_prefix("/namespaces/"))
            else {
                continue;
            };
            let mut parts = rest.split('/').skip(1);
            if parts.next() == Some(plural) {
                return Some((collection, parts.next()));
            }
        }
        None
    }

    /// `apiVersion` and `kind` of its objects.
    pub(crate) fn type_meta(self) -> (&'static str, &'static str) {
        let found = Collection::ALL.iter().find(|(collection, ..)| *collection == self);
        found.map_or(("", ""), |(_, version, kind, _)| (version, kind))
    }

    fn of(object: &Value) -> Collection {
        let found = Collection::ALL.iter().find(|(_, _, kind, _)| object["kind"] == *kind);
        found.unwrap_or_else(|| panic!("unknown kind: {object}")).0
    }
}

/// Namespace and name.
pub(crate) type Key = (String, String);

/// An event for open watches.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// An object changed; `None` where there is none.
    Change { version: u64, before: Option<Value>, after: Option<Value> },
    /// A line for the currently open watches.
    Line(Value),
    /// The end of the currently open watches.
    End(WatchEnd),
}

/// The objects.
#[derive(Debug, Default)]
pub(crate) struct Store {
    version: u64,
    /// Earlier versions are expired.
    oldest: u64,
    objects: BTreeMap<(Collection, Key), Value>,
    log: Vec<(Collection, Entry)>,
}

impl Store {
    pub(crate) fn put(&mut self, mut object: Value) -> u64 {
        self.version += 1;
        let collection = Collection::of(&object);
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let key = (text("namespace"), text("name"));
        assert!(!key.1.is_empty(), "object without name: {object}");
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let before = self.objects.insert((collection, key), object.clone());
        let change = Entry::Change { version: self.version, before, after: Some(object) };
        self.log.push((collection, change));
        self.version
    }

    pub(crate) fn delete(&mut self, collection: Collection, namespace: &str, name: &str) {
        let key = (collection, (namespace.to_owned(), name.to_owned()));
        let Some(before) = self.objects.remove(&key) else {
            panic!("no {namespace}/{name} in {collection:?}")
        };
        self.version += 1;
        let change = Entry::Change { version: self.version, before: Some(before), after: None };
        self.log.push((collection, change));
    }

    pub(crate) fn get_mut(&mut self, collection: Collection, name: &str) -> Option<&mut Value> {
        self.objects
            .iter_mut()
            .find(|((of, key), _)| *of == collection && key.1 == name)
            .map(|(_, object)| object)
    }

    pub(crate) fn objects(&self, collection: Collection) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |((of, _), _)| *of == collection).map(|(_, object)| object)
    }

    pub(crate) fn compact(&mut self) {
        self.version += 1;
        self.oldest = self.version;
    }

    pub(crate) fn send_line(&mut self, collection: Collection, line: Value) {
        self.log.push((collection, Entry::Line(line)));
    }

    pub(crate) fn send_bookmark(&mut self, collection: Collection) {
        let bookmark = bookmark(collection, self.version);
        self.send_line(collection, bookmark);
    }

    pub(crate) fn end_watches(&mut self, collection: Collection, end: WatchEnd) {
        self.log.push((collection, Entry::End(end)));
    }

    /// The newest version.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether the changes after a version have been forgotten.
    pub(crate) fn is_expired(&self, version: u64) -> bool {
        version < self.oldest
    }

    /// The length of the log.
    pub(crate) fn log_end(&self) -> usize {
        self.log.len()
    }

    /// Entries for watches of a collection, from a position in the log.
    pub(crate) fn log_from(&self, place: usize, collection: Collection) -> Vec<Entry> {
        let later = self.log.iter().skip(place);
        later.filter(|(of, _)| *of == collection).map(|(_, entry)| entry.clone()).collect()
    }
}

/// A line that says that there were no changes up to a version.
pub(crate) fn bookmark(collection: Collection, version: u64) -> Value {
    let (api_version, kind) = collection.type_meta();
    json!({
        "type": "BOOKMARK",
        "object": {"apiVersion": api_version, "kind": kind, "metadata": {"resourceVersion": version.to_string()}},
    })
}
