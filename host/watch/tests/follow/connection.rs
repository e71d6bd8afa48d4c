//! Servers that refuse, hang, disappear, and require other credentials.

use std::fs;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use weir_api_server::{ApiServer, Collection, Fault, Kind, PATIENCE, StreamedLists};
use weir_watch::{Access, Message, Rate, Resource, Standing, spawn};

use crate::follower::{Follower, settings};
use crate::objects::service;

const SERVICES: Collection = Collection::Services;

fn server() -> ApiServer {
    let server = ApiServer::start();
    server.put(service("web", 80));
    server
}

fn refused(code: u16) -> Fault {
    Fault::Status { code, retry_after: None }
}

#[test]
fn who_asks_is_reported() {
    let server = server();
    let _follower = Follower::current(&server);
    let asked = &server.wait_for(Kind::StreamedList, SERVICES, 1)[0];
    assert_eq!(asked.headers["user-agent"], concat!("weir/", env!("CARGO_PKG_VERSION")));
    assert_eq!(asked.headers["accept"], "application/json");
}

#[test]
fn a_server_that_fails_is_asked_again_until_it_does_not() {
    for code in [500, 503, 403, 429] {
        let server = server();
        for _ in 0..3 {
            server.script(Kind::StreamedList, SERVICES, refused(code));
        }
        let mut follower = Follower::of(&server);
        follower.expect(&["service shop/web", "services: Current"]);
        assert_eq!(follower.handle.account().figures().failures, 3);
        follower.expect_convergence(&server);
    }
}

#[test]
fn a_server_that_names_a_time_is_left_alone_for_so_long() {
    let server = server();
    server.script(Kind::StreamedList, SERVICES, Fault::Status { code: 429, retry_after: Some(1) });
    let mut follower = Follower::of(&server);
    follower.expect(&["service shop/web", "services: Current"]);
    let asked = server.wait_for(Kind::StreamedList, SERVICES, 2);
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
}

#[test]
fn a_watch_that_is_refused_leaves_what_is_known() {
    let server = server();
    let mut follower = Follower::current(&server);
    for _ in 0..3 {
        server.script(Kind::Watch, SERVICES, refused(500));
    }
    server.end_watches(SERVICES, weir_api_server::WatchEnd::Clean);
    follower.expect(&["services: Stale", "services: Current"]);
    follower.expect_convergence(&server);
    assert_eq!(follower.handle.account().figures().lists, 1);
}

#[test]
fn an_outage_leaves_what_is_known_and_ends_with_what_changed_meanwhile() {
    let server = server();
    server.put(service("goes", 80));
    let mut follower = Follower::current(&server);
    server.stop();
    follower.expect(&["services: Stale"]);
    follower.handle.account().figures().since_contact.unwrap();
    server.put(service("comes", 80));
    server.delete(SERVICES, "shop", "goes");
    server.compact();
    server.resume();
    follower.until_standing(Resource::Services, Standing::Current);
    follower.told.sort();
    assert_eq!(follower.told, ["service shop/comes", "service shop/goes gone", "services: Current"]);
    follower.told.clear();
    follower.expect_convergence(&server);
}

#[test]
fn a_connection_that_is_closed_without_an_answer_is_a_failure() {
    let server = server();
    server.script(Kind::StreamedList, SERVICES, Fault::HangUp);
    let mut follower = Follower::of(&server);
    follower.expect(&["service shop/web", "services: Current"]);
}

#[test]
fn a_server_that_never_answers_is_given_up_and_asked_anew() {
    for kind in [Kind::StreamedList, Kind::List, Kind::Watch] {
        let server = server();
        if kind != Kind::StreamedList {
            server.set_streamed_lists(StreamedLists::Refused);
        }
        server.script(kind, SERVICES, Fault::Silence);
        let mut settings = settings(&server);
        settings.timing.answer = Duration::from_millis(200);
        let mut follower = Follower::with(settings);
        follower.until_standing(Resource::Services, Standing::Current);
        if kind == Kind::Watch {
            follower.until_standing(Resource::Services, Standing::Stale);
            follower.until_standing(Resource::Services, Standing::Current);
        }
        follower.told.clear();
        follower.expect_convergence(&server);
    }
}

