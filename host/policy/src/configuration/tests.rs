use super::*;
use proptest::prelude::*;
use serde_json::json;
use weir_world::build;

fn read(body: &str) -> PolicyConfiguration {
    let text = format!("apiVersion: policy.weir/v1alpha1\nkind: PolicyConfiguration\n{body}");
    parse(&text, Path::new("/etc/weir")).unwrap()
}

fn refusal(entry: &str) -> String {
    let configuration = read(&format!("plugins:\n- {entry}\n"));
    configuration.plugins[0].refusal().unwrap_or_default()
}

fn plugin(entry: &str) -> PluginConfiguration {
    read(&format!("plugins:\n- {entry}\n")).plugins.remove(0).plugin.unwrap()
}

fn error(text: &str) -> String {
    parse(text, Path::new("")).unwrap_err().to_string()
}

#[test]
fn a_short_entry_has_the_defaults() {
    let plugin = plugin("{name: zones, source: zones.wasm}");
    assert_eq!(
        plugin,
        PluginConfiguration {
            name: "zones".to_owned(),
            source: "/etc/weir/zones.wasm".into(),
            sha256: None,
            interfaces: None,
            select: Selector::default(),
            configuration: Value::Null,
            failure_policy: FailurePolicy::LastGood,
            mode: Mode::Enforce,
            limits: Limits {
                memory_bytes: 16 << 20,
                call_timeout: Duration::from_millis(100),
                sync_budget: Duration::from_millis(500),
            },
        }
    );
}

