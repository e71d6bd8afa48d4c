//! The objects in one text.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::inventory::{Inventory, Key, Object};
use crate::Problem;
use crate::document::{self, FaultKind, Format, KeyFault, SyntaxError};
use crate::objects::{self, Decoded};
use crate::problem::abridged;

/// The contents of one text.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Each decoded object; if a name occurs twice, the last one is used.
    pub(super) objects: BTreeMap<Key, Decoded<Object>>,
    /// Problems with single objects.
    pub(super) problems: Vec<Problem>,
    /// The number of objects of other kinds.
    pub(super) ignored: usize,
    /// Errors of unreadable documents, whose contents are unknown.
    pub(super) broken: Vec<SyntaxError>,
    /// Whether parts that may have named objects were left out.
    pub(super) is_partial: bool,
}

/// Parses a text.
pub(super) fn read(text: &str, format: Format, node: &str) -> Contents {
    let (documents, broken) = document::parse_each(text.trim_start_matches('\u{feff}'), format);
    let mut contents = Contents { broken, ..Contents::default() };
    for document in &documents {
        contents.is_partial |= document.faults.iter().any(|fault| fault.kind == FaultKind::NotText);
        contents.add(&document.value, &document.faults, None, node);
    }
    contents
}

/// See [`Inventory::parse`].
pub(super) fn inventory(text: &str, node: &str) -> (Inventory, Vec<Problem>) {
    let mut inventory = Inventory::default();
    let contents = read(text, Format::Yaml, node);
    for (key, decoded) in contents.objects {
        if let Decoded::Here(object) = decoded {
            inventory.insert(key, object);
        }
    }
    let broken = contents.broken.iter().map(|error| Problem::of_object("", format!("not readable: {error}")));
    (inventory, broken.chain(contents.problems).collect())
}

/// `apiVersion` and `kind` of an object.
#[derive(Clone, Copy)]
struct TypeMeta<'v> {
    api_version: &'v str,
    kind: &'v str,
}

/// The relevant kinds, each with its API group (empty for the core group).
const KINDS: [(&str, &str); 5] = [
    ("", "Service"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("", "Node"),
    ("", "Namespace"),
    ("", "Endpoints"),
];
/// The supported version of every group.
const VERSION: &str = "v1";

impl TypeMeta<'_> {
    /// The known kind of this group and version that differs only in capital letters and a final `s`.
    fn meant(&self) -> Option<&'static str> {
        let (group, version) = self.group_version();
        let same = |known: &str| {
            let rest = self.kind.get(..known.len()).filter(|start| start.eq_ignore_ascii_case(known));
            rest.is_some() && matches!(&self.kind[known.len()..], "" | "s")
        };
        let mut known = KINDS.iter().filter(|(of, _)| *of == group && version == VERSION);
        known.find(|(_, kind)| same(kind)).map(|(_, kind)| *kind)
    }

    /// Group and version; the core group is written as its version only.
    fn group_version(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", self.api_version))
    }
}

impl Contents {
    /// Adds an object, or the items of a list. `faults` are its invalid keys; `inherited` is the list's type for
    /// items without one.
    fn add(&mut self, value: &Value, faults: &[KeyFault], inherited: Option<TypeMeta<'_>>, node: &str) {
        let text_of = |key| value.get(key).and_then(Value::as_str);
        let kind = text_of("kind").or(inherited.map(|list| list.kind));
        let items = kind.and_then(|kind| item_kind(kind, value));
        let (inner, own) = by_item(faults, items.is_some());
        self.note_faults(&own, kind, value);
        let Some(kind) = kind else {
            self.problems
                .push(Problem::of_object("an object", "must have `apiVersion` and `kind`; it is left out"));
            return;
        };
        let api_version =
            text_of("apiVersion").or(inherited.map(|list| list.api_version)).unwrap_or_default();
        let meta = TypeMeta { api_version, kind };
        let Some((item_kind, items)) = items else { return self.add_object(value, meta, node) };
        let of_items = (!item_kind.is_empty()).then_some(TypeMeta { kind: item_kind, ..meta });
        for (index, item) in items.iter().enumerate() {
            let faults = inner.get(&index).map(Vec::as_slice).unwrap_or_default();
            self.add(item, faults, of_items, node);
        }
    }

    fn note_faults(&mut self, faults: &[KeyFault], kind: Option<&str>, value: &Value) {
        let object = kind.map_or("an object".to_owned(), |kind| named(kind, value));
        self.problems.extend(faults.iter().map(|fault| Problem {
            field: fault.path.clone(),
            ..Problem::of_object(object.clone(), fault.kind.message())
        }));
    }

