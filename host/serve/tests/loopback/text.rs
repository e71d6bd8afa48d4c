//! The text of `/metrics`: names, types, help texts, labels and buckets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use exposition::families;
use weir_core::net::Family;
use weir_core::standing::Scope;
use weir_serve::{
    BuildInfo, Health, KernelWork, Metrics, OwnKind, OwnMetric, PluginCondition, PluginMetrics, ReloadResult,
    RequestOutcome, Resource, RoundResult, Step,
};

use crate::client::{Scene, get, options};

/// A parser of the exposition format that is independent of the library's.
mod exposition {
    use std::collections::BTreeMap;

    /// The text's entry for one metric.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub(super) struct Described {
        pub(super) help: String,
        pub(super) kind: String,
        /// Name with labels in order, and the value.
        pub(super) series: Vec<(String, f64)>,
    }

    /// The metrics by name; the text must contain them in order and each in one block.
    pub(super) fn families(text: &str) -> BTreeMap<String, Described> {
        let mut all: BTreeMap<String, Described> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(*name > *current, "{name} comes after {current}");
                current = name.to_owned();
                all.entry(current.clone()).or_default().help = help.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current);
                all.entry(current.clone()).or_default().kind = kind.to_owned();
            } else {
                assert!(line.starts_with(&current), "{line} is below {current}");
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap();
                all.entry(current.clone()).or_default().series.push((series.to_owned(), value));
            }
        }
        all
    }
}

fn metrics() -> Metrics {
    Metrics::new(&BuildInfo {
        version: "v0.1.0".to_owned(),
        commit: "abc".to_owned(),
        date: "2025-10-09T08:53:20Z".to_owned(),
        compiler: "rustc 1.95.0".to_owned(),
        platform: "linux/amd64".to_owned(),
    })
}

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let families = families(&metrics.text());
    families.values().flat_map(|family| &family.series).find(|(name, _)| name == series).map(|(_, v)| *v)
}

/// The recording is what kube-proxy 1.37.2 prints after `RegisterMetrics(ProxyModeIPVS)` and the same counts. Numbers
/// are compared as numbers, because Go writes large ones with an exponent.
#[test]
fn everything_of_kube_proxys_is_there_to_the_letter() {
    let scene = Scene::with(options(), Health::new(Duration::ZERO));
    let (proxy, v4) = (&scene.metrics.proxy, Family::V4);
    let at = UNIX_EPOCH + Duration::from_millis(1_760_000_000_500);
    proxy.synchronised(v4, Duration::from_millis(3));
    proxy.queued(v4, at);
    proxy.updated(v4, at);
    proxy.endpoint_changes_pending(3);
    proxy.endpoint_changes(1);
    proxy.service_changes_pending(2);
    proxy.service_changes(1);
    proxy.network_programmed(v4, Duration::from_millis(300));
    proxy.no_local_endpoints(Scope::Internal, v4, 4);
    proxy.restore_failed(v4);
    proxy.flows_forgotten(v4, Duration::from_millis(3), 5);
    scene.metrics.client.requested(RequestOutcome::Status(200), "GET", "h:6443", 1);
    // One answer of each code in the recording.
    scene.health.node(weir_serve::NodeState::Present);
    get(scene.health_address(), "/healthz");
    scene.health.updated(v4, weir_serve::Moment::now());
    scene.health.queued(v4, weir_serve::Moment::now());
    get(scene.health_address(), "/livez");

    let ours = families(&get(scene.metrics_address(), "/metrics").body);
    let recorded = families(include_str!("data/kube-proxy-metrics.txt"));
    let shared = |name: &String| name.starts_with("kubeproxy_") || name.starts_with("rest_client_");
    let ours: BTreeMap<_, _> = ours.into_iter().filter(|(name, _)| shared(name)).collect();
    assert_eq!(ours.keys().collect::<Vec<_>>(), recorded.keys().collect::<Vec<_>>());
    for (name, family) in recorded {
        let ours = &ours[&name];
        assert_eq!((&ours.help, &ours.kind), (&family.help, &family.kind), "{name}");
        for (ours, recorded) in ours.series.iter().zip(&family.series) {
            assert_eq!(ours, recorded);
        }
        assert_eq!(ours.series.len(), family.series.len(), "{name}");
    }
}

