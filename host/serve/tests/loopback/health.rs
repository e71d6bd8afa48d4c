//! `/healthz` and `/livez` as seen by probes.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;
use weir_core::net::Family;
use weir_serve::{BindFailure, Health, Moment, NodeState, Options, StartError};

use crate::client::{Scene, ask, eventually, get, options};

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[test]
fn probes_follow_the_node_and_the_loop() {
    let scene = Scene::with(options(), Health::new(Duration::ZERO));
    let address = scene.health_address();
    let unseen = get(address, "/healthz");
    assert_eq!(unseen.status, 503);
    assert_eq!(json(&unseen.body)["nodeEligible"], false);
    assert_eq!(json(&unseen.body)["lastUpdated"], "0001-01-01T00:00:00Z");

    scene.health.node(NodeState::Present);
    scene.health.updated(Family::V4, Moment::now());
    let well = get(address, "/healthz?whatever");
    assert_eq!(well.status, 200);
    assert_eq!(well.header("content-type"), "application/json");
    assert_eq!(well.header("x-content-type-options"), "nosniff");
    assert_eq!(well.header("content-length"), well.body.len().to_string());
    let body = json(&well.body);
    assert_eq!(body["lastUpdated"], body["currentTime"]);
    assert_eq!(body["status"]["IPv4"]["healthy"], true);
    assert!(body["status"].get("IPv6").is_none());

    // With a period of 0, queued changes are late at once.
    scene.health.queued(Family::V4, Moment::now());
    for path in ["/healthz", "/livez"] {
        let late = get(address, path);
        assert_eq!((late.status, late.header("content-type")), (503, "application/json"));
        assert_eq!(json(&late.body)["status"]["IPv4"]["healthy"], false);
    }
    scene.health.updated(Family::V4, Moment::now());
    scene.health.node(NodeState::Leaving);
    assert_eq!(get(address, "/healthz").status, 503);
    let alive = get(address, "/livez");
    assert_eq!(alive.status, 200);
    assert!(json(&alive.body).get("nodeEligible").is_none());

    let text = scene.metrics.text();
    for line in [
        r#"kubeproxy_proxy_healthz_total{code="200"} 1"#,
        r#"kubeproxy_proxy_healthz_total{code="503"} 3"#,
        r#"kubeproxy_proxy_livez_total{code="200"} 1"#,
        r#"kubeproxy_proxy_livez_total{code="503"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn any_method_and_no_other_path() {
    let scene = Scene::new();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        assert_eq!(ask(scene.health_address(), method, "/livez").status, 200, "{method}");
    }
    let head = ask(scene.health_address(), "HEAD", "/livez");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for path in ["/", "/healthz/", "/healthz/ping", "/livez/x", "/metrics", "/configz", "/Healthz", "*"] {
        let missing = get(scene.health_address(), path);
        assert_eq!((missing.status, missing.body.as_str()), (404, "404 page not found\n"), "{path}");
        assert_eq!(missing.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(missing.header("x-content-type-options"), "nosniff");
    }
}

/// kube-proxy's default is 0.0.0.0:10256, and it answers over IPv6.
#[test]
fn the_unspecified_address_is_both_families() {
    for unspecified in ["0.0.0.0:0", "[::]:0"] {
        let scene = Scene::with(
            Options { health: vec![unspecified.parse().unwrap()], ..options() },
            Health::new(Duration::from_secs(30)),
        );
        let port = scene.health_address().port();
        for client in ["127.0.0.1", "::1"] {
            let address = (client.parse::<std::net::IpAddr>().unwrap(), port).into();
            assert_eq!(get(address, "/livez").status, 200, "{client} on {unspecified}");
        }
    }
}

#[test]
fn several_addresses_or_none() {
    let addresses = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let scene = Scene::with(
        Options { health: addresses, metrics: vec![], ..options() },
        Health::new(Duration::from_secs(30)),
    );
    assert_eq!(scene.server.metrics_addresses(), []);
    let addresses = scene.server.health_addresses();
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        assert_eq!(get(address, "/livez").status, 200);
    }
}

#[test]
fn an_address_that_is_taken_fails_the_start_if_that_is_asked_for() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = vec![other.local_addr().unwrap()];
    let start = |options| {
        let metrics = weir_serve::Metrics::new(&weir_serve::BuildInfo::default());
        weir_serve::Server::start(options, Health::new(Duration::from_secs(30)), metrics)
    };
    let failure = start(Options { health: taken.clone(), ..options() }).err().unwrap();
    assert!(matches!(&failure, StartError::Health(error) if error.address == taken[0]), "{failure}");
    let failure = start(Options { metrics: taken.clone(), ..options() }).err().unwrap();
    assert!(matches!(&failure, StartError::Metrics(error) if error.address == taken[0]), "{failure}");
}

#[test]
fn an_address_that_is_taken_is_served_when_it_is_free() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let bind_failure = BindFailure::Retry(Duration::from_millis(20));
    let scene = Scene::with(
        Options { health: vec![taken], bind_failure, ..options() },
        Health::new(Duration::from_secs(30)),
    );
    assert_eq!(scene.server.health_addresses(), []);
    assert_eq!(get(scene.metrics_address(), "/healthz").status, 200);
    drop(other);
    eventually("the address is listened on", || scene.server.health_addresses() == [taken]);
    assert_eq!(get(taken, "/livez").status, 200);
}

#[test]
fn no_one_listens_after_the_end() {
    let scene = Scene::new();
    let (health, metrics) = (scene.health_address(), scene.metrics_address());
    assert_eq!(get(health, "/livez").status, 200);
    drop(scene);
    assert!(std::net::TcpStream::connect(health).is_err());
    assert!(std::net::TcpStream::connect(metrics).is_err());
}
