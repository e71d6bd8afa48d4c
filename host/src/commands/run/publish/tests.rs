//! Metrics and Events of a daemon that has not had a round.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, UNIX_EPOCH};

use weir_api_server::{ApiServer, Collection, PATIENCE};
use weir_core::objects::ObjectName;
use weir_policy::Replacement;
use weir_watch::{Access, Handle, Message};

use super::*;
use crate::inputs;

const CONTACT: &str = "weir_api_last_contact_timestamp_seconds";

struct Scene {
    publisher: Publisher,
    _handle: Handle,
    _messages: Receiver<Message>,
}

impl Scene {
    fn of(server: &ApiServer) -> Scene {
        let access = Access { kubeconfig: None, master: Some(server.url()) };
        let (sender, messages) = sync_channel(64);
        let (handle, recorder) =
            weir_watch::spawn(weir_watch::Settings::new(access, "node1"), sender, || {}).unwrap();
        let settings = inputs::example(&[]);
        let (health, account) = (Health::new(Duration::ZERO), Arc::clone(handle.account()));
        let board = Board::new(&settings, &Family::BOTH, String::new(), None, health.clone());
        let (recorder, account) = (Some(recorder), Some(account));
        let publisher =
            Publisher::start(&settings, &Family::BOTH, recorder, account, health, &board, false).unwrap();
        Scene { publisher, _handle: handle, _messages: messages }
    }

    fn value(&self, series: &str) -> Option<f64> {
        let text = self.publisher.metrics.text();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits for a value of a series.
    fn wait_for(&self, series: &str, is_right: impl Fn(f64) -> bool) {
        let start = Instant::now();
        while !self.value(series).is_some_and(&is_right) {
            assert!(start.elapsed() < PATIENCE, "{series} is {:?}", self.value(series));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn refused(result: &str) -> String {
    format!("weir_plugins_not_taken{{result=\"{result}\"}}")
}

#[test]
fn a_policy_that_is_refused_at_the_start_has_a_metric_and_an_event() {
    let server = ApiServer::start();
    let scene = Scene::of(&server);
    scene.publisher.begin(&["--policy p.yaml: cannot be read".to_owned()]);
    assert_eq!(scene.value(&refused("refused")), Some(1.0));
    let reloads = "weir_plugin_reloads_total{result=\"refused\"}";
    assert_eq!(scene.value(reloads), Some(0.0));
    server.wait_for_objects(Collection::Events, |events| {
        let told = |event: &serde_json::Value| {
            event["reason"] == "PolicyRefused" && event["note"] == "--policy p.yaml: cannot be read"
        };
        events.iter().any(told)
    });

    // Of two changed files, only the last one counts.
    let news = ["--policy p.yaml: cannot be read".to_owned(), "guard: no component".to_owned()];
    scene.publisher.reload_refused(&news, 1);
    assert_eq!((scene.value(&refused("refused")), scene.value(reloads)), (Some(1.0), Some(2.0)));
    scene.publisher.replaced(&Replacement::Broken(vec!["guard".to_owned()]));
    assert_eq!(scene.value(&refused("broken")), Some(1.0));
    scene.publisher.reload_refused(&[], 0);
    scene.publisher.replaced(&Replacement::Taken { changed: 0, services: 0 });
    assert_eq!((scene.value(&refused("refused")), scene.value(&refused("broken"))), (Some(0.0), Some(0.0)));
}

#[test]
fn contact_with_the_api_server_is_told_without_a_round() {
    let server = ApiServer::start();
    let scene = Scene::of(&server);
    scene.wait_for("rest_client_requests_total", |requests| requests > 0.0);
    for collection in [Collection::Services, Collection::EndpointSlices, Collection::Nodes] {
        server.wait_for_open_watch(collection);
    }
    std::thread::sleep(Duration::from_millis(500));
    // Milliseconds are rounded.
    let before = now() - 0.1;
    server.send_bookmark(Collection::Services);
    scene.wait_for(CONTACT, |at| at > before && at <= now());
}

#[test]
fn silence_from_the_start_is_silence_since_the_start() {
    let server = ApiServer::start();
    server.stop();
    let scene = Scene::of(&server);
    let start = scene.value(CONTACT).unwrap();
    assert!((now() - 60.0..=now()).contains(&start), "{start}");
    std::thread::sleep(Duration::from_secs(1));
    let later = scene.value(CONTACT).unwrap();
    assert!((later - start).abs() < 0.5, "{start} {later}");
}

#[test]
fn services_with_reports_are_counted_by_reason() {
    let scene = Scene::of(&ApiServer::start());
    let example = Report {
        service: ObjectName::new("shop", "web"),
        reason: Reason::DecisionClamped,
        message: String::new(),
    };
    let reports = [(Reason::DecisionClamped, Reported { services: 3, example })].into();
    scene.publisher.reported(&reports);
    let series = "weir_reported_services{reason=\"DecisionClamped\"}";
    assert_eq!(scene.value(series), Some(3.0));
    assert_eq!(scene.value("weir_reported_services{reason=\"PolicyFailed\"}"), Some(0.0));
    scene.publisher.reported(&BTreeMap::new());
    assert_eq!(scene.value(series), Some(0.0));
}

#[test]
fn warnings_are_counted_by_reason_until_they_end() {
    let scene = Scene::of(&ApiServer::start());
    let series = format!("weir_warnings{{reason=\"{}\"}}", Warning::NoNetworks.reason());
    scene.publisher.warned(&[Warning::NoNetworks, Warning::NodesUnlisted]);
    assert_eq!(scene.value(&series), Some(1.0));
    scene.publisher.warned(&[Warning::NodesUnlisted]);
    assert_eq!(scene.value(&series), Some(0.0));
}

/// A renamed reason would silence an alert.
#[test]
fn the_alerts_use_these_reasons() {
    let rules = include_str!("../../../../install/monitoring/rules.yaml");
    let named = |start: &str| -> BTreeSet<&str> {
        rules.split(start).skip(1).filter_map(|text| text.split('"').next()).collect()
    };
    assert_eq!(named("reason=\""), ALERTED.map(Reason::as_str).into());
    assert_eq!(named("reason!=\""), [Warning::ManyNodes { nodes: 0, most: 0 }.reason()].into());
}