    fn add_object(&mut self, value: &Value, meta: TypeMeta<'_>, node: &str) {
        let (group, version) = meta.group_version();
        let Some((wanted_group, _)) = KINDS.iter().find(|(_, kind)| *kind == meta.kind) else {
            return self.add_unknown(value, meta);
        };
        if !meta.api_version.is_empty() && group != *wanted_group {
            self.ignored += 1;
            return;
        }
        if version != VERSION {
            let separator = if wanted_group.is_empty() { "" } else { "/" };
            self.problems.push(Problem {
                field: "apiVersion".to_owned(),
                value: meta.api_version.to_owned(),
                ..Problem::of_object(
                    named(meta.kind, value),
                    format!("must be `{wanted_group}{separator}{VERSION}`; the object is left out"),
                )
            });
            return;
        }
        self.add_known(value, meta.kind, node);
    }

    /// Counts an object of another kind, and reports it if a relevant kind may have been meant.
    fn add_unknown(&mut self, value: &Value, meta: TypeMeta<'_>) {
        let list_of = meta.kind.strip_suffix("List").filter(|kind| kind.is_empty() || is_known(kind));
        let (field, found, message) = if let Some(items) = value.get("items").filter(|_| list_of.is_some()) {
            self.is_partial = true;
            ("items", abridged(items), "must be a list; the objects in it are left out".to_owned())
        } else if let Some(meant) = meta.meant() {
            ("kind", meta.kind.to_owned(), format!("did you mean `{meant}`? The object is left out"))
        } else {
            self.ignored += 1;
            return;
        };
        self.problems.push(Problem {
            field: field.to_owned(),
            value: found,
            ..Problem::of_object(named(meta.kind, value), message)
        });
    }

    fn add_known(&mut self, value: &Value, kind: &str, node: &str) {
        let name = objects::name_of(value);
        let (key, decoded, problems) = match kind {
            "Namespace" => {
                let (decoded, problems) = objects::namespace(value);
                (
                    name.map(|n| Key::Namespace(n.name)),
                    decoded.map(|n| Object::Namespace(Arc::new(n))),
                    problems,
                )
            }
            "Service" => {
                let (decoded, mut problems) = objects::service(value);
                if let Decoded::Here(service) = &decoded {
                    problems.extend(objects::service_hint(value, service));
                }
                (name.map(Key::Service), decoded.map(|s| Object::Service(Arc::new(s))), problems)
            }
            "EndpointSlice" => {
                let (decoded, problems) = objects::endpoint_slice(value);
                (name.map(Key::Slice), decoded.map(|s| Object::Slice(Arc::new(s))), problems)
            }
            "Endpoints" => {
                let decoded = objects::endpoints(value, name.as_ref());
                (name.map(Key::Endpoints), decoded.map(Object::Endpoints), Vec::new())
            }
            _ => {
                let (decoded, problems) = objects::node(value);
                let decoded = decoded.map(Arc::new);
                if let Some(own) = name.as_ref().filter(|name| name.name == node) {
                    self.objects.insert(Key::Node(own.name.clone()), decoded.clone().map(Object::Node));
                }
                (name.map(|n| Key::AnyNode(n.name)), decoded.map(Object::AnyNode), problems)
            }
        };
        self.problems.extend(problems);
        let Some(key) = key else { return };
        let object = key.to_string();
        if self.objects.insert(key, decoded).is_some() {
            self.problems
                .push(Problem::of_object(object, "occurs more than once here; the last one is used"));
        }
    }
}

/// Kind and items, if this is a list of a relevant kind; a list of arbitrary objects has no item kind.
fn item_kind<'v>(kind: &'v str, value: &'v Value) -> Option<(&'v str, &'v [Value])> {
    let item_kind = kind.strip_suffix("List")?;
    match value.get("items") {
        Some(Value::Array(items)) if item_kind.is_empty() || is_known(item_kind) => Some((item_kind, items)),
        None | Some(Value::Null) if item_kind.is_empty() => Some((item_kind, &[])),
        _ => None,
    }
}

fn is_known(kind: &str) -> bool {
    KINDS.iter().any(|(_, known)| *known == kind)
}

/// A list's faults by item, and those outside of items.
fn by_item(faults: &[KeyFault], is_list: bool) -> (BTreeMap<usize, Vec<KeyFault>>, Vec<KeyFault>) {
    let mut inner: BTreeMap<usize, Vec<KeyFault>> = BTreeMap::new();
    let mut own = Vec::new();
    for fault in faults {
        let into =
            fault.path.strip_prefix("items[").filter(|_| is_list).and_then(|rest| rest.split_once(']'));
        match into.and_then(|(index, rest)| Some((index.parse().ok()?, rest))) {
            Some((index, rest)) => {
                let path = rest.trim_start_matches('.').to_owned();
                inner.entry(index).or_default().push(KeyFault { path, kind: fault.kind });
            }
            None => own.push(fault.clone()),
        }
    }
    (inner, own)
}

fn named(kind: &str, value: &Value) -> String {
    match objects::name_of(value) {
        Some(name) if matches!(kind, "Node" | "Namespace") => format!("{kind} {}", name.name),
        Some(name) => format!("{kind} {name}"),
        None => format!("{kind} without a name"),
    }
}

#[cfg(test)]
mod tests;