/// Before anything happened, kube-proxy exports the metrics without labels and no others.
#[test]
fn what_has_labels_appears_with_its_first_value() {
    let all = families(&metrics().text());
    let early: Vec<_> = all.keys().filter(|name| name.starts_with("kubeproxy_")).collect();
    assert_eq!(
        early,
        [
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
            "kubeproxy_sync_proxy_rules_endpoint_changes_total",
            "kubeproxy_sync_proxy_rules_service_changes_pending",
            "kubeproxy_sync_proxy_rules_service_changes_total",
        ]
    );
}

fn account(name: &str) -> PluginMetrics {
    PluginMetrics {
        name: name.to_owned(),
        calls: 10,
        asked: 200,
        remembered: 30,
        failures: [("deadline", 2), ("trap", 1)].into(),
        fallbacks: 4,
        time: Duration::from_millis(1500),
        peak_memory: 65_536,
        dropped_lines: 5,
        is_impure: true,
        condition: PluginCondition::Ready,
        own: vec![
            OwnMetric {
                name: "slow_endpoints".to_owned(),
                help: "Endpoints \\ that are\nslow.".to_owned(),
                kind: OwnKind::Gauge,
                value: 7,
            },
            OwnMetric {
                name: "moved".to_owned(),
                help: "Weights moved.".to_owned(),
                kind: OwnKind::Counter,
                value: 1 << 60,
            },
        ],
    }
}

