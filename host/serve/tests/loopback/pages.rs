//! The pages of the metrics server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weir_serve::{ContentType, Health, Options, Page};

use crate::client::{Scene, ask, get, options};

const TEXT: &str = "text/plain; charset=utf-8";

#[test]
fn healthz_has_nothing_to_do_with_synchronising() {
    let scene = Scene::new();
    let address = scene.metrics_address();
    for (target, body) in [
        ("/healthz", "ok"),
        ("/healthz?exclude=ping", "ok"),
        ("/healthz?verbose", "[+]ping ok\nhealthz check passed\n"),
        ("/healthz?verbose=false", "[+]ping ok\nhealthz check passed\n"),
        ("/healthz?verbose&exclude=ping", "[+]ping excluded: ok\nhealthz check passed\n"),
        (
            "/healthz?verbose&exclude=log&exclude=ping&exclude=etc%20d",
            "[+]ping excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"etc d\",\"log\"\n\
             healthz check passed\n",
        ),
    ] {
        let reply = get(address, target);
        assert_eq!((reply.status, reply.body.as_str()), (200, body), "{target}");
        assert_eq!(reply.header("content-type"), TEXT);
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
    let ping = get(address, "/healthz/ping");
    assert_eq!((ping.status, ping.body.as_str(), ping.header("content-type")), (200, "ok", TEXT));
}

#[test]
fn mode_and_configuration() {
    let scene = Scene::new();
    let mode = get(scene.metrics_address(), "/proxyMode");
    assert_eq!((mode.status, mode.body.as_str(), mode.header("content-type")), (200, "ipvs", TEXT));
    assert_eq!(mode.header("x-content-type-options"), "nosniff");
    let configuration = get(scene.metrics_address(), "/configz");
    assert_eq!(configuration.status, 200);
    assert_eq!(configuration.header("content-type"), "application/json");
    assert_eq!(
        configuration.body,
        r#"{"kubeproxy.config.k8s.io":{"kind":"KubeProxyConfiguration","mode":"ipvs"}}"#
    );
}

#[test]
fn metrics_are_those_of_the_handles() {
    let scene = Scene::new();
    scene.metrics.proxy.endpoint_changes(7);
    let reply = get(scene.metrics_address(), "/metrics");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(reply.body.contains("\nkubeproxy_sync_proxy_rules_endpoint_changes_total 7\n"), "{}", reply.body);
}

#[test]
fn checks_are_counted_until_they_are_reset() {
    let scene = Scene::new();
    let address = scene.metrics_address();
    get(address, "/healthz");
    get(address, "/healthz?verbose");
    get(address, "/healthz?exclude=ping");
    get(address, "/healthz/ping");
    let body = get(address, "/metrics/slis").body;
    let checks = r#"kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} 2"#;
    let check = r#"kubernetes_healthcheck{name="ping",type="healthz"} 1"#;
    for line in [
        "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.",
        "# TYPE kubernetes_healthcheck gauge",
        check,
        "# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.",
        "# TYPE kubernetes_healthchecks_total counter",
        checks,
        "# HELP process_start_time_seconds [ALPHA] Start time of the process since unix epoch in seconds.",
    ] {
        assert!(body.lines().any(|l| l == line), "{line} is not in\n{body}");
    }
    assert!(!body.contains("kubeproxy_"));
    assert_eq!(ask(address, "DELETE", "/metrics/slis").body, "metrics reset\n");
    assert!(!get(address, "/metrics/slis").body.contains("kubernetes_healthcheck"));
}

/// They are made for each request, are only served next to the metrics, and may load and run nothing in a browser.
#[test]
fn pages_of_the_caller_are_made_when_they_are_asked_for() {
    let asked = Arc::new(AtomicU32::new(0));
    let page = |path, content| {
        let asked = Arc::clone(&asked);
        let make = Arc::new(move || format!("asked {} times", asked.fetch_add(1, Ordering::Relaxed)));
        Page { path, content, make }
    };
    let pages = vec![page("/status", ContentType::Html), page("/status.json", ContentType::Json)];
    let scene = Scene::with(Options { pages, ..options() }, Health::new(Duration::from_secs(30)));
    let html = get(scene.metrics_address(), "/status?x=y");
    assert_eq!((html.status, html.body.as_str()), (200, "asked 0 times"));
    assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(html.header("x-content-type-options"), "nosniff");
    assert_eq!(html.header("content-security-policy"), "default-src 'none'; style-src 'unsafe-inline'");
    let json = get(scene.metrics_address(), "/status.json");
    assert_eq!((json.body.as_str(), json.header("content-type")), ("asked 1 times", "application/json"));
    for path in ["/status/", "/status.jso"] {
        assert_eq!(get(scene.metrics_address(), path).status, 404, "{path}");
    }
    assert_eq!(get(scene.health_address(), "/status").status, 404, "the health port is open to everyone");
}

/// Profiling and debugging pages do not exist, and health answers are on another port.
#[test]
fn no_other_page() {
    let scene = Scene::new();
    for path in
        ["/", "/livez", "/metrics/", "/metrics/x", "/debug/pprof/", "/debug/flags/v", "/flagz", "/statusz"]
    {
        let missing = get(scene.metrics_address(), path);
        assert_eq!((missing.status, missing.body.as_str()), (404, "404 page not found\n"), "{path}");
    }
}
