//! Watches, and everything that ends them.

use std::time::Duration;

use serde_json::{Value, json};
use weir_api_server::{ApiServer, Collection, Fault, Kind, WatchEnd};
use weir_watch::{Resource, Standing};

use crate::follower::{Follower, settings};
use crate::objects::{labelled, service};

const SERVICES: Collection = Collection::Services;

fn server() -> ApiServer {
    let server = ApiServer::start();
    server.put(service("web", 80));
    server
}

fn line(change: &str, object: Value, version: u64) -> Value {
    let mut object = object;
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    json!({"type": change, "object": object})
}

#[test]
fn changes_are_reported_as_they_happen() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.put(service("db", 5432));
    follower.expect(&["service shop/db"]);
    server.put(service("db", 5433));
    follower.expect(&["service shop/db"]);
    server.delete(SERVICES, "shop", "db");
    follower.expect(&["service shop/db gone"]);
    follower.expect_convergence(&server);
}

#[test]
fn a_change_that_means_nothing_to_weir_is_not_reported() {
    let server = server();
    let mut follower = Follower::current(&server);
    let mut touched = service("web", 80);
    touched["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    server.put(touched);
    follower.expect_convergence(&server);
}

#[test]
fn a_service_that_is_handed_to_another_proxy_is_gone() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.put(labelled(service("web", 80), "service.kubernetes.io/service-proxy-name", "other"));
    follower.expect(&["service shop/web gone"]);
    server.put(service("web", 80));
    follower.expect(&["service shop/web"]);
}

#[test]
fn a_watch_that_ends_in_time_goes_on_without_a_word() {
    let server = server();
    let mut follower = Follower::current(&server);
    for watches in 1..4 {
        server.end_watches(SERVICES, WatchEnd::Clean);
        server.wait_for(Kind::Watch, SERVICES, watches);
    }
    follower.expect_convergence(&server);
    let figures = follower.handle.account().figures();
    assert_eq!((figures.lists, figures.failures, figures.watches), (1, 0, 4));
    let made = follower.handle.account().requests();
    let counted: Vec<_> =
        made.iter().map(|(request, n)| (request.method.as_str(), request.status, *n)).collect();
    assert_eq!(counted, [("GET", Some(200), made.values().sum())], "{made:?}");
    assert!(made.keys().all(|request| server.url().ends_with(&request.host)), "{made:?}");
    assert!(made.values().sum::<u64>() >= 4, "{made:?}");
}

#[test]
fn what_happens_between_two_watches_is_reported_without_a_list() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.wait_for_open_watch(SERVICES);
    server.script(Kind::Watch, SERVICES, Fault::Held);
    server.end_watches(SERVICES, WatchEnd::Clean);
    server.wait_for(Kind::Watch, SERVICES, 1);
    server.put(service("db", 5432));
    server.delete(SERVICES, "shop", "web");
    server.release();
    follower.expect(&["service shop/db", "service shop/web gone"]);
    follower.expect_convergence(&server);
    assert_eq!(follower.handle.account().figures().lists, 1);
}

#[test]
fn a_watch_that_breaks_off_in_a_line_is_resumed_where_it_was() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.put(service("db", 5432));
    follower.expect(&["service shop/db"]);
    server.end_watches(SERVICES, WatchEnd::MidLine);
    follower.expect(&["services: Stale", "services: Current"]);
    assert_eq!(server.wait_for(Kind::Watch, SERVICES, 1)[0].parameter("resourceVersion"), "2");
    follower.expect_convergence(&server);
    assert_eq!(follower.handle.account().figures().lists, 1);
}

#[test]
fn a_watch_whose_version_is_too_old_is_followed_by_one_list_that_empties_nothing() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.put(service("db", 5432));
    follower.expect(&["service shop/db"]);
    server.compact();
    server.end_watches(SERVICES, WatchEnd::Expired);
    server.wait_for(Kind::StreamedList, SERVICES, 2);
    follower.expect_convergence(&server);
    let figures = follower.handle.account().figures();
    assert_eq!((figures.lists, figures.expirations, figures.failures), (2, 1, 0));
}

#[test]
fn a_watch_that_is_refused_because_it_is_too_old_is_followed_by_a_list() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.wait_for_open_watch(SERVICES);
    server.script(Kind::Watch, SERVICES, Fault::Held);
    server.end_watches(SERVICES, WatchEnd::Clean);
    server.wait_for(Kind::Watch, SERVICES, 1);
    server.delete(SERVICES, "shop", "web");
    server.compact();
    server.release();
    follower.until(|follower| {
        !follower.told.is_empty() && follower.told.contains(&"service shop/web gone".to_owned())
    });
    follower.until_standing(Resource::Services, Standing::Current);
    follower.told.clear();
    follower.expect_convergence(&server);
}

