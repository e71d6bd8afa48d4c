use super::*;

fn keys(contents: &Contents) -> Vec<String> {
    contents.objects.keys().map(Key::to_string).collect()
}

/// All problems except missing cluster IPs of objects that only have a name.
fn messages(contents: &Contents) -> Vec<String> {
    let told = contents.problems.iter().filter(|problem| !problem.message.starts_with("is missing"));
    told.map(Problem::to_string).collect()
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
    // Problems of another node are reported and stop nothing.
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
    assert_eq!(messages(&contents), ["Service default/a: occurs more than once here; the last one is used"]);
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
    assert_eq!(keys(&contents), ["Node f", "Service default/a", "Service default/c", "Service default/d"]);
    let counts = "occurs more than once; the last one is used";
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
        ["Service default/a: spec.type: occurs more than once; the last one is used"]
    );
    assert!(matches!(contents.objects.values().next(), Some(Decoded::Here(_))), "{contents:?}");
}

#[test]
fn a_broken_document_takes_no_other_with_it() {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: None}}\n---\nkind: [\n---\n\
                {apiVersion: v1, kind: Service, metadata: {name: b}, spec: {clusterIP: None}}\n";
    let (inventory, problems) = inventory(text, "n");
    assert_eq!(Inventory::default().changes_to(&inventory).len(), 2);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("line 3"), "{problems:?}");
}

#[test]
fn a_misspelt_kind_is_reported() {
    let text = r#"
{apiVersion: v1, kind: service, metadata: {name: a}}
---
{apiVersion: v1, kind: Services, metadata: {name: b}}
---
{apiVersion: discovery.k8s.io/v1, kind: Endpointslice, metadata: {name: c}}
---
{apiVersion: example.com/v1, kind: Services, metadata: {name: d}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: e}}
"#;
    let contents = read(text, Format::Yaml, "n");
    assert_eq!((keys(&contents).len(), contents.ignored), (0, 2));
    assert_eq!(
        messages(&contents),
        [
            "service default/a: kind: `service`: did you mean `Service`? The object is left out",
            "Services default/b: kind: `Services`: did you mean `Service`? The object is left out",
            "Endpointslice default/c: kind: `Endpointslice`: did you mean `EndpointSlice`? The object is left out",
        ]
    );
}

#[test]
fn items_must_be_a_list() {
    let text =
        "{apiVersion: v1, kind: List, items: {a: 1}}\n---\n{apiVersion: v1, kind: ServiceList, items: x}\n";
    let contents = read(text, Format::Yaml, "n");
    let message = "must be a list; the objects in it are left out";
    assert_eq!(
        messages(&contents),
        [
            format!("List without a name: items: `{{\"a\":1}}`: {message}"),
            format!("ServiceList without a name: items: `x`: {message}"),
        ]
    );
}

#[test]
fn a_service_without_a_cluster_ip_is_reported() {
    let contents = read("{apiVersion: v1, kind: Service, metadata: {name: a}}", Format::Yaml, "n");
    assert_eq!(contents.problems.len(), 1);
    let message = contents.problems[0].to_string();
    assert!(message.starts_with("Service default/a: spec.clusterIP: is missing"), "{message}");
}
