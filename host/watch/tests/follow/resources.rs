//! Which resources are followed, and changes of that.

use weir_api_server::{ApiServer, Collection};
use weir_watch::{Resource, Standing};

use crate::follower::{Follower, NODE, settings};
use crate::objects::{labelled, namespace, node, service, slice};

fn server() -> ApiServer {
    let server = ApiServer::start();
    server.put(service("web", 80));
    server.put(slice("web-1", "web", "10.0.0.1"));
    server.put(labelled(slice("headless-1", "headless", "10.0.0.2"), "service.kubernetes.io/headless", ""));
    server.put(node(NODE, "192.168.0.1"));
    server.put(node("node-2", "192.168.0.2"));
    server.put(namespace("shop"));
    server
}

#[test]
fn each_resource_is_reported_in_its_own_words() {
    let server = server();
    let mut settings = settings(&server);
    settings.resources = Resource::ALL.into();
    let mut follower = Follower::with(settings);
    follower.until(|follower| follower.standings.are_complete(&Resource::ALL));
    follower.told.sort();
    assert_eq!(
        follower.told,
        [
            "endpointslices: Current",
            "namespace shop",
            "namespaces: Current",
            "node node-1",
            "node node-2",
            "node: Current",
            "nodes: Current",
            "service shop/web",
            "services: Current",
            "slice shop/web-1",
            "this node node-1",
        ]
    );
    follower.told.clear();
    server.delete(Collection::Nodes, "", NODE);
    follower.until(|follower| follower.told.len() == 2);
    follower.told.sort();
    follower.expect(&["node node-1 gone", "this node gone"]);
    server.delete(Collection::Namespaces, "", "shop");
    follower.expect(&["namespace shop gone"]);
    server.delete(Collection::EndpointSlices, "shop", "web-1");
    follower.expect(&["slice shop/web-1 gone"]);
}

#[test]
fn what_a_plugin_needs_can_be_followed_later_and_no_more() {
    let server = server();
    let mut follower = Follower::current(&server);
    follower.handle.follow([Resource::Services, Resource::Namespaces, Resource::Nodes].into());
    let added = [Resource::Namespaces, Resource::Nodes];
    follower.until(|follower| follower.standings.are_complete(&added));
    follower.told.clear();
    follower.handle.follow([Resource::Services, Resource::Nodes].into());
    follower.expect(&["namespace shop gone", "namespaces: Incomplete"]);
    assert_eq!(follower.standings.of(Resource::Nodes), Standing::Current);
    follower.handle.follow([Resource::Services, Resource::Namespaces, Resource::Nodes].into());
    follower.expect(&["namespace shop", "namespaces: Current"]);
    server.put(service("db", 5432));
    follower.expect(&["service shop/db"]);
}
