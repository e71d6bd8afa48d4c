//! The objects in one text.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::inventory::{Inventory, Key, Object};
use crate::Problem;
use crate::document::{self, FaultKind, Format, KeyFault, SyntaxError};
use crate::objects::{self, Decoded};

/// What one text holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// What became of each object; the last one counts where a name occurs twice.
    pub(super) objects: BTreeMap<Key, Decoded<Object>>,
    /// What is wrong with single objects.
    pub(super) problems: Vec<Problem>,
    /// How many objects of other kinds there are.
    pub(super) ignored: usize,
    /// Why some documents cannot be read: what they hold is unknown.
    pub(super) broken: Vec<SyntaxError>,
    /// Whether parts of it were left out that may have named objects.
    pub(super) is_partial: bool,
}

/// Reads a text.
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

/// The kinds that matter, each with its API group (empty for the core group).
const KINDS: [(&str, &str); 5] = [
    ("", "Service"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("", "Node"),
    ("", "Namespace"),
    ("", "Endpoints"),
];
/// The version that is understood, of every group.
const VERSION: &str = "v1";

impl TypeMeta<'_> {
    /// Group and version; the core group is written as its version alone.
    fn group_version(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", self.api_version))
    }
}

impl Contents {
    /// Adds an object, or the items of a list. `faults` are what is wrong with its keys; `inherited` is what the list says
    /// of items that do not say what they are.
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
            self.ignored += 1;
            return;
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
                let (decoded, problems) = objects::service(value);
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
                .push(Problem::of_object(object, "is written more than once here; the last one counts"));
        }
    }
}

/// Kind and items, if this is a list that matters; a list of any objects has no kind of items.
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

/// Faults of a list, by the item that they are in, and those that are in none.
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
mod tests {
    use super::*;

    fn keys(contents: &Contents) -> Vec<String> {
        contents.objects.keys().map(Key::to_string).collect()
    }