#[test]
fn every_field_is_read() {
    let digest = "a0".repeat(32);
    let configuration = read(&format!(
        "maxChange: {{percent: 5, services: 7}}\nconfirmed: [\"sha256:{digest}\"]\nplugins:\n\
         - name: zones\n  source: file:///opt/zones.wasm\n  sha256: {digest}\n  interfaces: [scheduler, filter]\n  \
         select: {{namespaces: [\"prod-*\"], labels: {{tier: web}}}}\n  configuration: {{a: [1, {{b: null}}]}}\n  \
         failurePolicy: SkipService\n  mode: shadow\n  limits: {{memory: 32Mi, callTimeout: 1s, syncBudget: 2s}}\n"
    ));
    assert_eq!(configuration.max_change, MaxChange { percent: 5, services: 7 });
    assert_eq!(configuration.confirmed, [Digest([0xa0; 32])]);
    let plugin = configuration.plugins[0].plugin.as_ref().unwrap();
    assert_eq!(plugin.source, Path::new("/opt/zones.wasm"));
    assert_eq!(plugin.sha256, Some(Digest([0xa0; 32])));
    assert_eq!(plugin.interfaces, Some([Interface::Filter, Interface::Scheduler].into()));
    assert_eq!(plugin.configuration.to_string(), r#"{"a":[1,{"b":null}]}"#);
    assert_eq!((plugin.failure_policy, plugin.mode), (FailurePolicy::SkipService, Mode::Shadow));
    assert_eq!(plugin.limits.memory_bytes, 32 << 20);
    assert_eq!(plugin.limits.sync_budget, Duration::from_secs(2));
}

#[test]
fn a_bad_entry_is_refused_with_all_its_mistakes_and_no_other() {
    let configuration = read(
        "plugins:\n- {name: good, source: a.wasm}\n- {name: bad, source: b.wasm, failurPolicy: Default, mode: on}\n\
         - {name: good, source: c.wasm}\n- {source: d.wasm}\n",
    );
    let [good, bad, twice, unnamed] = &configuration.plugins[..] else { panic!("{configuration:?}") };
    assert!(good.plugin.is_ok());
    let said = bad.refusal().unwrap();
    assert!(said.contains("did you mean `failurePolicy`?") && said.contains("enforce, shadow"), "{said}");
    assert_eq!(twice.name, "plugins[2]");
    assert_eq!(twice.refusal().unwrap(), "name: `good`: is also the name of plugins[0]; rename one of them");
    assert_eq!(unnamed.name, "plugins[3]");
    assert!(unnamed.refusal().unwrap().contains("name"));
}

#[test]
fn what_cannot_be_is_named() {
    for (entry, wanted) in [
        ("{name: x, source: \"oci://registry/x\"}", "oci://"),
        ("{name: x, source: \"file://relative\"}", "third slash"),
        ("{name: x}", "component's file"),
        ("{name: X, source: a}", "a-z"),
        ("{name: x, source: a, sha256: abc}", "64 hexadecimal"),
        ("{name: x, source: a, interfaces: []}", "must name at least one"),
        ("{name: x, source: a, interfaces: [route]}", "filter, scheduler or masquerade"),
        ("{name: x, source: a, select: {namespaces: []}}", "omit the field to select all"),
        ("{name: x, source: a, select: {namespaces: [a, \"prod-?\"]}}", "select.namespaces[1]: `prod-?`"),
        ("{name: x, source: a, select: {namespaces: [\"\"]}}", "cannot match any namespace"),
        ("{name: x, source: a, select: {labels: {a: 1}}}", "select.labels.a"),
        ("{name: x, source: a, limits: {memory: 1Gi}}", "1Mi to 64Mi"),
        ("{name: x, source: a, limits: {callTimeout: 0}}", "1ms to 5s"),
        ("{name: x, source: a, limits: {callTimeout: 2s, syncBudget: 1s}}", "callTimeout to 10s"),
        ("{name: x, source: a, limits: {fuel: 1}}", "limits.fuel"),
        ("just text", "must be an object"),
    ] {
        let said = refusal(entry);
        assert!(said.contains(wanted), "{entry}: {said}");
    }
}

#[test]
fn a_key_that_is_written_twice_refuses_its_entry_and_no_other() {
    let configuration = read(
        "plugins:\n- {name: a, source: a.wasm}\n- {name: b, source: b.wasm, mode: shadow, mode: enforce}\n\
         - {name: c, source: c.wasm, configuration: {x: [{y: 1, y: 2}]}}\n",
    );
    let refusals: Vec<_> = configuration.plugins.iter().map(PluginEntry::refusal).collect();
    let [None, Some(second), Some(third)] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!(second, "mode: appears more than once; remove the duplicates");
    assert!(third.starts_with("configuration.x[0].y: appears more than once"), "{third}");
}

#[test]
fn bounds_belong_to_what_is_allowed() {
    let allowed = |entry: &str| refusal(&format!("{{source: a, {entry}}}")).is_empty();
    let limits = |limits: &str| allowed(&format!("name: x, limits: {{{limits}}}"));
    for inside in [
        "memory: 1Mi",
        "memory: 64Mi",
        "memory: 1048576",
        "callTimeout: 1ms",
        "callTimeout: 5s",
        "callTimeout: 500ms, syncBudget: 500ms",
        "syncBudget: 10s",
    ] {
        assert!(limits(inside), "{inside}");
    }
    for outside in [
        "memory: 1048575",
        "memory: 65537Ki",
        "memory: -16Mi",
        "callTimeout: 999us",
        "callTimeout: 5001ms",
        "callTimeout: 100",
        "syncBudget: 99ms",
        "syncBudget: 10001ms",
    ] {
        assert!(!limits(outside), "{outside}");
    }
    let name = |name: &str| allowed(&format!("name: \"{name}\""));
    assert!(name("a") && name("0-9") && name(&"a".repeat(63)));
    assert!(!name("") && !name(&"a".repeat(64)) && !name("-a") && !name("a-") && !name("a.b") && !name("ä"));
}

#[test]
fn a_longer_call_has_a_budget_that_it_fits_into() {
    let limits = plugin("{name: x, source: a, limits: {callTimeout: 2s}}").limits;
    assert_eq!((limits.call_timeout, limits.sync_budget), (Duration::from_secs(2), Duration::from_secs(2)));
}

#[test]
fn nulls_are_absent_fields() {
    let short = plugin("{name: zones, source: zones.wasm}");
    let fields = ["sha256", "interfaces", "select", "configuration", "failurePolicy", "mode", "limits"];
    let nulls = fields.map(|field| format!("{field}: null")).join(", ");
    assert_eq!(plugin(&format!("{{name: zones, source: zones.wasm, {nulls}}}")), short);
    let inner = "select: {namespaces: null, labels: null}, \
                 limits: {memory: null, callTimeout: null, syncBudget: null}";
    assert_eq!(plugin(&format!("{{name: zones, source: zones.wasm, {inner}}}")), short);
    assert_eq!(read("maxChange: null\nconfirmed: null\nplugins: null\n"), PolicyConfiguration::default());
    assert_eq!(read("maxChange: {percent: null, services: null}\n"), PolicyConfiguration::default());
}

#[test]
fn paths_are_relative_to_the_file_they_are_written_in() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("policy.json");
    let missing = load(&file).unwrap_err();
    assert_eq!(missing.to_string(), "cannot be read", "the caller names the file");
    let entries = ["zones.wasm", "../b.wasm", "/opt/c.wasm", "file:///opt/d.wasm"].iter().enumerate();
    let entries: Vec<Value> =
        entries.map(|(i, source)| json!({"name": format!("p{i}"), "source": source})).collect();
    let text = json!({"apiVersion": API_VERSION, "kind": KIND, "plugins": entries}).to_string();
    std::fs::write(&file, text).unwrap();
    let plugins = load(&file).unwrap().plugins;
    let sources: Vec<PathBuf> = plugins.into_iter().map(|entry| entry.plugin.unwrap().source).collect();
    let beside = |name: &str| folder.path().join(name);
    assert_eq!(
        sources,
        [beside("zones.wasm"), beside("../b.wasm"), "/opt/c.wasm".into(), "/opt/d.wasm".into()]
    );
}