/// Metrics of plugins share a family by name, and are removed with their plugin.
#[test]
fn what_plugins_declare_comes_and_goes() {
    let metrics = metrics();
    metrics.plugins(&[account("guard"), account("other")]);
    let text = metrics.text();
    let of = |name: &str| text.lines().filter(|line| line.contains(name)).collect::<Vec<_>>();
    assert_eq!(
        of("weir_policy_slow_endpoints"),
        [
            r"# HELP weir_policy_slow_endpoints Endpoints \\ that are\nslow.",
            "# TYPE weir_policy_slow_endpoints gauge",
            r#"weir_policy_slow_endpoints{plugin="guard"} 7"#,
            r#"weir_policy_slow_endpoints{plugin="other"} 7"#,
        ]
    );
    assert_eq!(of("weir_policy_moved")[1], "# TYPE weir_policy_moved_total counter");
    assert_eq!(value(&metrics, r#"weir_policy_moved_total{plugin="other"}"#), Some((1_u64 << 60) as f64));
    metrics.plugins(&[account("other")]);
    assert_eq!(value(&metrics, r#"weir_policy_slow_endpoints{plugin="guard"}"#), None);
    metrics.plugins(&[]);
    assert!(!metrics.text().contains("weir_policy_"));
}

/// Each of weir's own metrics: type, label names.
const OWN: [(&str, &str, &[&str]); 34] = [
    ("weir_api_last_contact_timestamp_seconds", "gauge", &[]),
    ("weir_changes_total", "counter", &["kind", "outcome"]),
    ("weir_configuration_not_taken", "gauge", &[]),
    ("weir_draining_real_servers", "gauge", &[]),
    ("weir_drift_repaired_total", "counter", &[]),
    ("weir_kernel_messages_total", "counter", &[]),
    ("weir_kernel_processes_total", "counter", &[]),
    ("weir_kernel_sends_total", "counter", &[]),
    ("weir_loop_last_turn_timestamp_seconds", "gauge", &[]),
    ("weir_plugin_asked_total", "counter", &["plugin"]),
    ("weir_plugin_calls_total", "counter", &["plugin"]),
    ("weir_plugin_condition", "gauge", &["condition", "plugin"]),
    ("weir_plugin_dropped_lines_total", "counter", &["plugin"]),
    ("weir_plugin_failures_total", "counter", &["plugin", "reason"]),
    ("weir_plugin_fallbacks_total", "counter", &["plugin"]),
    ("weir_plugin_impure", "gauge", &["plugin"]),
    ("weir_plugin_peak_memory_bytes", "gauge", &["plugin"]),
    ("weir_plugin_reloads_total", "counter", &["result"]),
    ("weir_plugin_remembered_total", "counter", &["plugin"]),
    ("weir_plugin_seconds_total", "counter", &["plugin"]),
    ("weir_plugins_not_taken", "gauge", &["result"]),
    ("weir_policy_moved_total", "counter", &["plugin"]),
    ("weir_policy_slow_endpoints", "gauge", &["plugin"]),
    ("weir_reported_services", "gauge", &["reason"]),
    ("weir_retries_total", "counter", &[]),
    ("weir_round_step_duration_seconds", "histogram", &["step"]),
    ("weir_rounds_total", "counter", &["result"]),
    ("weir_samples_total", "counter", &["result"]),
    ("weir_sampling_seconds_total", "counter", &[]),
    ("weir_warnings", "gauge", &["reason"]),
    ("weir_watch_errors_total", "counter", &["resource"]),
    ("process_open_fds", "gauge", &[]),
    ("process_start_time_seconds", "gauge", &[]),
    ("process_cpu_seconds_total", "counter", &[]),
];

#[test]
fn everything_of_weirs_own_is_there() {
    let metrics = metrics();
    metrics.rounds.ended(RoundResult::Succeeded);
    metrics.rounds.took(Step::Apply, Duration::from_micros(100));
    metrics.rounds.changed("add-entry", Ok(()));
    metrics.client.contact(UNIX_EPOCH + Duration::from_secs(5));
    metrics.client.watch_failed(Resource::Nodes);
    metrics.plugins(&[account("guard")]);
    metrics.rounds.reported(&[("DecisionClamped", 1)].into());
    metrics.rounds.warned(&[("NoNode", 1)].into());
    metrics.rounds.turned(std::time::SystemTime::now());
    metrics.sampled(1, 0, Duration::from_millis(1));
    let all = families(&metrics.text());
    let own: BTreeSet<&str> = OWN.iter().map(|(name, ..)| *name).collect();
    let missing: Vec<_> =
        all.keys().filter(|name| name.starts_with("weir_") && !own.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    for (name, kind, labels) in OWN {
        let family = all.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(family.kind, kind, "{name}");
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
        let (series, _) = &family.series[0];
        let mut names: Vec<&str> = series
            .split_once('{')
            .map(|(_, labels)| labels.trim_end_matches('}').split(',').map(|l| l.split('=').next().unwrap()))
            .into_iter()
            .flatten()
            .collect();
        names.retain(|label| *label != "le");
        assert_eq!(names, labels, "{name}");
    }
    let bounds = [0.0001, 0.0004, 0.0016, 0.0064, 0.0256, 0.1024, 0.4096, 1.6384, 6.5536, 26.2144];
    for bound in bounds {
        let series = format!(r#"weir_round_step_duration_seconds_bucket{{step="apply",le="{bound}"}}"#);
        assert_eq!(value(&metrics, &series), Some(1.0), "{series}");
    }
}

/// A renamed metric would silence an alert.
#[test]
fn the_alerts_and_the_dashboard_use_these_names() {
    let files = [
        include_str!("../../../install/monitoring/rules.yaml"),
        include_str!("../../../install/monitoring/rules.test.yaml"),
        include_str!("../../../install/monitoring/dashboard.json"),
        include_str!("../../../install/monitoring/RUNBOOK.md"),
    ];
    for text in files {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("weir_")) {
            let name = word.trim_end_matches("_bucket");
            assert!(OWN.iter().any(|(own, ..)| *own == name), "{word}");
        }
    }
}

#[test]
fn the_build_and_the_process() {
    let metrics = metrics();
    let build = r#"kubernetes_build_info{build_date="2025-10-09T08:53:20Z",compiler="rustc 1.95.0",git_commit="abc",git_tree_state="",git_version="v0.1.0",go_version="",major="0",minor="1",platform="linux/amd64"}"#;
    assert_eq!(value(&metrics, build), Some(1.0));
    let resident = value(&metrics, "process_resident_memory_bytes").unwrap();
    let virtual_memory = value(&metrics, "process_virtual_memory_bytes").unwrap();
    assert!(resident > 1e5 && resident < virtual_memory, "{resident} {virtual_memory}");
    let (open, most) = (value(&metrics, "process_open_fds"), value(&metrics, "process_max_fds"));
    assert!(open >= Some(3.0) && most >= open, "{open:?} {most:?}");
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let start = value(&metrics, "process_start_time_seconds").unwrap();
    assert!((now - 3600.0..now + 60.0).contains(&start), "{start} and it is {now}");
    assert!(value(&metrics, "process_cpu_seconds_total").is_some());
}

#[test]
fn what_the_kernel_was_asked_never_falls() {
    let metrics = metrics();
    metrics.rounds.kernel_work(KernelWork { messages: 10, sends: 4, processes: 2 });
    metrics.rounds.kernel_work(KernelWork { messages: 12, sends: 4, processes: 2 });
    metrics.rounds.kernel_work(KernelWork { messages: 3, sends: 5, processes: 2 });
    assert_eq!(value(&metrics, "weir_kernel_messages_total"), Some(15.0));
    assert_eq!(value(&metrics, "weir_kernel_sends_total"), Some(5.0));
    assert_eq!(value(&metrics, "weir_kernel_processes_total"), Some(2.0));
}

/// A reloaded plugin starts new counts; the exported ones continue.
#[test]
fn accounts_of_plugins_go_on_over_a_reload() {
    let metrics = metrics();
    metrics.plugins(&[account("guard"), account("other")]);
    metrics.plugins(&[account("guard"), account("other")]);
    assert_eq!(value(&metrics, r#"weir_plugin_calls_total{plugin="guard"}"#), Some(10.0));
    assert_eq!(value(&metrics, r#"weir_plugin_seconds_total{plugin="guard"}"#), Some(1.5));
    assert_eq!(value(&metrics, r#"weir_plugin_impure{plugin="guard"}"#), Some(1.0));

    let anew = PluginMetrics {
        calls: 3,
        asked: 250,
        failures: [("trap", 1)].into(),
        time: Duration::from_millis(500),
        peak_memory: 4096,
        is_impure: false,
        condition: PluginCondition::Suspended,
        ..account("guard")
    };
    metrics.plugins(&[anew]);
    for (series, expected) in [
        (r#"weir_plugin_calls_total{plugin="guard"}"#, Some(13.0)),
        // All counts are new, including those that are larger than before.
        (r#"weir_plugin_asked_total{plugin="guard"}"#, Some(450.0)),
        (r#"weir_plugin_failures_total{plugin="guard",reason="deadline"}"#, Some(2.0)),
        (r#"weir_plugin_failures_total{plugin="guard",reason="trap"}"#, Some(2.0)),
        (r#"weir_plugin_seconds_total{plugin="guard"}"#, Some(2.0)),
        (r#"weir_plugin_peak_memory_bytes{plugin="guard"}"#, Some(4096.0)),
        (r#"weir_plugin_impure{plugin="guard"}"#, Some(0.0)),
        (r#"weir_plugin_condition{condition="ready",plugin="guard"}"#, Some(0.0)),
        (r#"weir_plugin_condition{condition="suspended",plugin="guard"}"#, Some(1.0)),
        (r#"weir_plugin_condition{condition="given-up",plugin="guard"}"#, Some(0.0)),
        (r#"weir_plugin_calls_total{plugin="other"}"#, None),
    ] {
        assert_eq!(value(&metrics, series), expected, "{series}");
    }
    assert!(!metrics.text().contains(r#"plugin="other""#));
    metrics.plugins(&[]);
    let left = metrics.text();
    assert!(!left.contains(r#"plugin="guard""#), "{left}");
}

#[test]
fn reloads_are_counted_and_what_is_not_in_use_is_shown_until_it_is() {
    let metrics = metrics();
    let expect = |[refused, held, broken]: [f64; 3]| {
        for (result, expected) in [("refused", refused), ("held", held), ("broken", broken)] {
            let series = format!(r#"weir_plugins_not_taken{{result="{result}"}}"#);
            assert_eq!(value(&metrics, &series), Some(expected), "{series}");
        }
    };
    expect([0.0, 0.0, 0.0]);
    metrics.refused(2);
    metrics.reloaded(ReloadResult::Held);
    expect([2.0, 1.0, 0.0]);
    metrics.reloaded(ReloadResult::Refused);
    expect([2.0, 1.0, 0.0]);
    metrics.reloaded(ReloadResult::Broken);
    expect([2.0, 0.0, 1.0]);
    metrics.refused(0);
    metrics.reloaded(ReloadResult::Taken);
    expect([0.0, 0.0, 0.0]);
    assert_eq!(value(&metrics, r#"weir_plugin_reloads_total{result="held"}"#), Some(1.0));
    assert_eq!(value(&metrics, r#"weir_plugin_reloads_total{result="refused"}"#), Some(1.0));
}

#[test]
fn reports_are_shown_while_they_last() {
    let metrics = metrics();
    let of = |reason: &str| value(&metrics, &format!(r#"weir_reported_services{{reason="{reason}"}}"#));
    metrics.rounds.reported(&[("DecisionClamped", 3), ("PolicyFailed", 1)].into());
    assert_eq!((of("DecisionClamped"), of("PolicyFailed"), of("ClosedToAll")), (Some(3.0), Some(1.0), None));
    metrics.rounds.reported(&[("DecisionClamped", 2)].into());
    assert_eq!((of("DecisionClamped"), of("PolicyFailed")), (Some(2.0), Some(0.0)));
}

/// The text is read more often than anything happens.
#[test]
fn the_client_is_asked_when_the_text_is_read() {
    let metrics = metrics();
    let seconds = std::sync::atomic::AtomicU64::new(5);
    metrics.before_text(move |client| {
        let at = seconds.fetch_add(60, std::sync::atomic::Ordering::Relaxed);
        client.contact(UNIX_EPOCH + Duration::from_secs(at));
    });
    for expected in [5.0, 65.0] {
        assert_eq!(value(&metrics, "weir_api_last_contact_timestamp_seconds"), Some(expected));
    }
}

#[test]
fn samples_are_counted() {
    let metrics = metrics();
    metrics.sampled(12, 1, Duration::from_millis(2));
    metrics.sampled(3, 0, Duration::from_millis(2));
    assert_eq!(value(&metrics, r#"weir_samples_total{result="read"}"#), Some(15.0));
    assert_eq!(value(&metrics, r#"weir_samples_total{result="failed"}"#), Some(1.0));
    assert_eq!(value(&metrics, "weir_sampling_seconds_total"), Some(0.004));
}

#[test]
fn requests_without_an_answer() {
    let metrics = metrics();
    metrics.client.requested(RequestOutcome::Error, "GET", "h:6443", 1);
    let series = r#"rest_client_requests_total{code="<error>",host="h:6443",method="GET"}"#;
    assert_eq!(value(&metrics, series), Some(1.0));
}
