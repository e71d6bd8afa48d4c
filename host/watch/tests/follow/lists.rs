//! Lists, complete and broken.

use std::time::Duration;

use weir_api_server::{ApiServer, Collection, Fault, Kind, StreamedLists, WatchEnd};
use weir_watch::{Resource, Standing};

use crate::follower::{Follower, settings};
use crate::objects::{service, slice};

const SERVICES: Collection = Collection::Services;

/// A server with this many Services, `s-0000` and so on.
fn server_with(count: usize, streamed_lists: StreamedLists) -> ApiServer {
    let server = ApiServer::start();
    server.set_streamed_lists(streamed_lists);
    for i in 0..count {
        server.put(service(&format!("s-{i:04}"), 80));
    }
    server
}

#[test]
fn a_list_comes_as_one_message() {
    for streamed_lists in [StreamedLists::Offered, StreamedLists::Refused] {
        let server = server_with(3, streamed_lists);
        let mut follower = Follower::of(&server);
        let message = follower.take();
        assert_eq!((message.events.len(), message.standing), (3, Standing::Current));
        follower.expect(&[
            "service shop/s-0000",
            "service shop/s-0001",
            "service shop/s-0002",
            "services: Current",
        ]);
        follower.expect_convergence(&server);
    }
}

#[test]
fn an_empty_list_is_complete_too() {
    let server = ApiServer::start();
    Follower::of(&server).expect(&["services: Current"]);
}

#[test]
fn a_long_list_comes_in_pages_and_as_one_message() {
    let server = server_with(1200, StreamedLists::Refused);
    let mut follower = Follower::of(&server);
    assert_eq!(follower.take().events.len(), 1200);
    let pages = server.wait_for(Kind::Page, SERVICES, 2);
    let limits: Vec<&str> = pages.iter().map(|page| page.parameter("limit")).collect();
    assert_eq!(limits, ["500", "500"]);
    follower.told.clear();
    follower.expect_convergence(&server);
}

#[test]
fn a_server_without_streamed_lists_is_asked_for_one_only_once() {
    let server = server_with(1, StreamedLists::Refused);
    let mut follower = Follower::current(&server);
    server.compact();
    server.end_watches(SERVICES, WatchEnd::Expired);
    server.wait_for(Kind::List, SERVICES, 2);
    server.wait_for(Kind::Watch, SERVICES, 2);
    assert_eq!(server.wait_for(Kind::StreamedList, SERVICES, 1).len(), 1);
    follower.expect_convergence(&server);
}

#[test]
fn a_server_that_never_ends_a_streamed_list_is_asked_for_pages() {
    let server = server_with(2, StreamedLists::Unknown);
    let mut settings = settings(&server);
    settings.timing.silence = Duration::from_millis(100);
    let mut follower = Follower::with(settings);
    follower.expect(&["service shop/s-0000", "service shop/s-0001", "services: Current"]);
}

#[test]
fn nothing_is_complete_while_a_list_is_slow() {
    let server = ApiServer::start();
    server.put(service("web", 80));
    server.put(slice("web-1", "web", "10.0.0.1"));
    server.script(Kind::StreamedList, Collection::EndpointSlices, Fault::Held);
    let mut settings = settings(&server);
    settings.resources = Resource::NEEDED.into();
    let mut follower = Follower::with(settings);
    follower.expect(&["service shop/web", "services: Current"]);
    server.wait_for(Kind::StreamedList, Collection::EndpointSlices, 1);
    assert!(!follower.standings.are_complete(&Resource::NEEDED));
    server.release();
    follower.expect(&["slice shop/web-1", "endpointslices: Current"]);
    assert!(follower.standings.are_complete(&Resource::NEEDED));
}

#[test]
fn a_streamed_list_that_breaks_off_is_reported_when_it_is_whole() {
    let server = server_with(3, StreamedLists::Offered);
    server.script(Kind::StreamedList, SERVICES, Fault::Cut { after_lines: 2 });
    let mut follower = Follower::of(&server);
    let message = follower.take();
    assert_eq!((message.events.len(), message.standing), (3, Standing::Current));
    follower.told.clear();
    follower.expect_convergence(&server);
}

#[test]
fn a_page_that_breaks_off_is_asked_for_again_from_the_first() {
    for kind in [Kind::List, Kind::Page] {
        let server = server_with(600, StreamedLists::Refused);
        server.script(kind, SERVICES, Fault::Cut { after_lines: 0 });
        let mut follower = Follower::of(&server);
        assert_eq!(follower.take().events.len(), 600);
        assert_eq!(server.wait_for(Kind::List, SERVICES, 2).len(), 2);
        follower.told.clear();
        follower.expect_convergence(&server);
    }
}

#[test]
fn a_list_that_expires_between_pages_begins_again() {
    let server = server_with(600, StreamedLists::Refused);
    server.script(Kind::Page, SERVICES, Fault::Status { code: 410, retry_after: None });
    let mut follower = Follower::of(&server);
    let message = follower.take();
    assert_eq!(message.events.len(), 600, "each once, although half of them arrived twice");
    assert_eq!(follower.handle.account().figures().expirations, 1);
    follower.told.clear();
    follower.expect_convergence(&server);
}

#[test]
fn an_object_that_goes_between_two_tries_of_a_list_is_reported_and_gone() {
    let server = server_with(501, StreamedLists::Refused);
    server.script(Kind::Page, SERVICES, Fault::Held);
    let mut follower = Follower::of(&server);
    server.wait_for(Kind::Page, SERVICES, 1);
    server.delete(SERVICES, "shop", "s-0000");
    server.compact();
    server.release();
    follower.until_standing(Resource::Services, Standing::Current);
    assert_eq!(follower.told.iter().filter(|line| line.contains("gone")).count(), 1);
    follower.told.clear();
    follower.expect_convergence(&server);
}

#[test]
fn a_relist_reports_only_what_changed_meanwhile() {
    for streamed_lists in [StreamedLists::Offered, StreamedLists::Refused] {
        let server = server_with(3, streamed_lists);
        let mut follower = Follower::current(&server);
        server.wait_for_open_watch(SERVICES);
        server.script(Kind::Watch, SERVICES, Fault::Held);
        server.end_watches(SERVICES, WatchEnd::Clean);
        server.wait_for_held();
        server.delete(SERVICES, "shop", "s-0000");
        server.put(service("s-0001", 81));
        server.put(service("s-new", 80));
        server.compact();
        server.release();
        follower.expect(&["service shop/s-0001", "service shop/s-new", "service shop/s-0000 gone"]);
        follower.expect_convergence(&server);
    }
}

#[test]
fn an_answer_that_is_no_json_is_a_failure_like_others() {
    let server = server_with(1, StreamedLists::Refused);
    server.script(Kind::List, SERVICES, Fault::Nonsense);
    Follower::of(&server).expect(&["service shop/s-0000", "services: Current"]);
}