#[test]
fn a_mistake_outside_the_entries_refuses_the_file() {
    let head = "apiVersion: policy.weir/v1alpha1\nkind: PolicyConfiguration\n";
    for (text, wanted) in [
        ("kind: PolicyConfiguration".to_owned(), "policy.weir/v1alpha1"),
        (format!("{head}plugin: []"), "did you mean `plugins`?"),
        (format!("{head}plugins: {{}}"), "must be a list"),
        (format!("{head}maxChange: {{percent: 101}}"), "0 to 100"),
        (format!("{head}confirmed: [x]"), "confirmed[0]"),
        (format!("{head}plugins: []\nplugins: []"), "more than once"),
        (String::new(), "0 documents"),
        ("a: [".to_owned(), "not valid YAML"),
    ] {
        let said = error(&text);
        assert!(said.contains(wanted), "{text:?}: {said}");
    }
}

#[test]
fn a_file_that_is_no_text_is_reported_by_what_it_is() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("good.wasm");
    let said = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        load(&file).unwrap_err().to_string()
    };
    assert!(said(b"\0asm\x0d\0\x01\0").contains("is a WebAssembly file"));
    assert!(said(b"\xff\xfe").contains("is not text"));
    let folder = load(folder.path()).unwrap_err();
    assert!(matches!(folder, PolicyConfigError::Read { source: FileError::Kind }), "{folder:?}");
}

