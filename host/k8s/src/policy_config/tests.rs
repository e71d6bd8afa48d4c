use super::*;
use proptest::prelude::*;

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
    assert!(twice.refusal().unwrap().contains("earlier plugin"));
    assert_eq!(unnamed.name, "plugins[3]");
    assert!(unnamed.refusal().unwrap().contains("name"));
}

#[test]
fn what_cannot_be_is_named() {
    for (entry, wanted) in [
        ("{name: x, source: \"oci://registry/x\"}", "oci://"),
        ("{name: x, source: \"file://relative\"}", "file://"),
        ("{name: x}", "component's file"),
        ("{name: X, source: a}", "a-z"),
        ("{name: x, source: a, sha256: abc}", "64 hexadecimal"),
        ("{name: x, source: a, interfaces: []}", "must name one"),
        ("{name: x, source: a, interfaces: [route]}", "filter, scheduler or masquerade"),
        ("{name: x, source: a, select: {namespaces: []}}", "leave it out for all"),
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
        ("a: [".to_owned(), "not readable"),
    ] {
        let said = error(&text);
        assert!(said.contains(wanted), "{text:?}: {said}");
    }
}

#[test]
fn namespaces_are_patterns_and_labels_must_all_fit() {
    for (pattern, text, fits) in [
        ("shop", "shop", true),
        ("shop", "shopping", false),
        ("*", "", true),
        ("prod-*", "prod-a", true),
        ("prod-*", "prod", false),
        ("*-a-*", "x-a-y", true),
        ("*-a-*", "x-b-y", false),
        ("a*a", "a", false),
        ("a*b*c", "a-b-b-c", true),
    ] {
        assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
    }
}

#[test]
fn a_change_is_too_large_when_it_exceeds_both_bounds() {
    let most = MaxChange { percent: 20, services: 50 };
    assert!(!most.is_exceeded(10, 10), "few services may all change");
    assert!(!most.is_exceeded(60, 1000), "few percent may change");
    assert!(most.is_exceeded(60, 100));
    assert!(!MaxChange { percent: 100, services: 0 }.is_exceeded(9, 9));
}

proptest! {
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