#[test]
fn an_error_within_a_watch_is_a_failure_and_what_came_before_it_is_reported() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.put(service("db", 5432));
    server.end_watches(SERVICES, WatchEnd::Failed);
    follower.expect(&["service shop/db", "services: Stale", "services: Current"]);
    follower.expect_convergence(&server);
    assert_eq!(follower.handle.account().figures().failures, 1);
}

#[test]
fn bookmarks_move_the_watch_on() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.put(crate::objects::namespace("moves-the-version"));
    server.send_bookmark(SERVICES);
    server.end_watches(SERVICES, WatchEnd::Clean);
    assert_eq!(server.wait_for(Kind::Watch, SERVICES, 1)[0].parameter("resourceVersion"), "2");
    follower.expect_convergence(&server);
}

#[test]
fn repeated_and_late_lines_change_nothing() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.put(service("web", 81));
    follower.expect(&["service shop/web"]);
    server.put(service("db", 5432));
    follower.expect(&["service shop/db"]);
    server.delete(SERVICES, "shop", "db");
    follower.expect(&["service shop/db gone"]);
    server.send_line(SERVICES, line("MODIFIED", service("web", 81), 4));
    server.send_line(SERVICES, line("MODIFIED", service("web", 80), 1));
    server.send_line(SERVICES, line("ADDED", service("db", 5432), 3));
    server.send_line(SERVICES, line("DELETED", service("web", 80), 1));
    follower.expect_convergence(&server);
}

#[test]
fn lines_of_unknown_types_and_without_names_are_left_out() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.send_line(SERVICES, line("RENAMED", service("web", 81), 1));
    server.send_line(SERVICES, json!({"type": "ADDED", "object": {"metadata": {}}}));
    server.send_line(SERVICES, json!({"type": "BOOKMARK", "object": {}}));
    follower.expect_convergence(&server);
    assert_eq!(follower.handle.account().figures().failures, 0);
}

#[test]
fn a_line_that_is_no_json_object_is_a_failure() {
    let server = server();
    let mut follower = Follower::current(&server);
    server.send_line(SERVICES, json!("<html>"));
    follower.expect(&["services: Stale", "services: Current"]);
    follower.expect_convergence(&server);
}

#[test]
fn an_object_that_becomes_invalid_keeps_its_last_good_version() {
    let server = server();
    let mut follower = Follower::current(&server);
    let before = follower.cluster.clone();
    let mut broken = service("web", 80);
    broken["spec"]["ports"] = json!("none");
    server.put(broken);
    follower.until(|follower| !follower.told.is_empty());
    assert!(follower.told[0].starts_with("problem: Service shop/web: spec.ports"), "{:?}", follower.told);
    assert_eq!((follower.told.len(), &follower.cluster), (1, &before));
    follower.told.clear();
    server.compact();
    server.end_watches(SERVICES, WatchEnd::Expired);
    server.wait_for(Kind::StreamedList, SERVICES, 2);
    server.put(service("web", 81));
    follower.expect(&["service shop/web"]);
}

#[test]
fn a_watch_that_is_silent_for_long_is_opened_again_where_it_was() {
    let server = server();
    let mut settings = settings(&server);
    settings.timing.silence = Duration::from_millis(100);
    let mut follower = Follower::with(settings);
    follower.expect(&["service shop/web", "services: Current"]);
    let watches = server.wait_for(Kind::Watch, SERVICES, 2);
    assert!(watches.iter().all(|watch| watch.parameter("resourceVersion") == "1"));
    server.put(service("db", 5432));
    follower.expect(&["service shop/db"]);
    assert_eq!(follower.handle.account().figures().lists, 1);
}

#[test]
fn a_store_that_was_restored_from_a_backup_is_listed_again() {
    let server = server();
    for port in 81..90 {
        server.put(service("db", port));
    }
    let mut follower = Follower::current(&server);
    server.restore(vec![service("web", 80), service("old", 80)]);
    follower.until(|follower| follower.told.iter().any(|line| line.ends_with("gone")));
    assert!(
        follower.told.iter().filter(|line| line.ends_with("gone")).all(|line| line == "service shop/db gone")
    );
    follower.until_standing(Resource::Services, Standing::Current);
    follower.told.clear();
    follower.expect_convergence(&server);
}

#[test]
fn a_watch_that_ends_at_once_without_a_word_is_a_failure() {
    let server = server();
    let mut settings = settings(&server);
    settings.timing.brief = weir_api_server::PATIENCE;
    let mut follower = Follower::with(settings);
    follower.expect(&["service shop/web", "services: Current"]);
    // The first watch started with the list, so it was useful.
    server.end_watches(SERVICES, WatchEnd::Clean);
    server.wait_for(Kind::Watch, SERVICES, 1);
    assert_eq!(follower.handle.account().figures().failures, 0);
    server.end_watches(SERVICES, WatchEnd::Clean);
    follower.expect(&["services: Stale", "services: Current"]);
    follower.expect_convergence(&server);
}