#[test]
fn names_that_are_invalid_are_shown_with_escapes() {
    let said = refusal(r#"{name: "a\e[31mb\n", source: a, failurePolicy: "x\e"}"#);
    assert!(!said.contains(char::is_control), "{said:?}");
    assert!(said.contains(r"`a\u{1b}[31mb\n`") && said.contains(r"`x\u{1b}`"), "{said}");
}

fn service(namespace: &str, labels: &[(&str, &str)]) -> Service {
    let service = build::service(&format!("{namespace}/web"));
    labels.iter().fold(service, |service, (key, value)| service.label(key, value)).build()
}

#[test]
fn a_service_is_selected_if_one_namespace_and_all_labels_fit() {
    let select = |text: &str| plugin(&format!("{{name: x, source: a, select: {text}}}")).select;
    let web = service("prod-a", &[("tier", "web"), ("size", "s")]);
    for (text, fits) in [
        ("{}", true),
        ("{namespaces: [shop, \"prod-*\"]}", true),
        ("{namespaces: [shop]}", false),
        ("{labels: {tier: web}}", true),
        ("{labels: {tier: web, size: s}}", true),
        ("{labels: {tier: web, size: m}}", false),
        ("{labels: {absent: \"\"}}", false),
        ("{namespaces: [\"prod-*\"], labels: {tier: db}}", false),
        ("{namespaces: [shop], labels: {tier: web}}", false),
    ] {
        assert_eq!(select(text).selects(&web), fits, "{text}");
    }
}

#[test]
fn a_change_is_too_large_when_it_exceeds_both_bounds() {
    let most = MaxChange { percent: 20, services: 50 };
    assert!(!most.is_exceeded(10, 10), "a few services may all change");
    assert!(!most.is_exceeded(60, 1000), "a small percentage may change");
    assert!(most.is_exceeded(60, 100));
    assert!(!MaxChange { percent: 100, services: 0 }.is_exceeded(9, 9));
}

/// Any JSON, including strings with a meaning here.
fn any_value() -> impl Strategy<Value = Value> {
    let texts = ["", "x", "*", "16Mi", "1s", "filter", "shadow", "Default", "oci://x", "file:///x"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,70}".prop_map(Value::from),
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
    ];
    let keys = ["name", "memory", "callTimeout", "syncBudget", "namespaces", "labels", "percent", "other"];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        let fields = prop::collection::btree_map(prop::sample::select(keys.to_vec()), inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_of_a_field_spoils_another_entry(
        at in prop::sample::select(entry::FIELDS.to_vec()),
        value in any_value(),
    ) {
        let good = json!({"name": "good", "source": "good.wasm"});
        let mut odd = json!({"name": "odd", "source": "odd.wasm"});
        odd[at] = value.clone();
        let file = json!({"apiVersion": API_VERSION, "kind": KIND, "plugins": [odd, good]});
        let plugins = parse(&file.to_string(), Path::new("")).unwrap().plugins;
        prop_assert!(plugins[1].plugin.is_ok());
        match &plugins[0].plugin {
            Ok(plugin) => {
                prop_assert!((1 << 20..=64 << 20).contains(&plugin.limits.memory_bytes));
                prop_assert!(plugin.limits.call_timeout <= plugin.limits.sync_budget);
                prop_assert!(plugin.interfaces.as_ref().is_none_or(|interfaces| !interfaces.is_empty()));
            }
            Err(problems) => {
                // Every problem concerns the odd field.
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| problem.field.starts_with(at)), "{problems:?}");
            }
        }
    }

    #[test]
    fn no_field_of_the_file_makes_it_panic(
        at in prop::sample::select(vec!["apiVersion", "kind", "maxChange", "confirmed", "plugins", "x"]),
        value in any_value(),
    ) {
        let mut file = json!({"apiVersion": API_VERSION, "kind": KIND});
        file[at] = value;
        if let Err(PolicyConfigError::Invalid(problems)) = parse(&file.to_string(), Path::new("")) {
            prop_assert!(problems.iter().all(|problem| problem.field.starts_with(at)), "{problems:?}");
        }
    }

    #[test]
    fn digests_are_read_back(bytes in any::<[u8; 32]>()) {
        let digest = Digest(bytes);
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        let bare = digest.to_string()[7..].to_uppercase();
        prop_assert_eq!(bare.parse(), Ok(digest));
    }

    #[test]
    fn no_text_is_too_odd(text in ".{0,200}") {
        drop(parse(&text, Path::new("")));
        drop(parse(&format!("apiVersion: policy.weir/v1alpha1\nkind: PolicyConfiguration\nplugins:\n- {text}"), Path::new("")));
    }
}