    fn messages(contents: &Contents) -> Vec<String> {
        contents.problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn lists_are_opened() {
        let text = r#"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
---
apiVersion: v1
kind: ServiceList
items:
- {metadata: {name: b, namespace: x}}
- {metadata: {name: c}, kind: Service, apiVersion: v1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSliceList
items:
- {metadata: {name: s, labels: {kubernetes.io/service-name: a}}, addressType: IPv4}
---
apiVersion: v1
kind: PodList
items: [{}]
---
apiVersion: v1
kind: List
items: null
"#;
        let contents = read(text, Format::Yaml, "n");
        assert_eq!(
            keys(&contents),
            ["Service default/a", "Service default/c", "Service x/b", "EndpointSlice default/s"]
        );
        assert_eq!(messages(&contents), [""; 0]);
        assert_eq!(contents.ignored, 2);
    }

    #[test]
    fn other_kinds_are_counted_and_other_versions_named() {
        let text = r#"
{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: a}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}
---
{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, metadata: {name: a}}
---
{kind: Service, metadata: {name: a}}
---
{metadata: {name: a}}
---
just text
"#;
        let contents = read(text, Format::Yaml, "n");
        assert_eq!((keys(&contents).len(), contents.ignored), (0, 2));
        assert_eq!(
            messages(&contents),
            [
                "EndpointSlice default/a: apiVersion: `discovery.k8s.io/v1beta1`: must be \
                 `discovery.k8s.io/v1`; the object is left out",
                "Service default/a: apiVersion: must be `v1`; the object is left out",
                "an object: must have `apiVersion` and `kind`; it is left out",
                "an object: must have `apiVersion` and `kind`; it is left out",
            ]
        );
    }

    #[test]
    fn this_node_is_one_of_all() {
        let text = r#"
{apiVersion: v1, kind: Node, metadata: {name: n}}
---
{apiVersion: v1, kind: Node, metadata: {name: other}, status: wrong}
"#;
        let contents = read(text, Format::Yaml, "n");
        let this = [Key::Node("n".to_owned()), Key::AnyNode("n".to_owned())];
        assert!(this.iter().all(|key| matches!(contents.objects[key], Decoded::Here(_))));
        // What is wrong with another node is said, and stops nothing.
        assert_eq!(contents.objects[&Key::AnyNode("other".to_owned())], Decoded::Invalid);
        assert!(messages(&contents).iter().all(|message| message.starts_with("Node other: ")));
        assert_eq!(contents.objects.len(), 3);
    }

    #[test]
    fn lists_of_nodes_and_namespaces_are_opened() {
        let text = r#"
{apiVersion: v1, kind: NodeList, items: [{metadata: {name: a}}, {metadata: {name: n}}]}
---
{apiVersion: v1, kind: NamespaceList, items: [{metadata: {name: shop}}]}
---
{apiVersion: v1, kind: List, items: [{apiVersion: v2, kind: Namespace, metadata: {name: x}}]}
"#;
        let contents = read(text, Format::Yaml, "n");
        assert_eq!(keys(&contents), ["Node n", "Node a", "Node n", "Namespace shop"]);
        assert_eq!(contents.problems.len(), 1);
        assert!(messages(&contents)[0].ends_with("must be `v1`; the object is left out"), "{contents:?}");
    }

    #[test]
    fn namespaces_are_objects_too() {
        let text = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {tier: a}}}";
        let contents = read(text, Format::Yaml, "n");
        assert_eq!((keys(&contents), messages(&contents)), (vec!["Namespace shop".to_owned()], vec![]));
    }

    #[test]
    fn endpoints_are_known_by_name_if_they_have_addresses() {
        let text = r#"
{apiVersion: v1, kind: Endpoints, metadata: {name: a}, subsets: [{}, {addresses: [{ip: 192.0.2.1}]}]}
---
{apiVersion: v1, kind: EndpointsList, items: [{metadata: {name: b}, subsets: [{addresses: [{ip: 192.0.2.1}]}]}]}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: c}, subsets: [{notReadyAddresses: [{ip: 192.0.2.1}]}]}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: d}, subsets: null}
"#;
        let contents = read(text, Format::Yaml, "n");
        let here = contents.objects.iter().filter(|(_, decoded)| matches!(decoded, Decoded::Here(_)));
        let here: Vec<String> = here.map(|(key, _)| key.to_string()).collect();
        assert_eq!(here, ["Endpoints default/a", "Endpoints default/b"]);
        assert_eq!((messages(&contents), contents.ignored), (vec![], 0));
    }

    #[test]
    fn the_last_of_two_counts() {
        let text = r#"
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: 10.0.0.2}}
"#;
        let contents = read(text, Format::Yaml, "n");
        assert_eq!(
            messages(&contents),
            ["Service default/a: is written more than once here; the last one counts"]
        );
        let Some(Decoded::Here(Object::Service(service))) = contents.objects.values().next() else {
            panic!("{contents:?}")
        };
        assert_eq!(service.cluster_ips.v4.unwrap().to_string(), "10.0.0.2");
    }

    #[test]
    fn labels_that_a_chart_renders_twice_harm_no_object() {
        let text = r#"
{apiVersion: v1, kind: Service, metadata: {name: a, labels: {x.y/z: "1", x.y/z: "2"}}, spec: {clusterIP: 10.0.0.1, clusterIP: 10.0.0.2}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: n, labels: {c: d, c: d}}}
---
apiVersion: v1
kind: List
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: c}}
- {apiVersion: v1, kind: ConfigMap, kind: Service, metadata: {name: x}, metadata: {name: d}}
- {apiVersion: v1, kind: NodeList, items: [{metadata: {name: e, name: f}}]}
---
{apiVersion: v1, kind: PodList, items: [{a: 1, a: 2}]}
---
{a: 1, a: 2}
"#;
        let contents = read(text, Format::Yaml, "n");
        assert_eq!(
            keys(&contents),
            ["Node f", "Service default/a", "Service default/c", "Service default/d"]
        );
        let counts = "is written more than once; the last one counts";
        assert_eq!(
            messages(&contents),
            [
                format!("Service default/a: metadata.labels[x.y/z]: {counts}"),
                format!("Service default/a: spec.clusterIP: {counts}"),
                format!("ConfigMap n/b: metadata.labels.c: {counts}"),
                format!("List without a name: kind: {counts}"),
                format!("Service default/d: kind: {counts}"),
                format!("Service default/d: metadata: {counts}"),
                format!("Node f: metadata.name: {counts}"),
                format!("PodList without a name: items[0].a: {counts}"),
                format!("an object: a: {counts}"),
                "an object: must have `apiVersion` and `kind`; it is left out".to_owned(),
            ]
        );
        let Decoded::Here(Object::Service(service)) = contents.objects.values().nth(1).unwrap() else {
            panic!("{contents:?}")
        };
        assert_eq!(service.cluster_ips.v4.unwrap().to_string(), "10.0.0.2");
        assert_eq!(service.labels["x.y/z"], "2");
    }

    #[test]
    fn an_odd_key_in_an_item_takes_no_other_item_with_it() {
        for odd in ["{~: k}", "{x: {{ .Values.x }}}", "{? [a, b] : c}"] {
            let text = format!(
                "{{apiVersion: v1, kind: List, items: [{{apiVersion: v1, kind: ConfigMap, metadata: {{name: z}}, data: {odd}}}, \
                 {{apiVersion: v1, kind: Service, metadata: {{name: c}}, spec: {{clusterIP: 10.0.0.1}}}}]}}"
            );
            let contents = read(&text, Format::Yaml, "n");
            assert_eq!(keys(&contents), ["Service default/c"], "{odd}");
            let messages = messages(&contents);
            assert_eq!(messages.len(), 1, "{messages:?}");
            assert!(messages[0].starts_with("ConfigMap default/z: data"), "{messages:?}");
            assert!(messages[0].contains("a key must be text"), "{messages:?}");
        }
    }

    #[test]
    fn json_may_repeat_keys_too() {
        let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "X", "type": "ClusterIP"}}
        ]}"#;
        let contents = read(text, Format::Json, "n");
        assert_eq!(
            messages(&contents),
            ["Service default/a: spec.type: is written more than once; the last one counts"]
        );
        assert!(matches!(contents.objects.values().next(), Some(Decoded::Here(_))), "{contents:?}");
    }

    #[test]
    fn a_broken_document_takes_no_other_with_it() {
        let text = "{apiVersion: v1, kind: Service, metadata: {name: a}}\n---\nkind: [\n---\n\
                    {apiVersion: v1, kind: Service, metadata: {name: b}}\n";
        let (inventory, problems) = inventory(text, "n");
        assert_eq!(Inventory::default().changes_to(&inventory).len(), 2);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("line 3"), "{problems:?}");
    }
}