#[test]
fn a_token_that_was_replaced_is_read_again() {
    let server = server();
    server.require_token("first");
    let folder = tempfile::tempdir().unwrap();
    let (token, kubeconfig) = (folder.path().join("token"), folder.path().join("kubeconfig"));
    // With an editor's final newline.
    fs::write(&token, "first\n").unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: '{}'}}}}]\nusers: [{{name: u, user: {{tokenFile: token}}}}]\n",
        server.url()
    );
    fs::write(&kubeconfig, text).unwrap();
    let mut settings = settings(&server);
    settings.access = Access { kubeconfig: Some(kubeconfig), master: None };
    let mut follower = Follower::with(settings);
    follower.expect(&["service shop/web", "services: Current"]);

    server.require_token("second");
    server.end_watches(SERVICES, weir_api_server::WatchEnd::Clean);
    follower.expect(&["services: Stale"]);
    fs::write(&token, "second\n").unwrap();
    follower.expect(&["services: Current"]);
    follower.expect_convergence(&server);
}

#[test]
fn requests_keep_their_rate_and_pages_do_not_count() {
    let server = ApiServer::start();
    server.set_streamed_lists(StreamedLists::Refused);
    for i in 0..1600 {
        server.put(service(&format!("s-{i}"), 80));
    }
    let mut settings = settings(&server);
    // The refused streamed list and the list; the watch has to wait.
    settings.requests = Rate { per_second: 1.0, burst: 2 };
    let mut follower = Follower::with(settings);
    follower.until_standing(Resource::Services, Standing::Current);
    server.wait_for(Kind::Page, SERVICES, 3);
    let list = server.wait_for(Kind::List, SERVICES, 1)[0].at;
    let watch = server.wait_for(Kind::Watch, SERVICES, 1)[0].at;
    assert!(watch - list >= Duration::from_millis(500), "{:?}", watch - list);
}

#[test]
fn a_busy_receiver_loses_nothing() {
    let server = server();
    let mut follower = Follower::with_room(settings(&server), 2);
    follower.expect(&["service shop/web", "services: Current"]);
    for i in 0..300 {
        server.put(service(&format!("s-{i:03}"), 80));
        if i % 10 == 0 {
            server.send_bookmark(SERVICES);
            std::thread::yield_now();
        }
    }
    server.delete(SERVICES, "shop", "s-000");
    follower.until(|follower| follower.told.iter().any(|line| line.ends_with("gone")));
    assert_eq!(follower.told.len(), 301);
    follower.told.clear();
    follower.expect_convergence(&server);
}

#[test]
fn it_stops_when_it_is_dropped_even_if_no_one_takes_its_messages() {
    let server = server();
    let (sender, receiver) = sync_channel::<Message>(0);
    let (handle, _recorder) = spawn(settings(&server), sender, || {}).unwrap();
    server.wait_for(Kind::StreamedList, SERVICES, 1);
    drop(handle);
    assert!(receiver.recv_timeout(PATIENCE).is_err(), "the sender is gone with the thread");
}

#[test]
fn it_stops_when_the_receiver_is_gone() {
    let server = server();
    let (sender, receiver) = sync_channel::<Message>(1);
    let (handle, _recorder) = spawn(settings(&server), sender, || {}).unwrap();
    drop(receiver);
    let until = std::time::Instant::now() + PATIENCE;
    while handle.is_running() {
        assert!(std::time::Instant::now() < until);
        server.send_bookmark(SERVICES);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_kubeconfig_that_is_not_there_is_reported_before_anything_starts() {
    let server = server();
    let mut settings = settings(&server);
    settings.access = Access { kubeconfig: Some("/nonexistent".into()), master: None };
    let error = spawn(settings, sync_channel(1).0, || {}).unwrap_err();
    assert!(error.to_string().starts_with("the kubeconfig /nonexistent cannot be used"), "{error}");
}
