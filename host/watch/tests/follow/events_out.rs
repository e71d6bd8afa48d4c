//! Kubernetes Events as they arrive.

use std::time::Duration;

use serde_json::Value;
use weir_api_server::{ApiServer, Collection, Fault, Kind};
use weir_watch::{Note, Rate, Regarding, Severity};

use crate::follower::{Follower, settings};

const EVENTS: Collection = Collection::Events;

fn note(name: &str) -> Note {
    Note {
        controller: "weir",
        regarding: Regarding {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        },
        severity: Severity::Warning,
        reason: "FailedToStartServiceHealthcheck".to_owned(),
        action: "Listen".to_owned(),
        text: "port 30000 is taken".to_owned(),
    }
}

#[test]
fn a_note_becomes_an_event_and_its_repetition_a_series() {
    let server = ApiServer::start();
    let follower = Follower::of(&server);
    follower.recorder.record(note("web"));
    follower.recorder.record(note("web"));
    let created = &server.wait_for(Kind::Create, EVENTS, 1)[0];
    let event: Value = serde_json::from_str(&created.body).unwrap();
    assert_eq!(created.path, "/apis/events.k8s.io/v1/namespaces/shop/events");
    assert_eq!(created.headers["content-type"], "application/json");
    assert_eq!(event["reportingInstance"], "weir-node-1");
    let patched = &server.wait_for(Kind::Patch, EVENTS, 1)[0];
    assert_eq!(patched.path, format!("{}/{}", created.path, event["metadata"]["name"].as_str().unwrap()));
    assert_eq!(patched.headers["content-type"], "application/merge-patch+json");
    server.wait_for_objects(EVENTS, |events| events[0]["series"]["count"] == 2);
}

#[test]
fn a_count_that_was_not_written_at_once_is_written_later() {
    let server = ApiServer::start();
    let mut settings = settings(&server);
    settings.events.refresh = Duration::from_millis(50);
    let follower = Follower::with(settings);
    for _ in 0..5 {
        follower.recorder.record(note("web"));
    }
    server.wait_for_objects(EVENTS, |events| events.len() == 1 && events[0]["series"]["count"] == 5);
}

#[test]
fn an_event_that_is_refused_is_left_out_and_the_next_is_not() {
    for fault in [Fault::Status { code: 403, retry_after: None }, Fault::HangUp] {
        let server = ApiServer::start();
        server.script(Kind::Create, EVENTS, fault);
        let follower = Follower::of(&server);
        follower.recorder.record(note("web"));
        server.wait_for(Kind::Create, EVENTS, 1);
        follower.recorder.record(note("web"));
        server.wait_for(Kind::Create, EVENTS, 2);
        assert_eq!(follower.handle.account().figures().events_dropped, 1);
    }
}

#[test]
fn a_series_whose_event_was_deleted_begins_anew() {
    let server = ApiServer::start();
    let follower = Follower::of(&server);
    server.script(Kind::Patch, EVENTS, Fault::Status { code: 404, retry_after: None });
    for _ in 0..3 {
        follower.recorder.record(note("web"));
    }
    server.wait_for(Kind::Create, EVENTS, 2);
}

#[test]
fn notes_that_no_one_takes_block_no_one() {
    let server = ApiServer::start();
    server.script(Kind::Create, EVENTS, Fault::Silence);
    let mut settings = settings(&server);
    settings.events.overall = Rate { per_second: 0.0, burst: 1 };
    let mut follower = Follower::with(settings);
    for i in 0..1000 {
        follower.recorder.record(note(&i.to_string()));
    }
    assert!(follower.handle.account().figures().events_dropped >= 700);
    follower.expect(&["services: Current"]);
    assert!(!follower.has_news());
}
