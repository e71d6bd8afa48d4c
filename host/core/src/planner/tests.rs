use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::build;
use crate::decision::Handling;
use crate::node::{Capabilities, ProxyConfig};
use crate::objects::{Conditions, Endpoint, Namespace};

/// Decides as kube-proxy does, and records what it was shown.
#[derive(Clone, Default)]
struct Onlooker {
    reads: Reads,
    asked: Rc<RefCell<Vec<ServiceView>>>,
}

impl Policy for Onlooker {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        self.asked.borrow_mut().extend_from_slice(views);
        views.iter().map(|view| Decision::upstream(view, around.node).into()).collect()
    }

    fn reads(&self) -> Reads {
        self.reads
    }
}

impl Onlooker {
    fn of(reads: Reads) -> Onlooker {
        Onlooker { reads, ..Onlooker::default() }
    }

    /// The services it was asked about since the last call.
    fn asked(&self) -> Vec<String> {
        self.asked.take().iter().map(|view| view.service.name.to_string()).collect()
    }

    /// Since when the endpoints it was asked about have been ready.
    fn seen_ready_since(&self) -> Vec<Option<u64>> {
        let views = self.asked.take();
        let ports = views.iter().flat_map(|view| &view.ports);
        ports.flat_map(|port| &port.endpoints).map(|endpoint| endpoint.ready_since).collect()
    }
}

const NODES: Reads = Reads { nodes: true, namespaces: false, ready_since: false };
const NAMESPACES: Reads = Reads { nodes: false, namespaces: true, ready_since: false };
const READINESS: Reads = Reads { nodes: false, namespaces: false, ready_since: true };

fn planner(policy: &Onlooker) -> Planner {
    let view =
        NodeView::new("node1", None, None, Vec::new(), ProxyConfig::default(), Capabilities::assumed());
    Planner::new(view, Box::new(policy.clone()))
}

fn service(namespace: &str, name: &str) -> Event {
    build::service(&format!("{namespace}/{name}")).cluster_ip("10.96.0.10").port(80).event()
}

/// The endpoints of `default/web`, each ready or not.
fn endpoints(ready: &[bool]) -> Event {
    let endpoint = |(n, ready): (usize, &bool)| Endpoint {
        conditions: Conditions { ready: *ready, serving: *ready, terminating: false },
        ..build::endpoint(format!("10.244.0.{n}"))
    };
    build::slice("web").port(8080).endpoints(ready.iter().enumerate().map(endpoint)).event()
}

fn node(name: &str, unschedulable: bool) -> Event {
    Event::AnyNode(Box::new(Node { unschedulable, ..build::node(name, &[]) }))
}

fn namespace(name: &str, tier: &str) -> Event {
    Event::Namespace(Box::new(Namespace {
        name: name.to_owned(),
        labels: [("tier".to_owned(), tier.to_owned())].into(),
        annotations: Default::default(),
    }))
}

/// Applies an event, and returns the services a policy was asked about again; the result of `apply` must match.
fn asked_after(planner: &mut Planner, policy: &Onlooker, event: Event) -> Vec<String> {
    let dirty = planner.apply(event);
    planner.plan();
    let asked = policy.asked();
    assert_eq!(dirty, !asked.is_empty(), "{asked:?}");
    asked
}

/// What each event makes a policy decide again: a node is added, repeated, changed, and deleted, and the same for
/// a namespace.
fn asked_by_each_event(reads: Reads) -> [Vec<String>; 8] {
    let policy = Onlooker::of(reads);
    let mut planner = planner(&policy);
    for event in [service("default", "web"), service("shop", "cart"), service("shop", "web")] {
        planner.apply(event);
    }
    planner.plan();
    policy.asked();
    let events = [
        node("other", false),
        node("other", false),
        node("other", true),
        Event::AnyNodeGone("other".to_owned()),
        namespace("shop", "a"),
        namespace("shop", "a"),
        namespace("shop", "b"),
        Event::NamespaceGone("shop".to_owned()),
    ];
    events.map(|event| asked_after(&mut planner, &policy, event))
}

#[test]
fn nodes_are_a_reason_to_decide_again_only_for_who_reads_them() {
    let all = || vec!["default/web".to_owned(), "shop/cart".to_owned(), "shop/web".to_owned()];
    let none = Vec::new;
    assert_eq!(asked_by_each_event(NODES), [all(), none(), all(), all(), none(), none(), none(), none()]);
}

#[test]
fn a_namespace_is_a_reason_to_decide_its_own_services_again_only_for_who_reads_namespaces() {
    let shop = || vec!["shop/cart".to_owned(), "shop/web".to_owned()];
    let none = Vec::new;
    assert_eq!(
        asked_by_each_event(NAMESPACES),
        [none(), none(), none(), none(), shop(), none(), shop(), shop()]
    );
}

/// A namespace that arrives before or after its services is in their views either way.
#[test]
fn a_view_has_the_namespace_as_last_seen() {
    let policy = Onlooker::of(NAMESPACES);
    let mut planner = planner(&policy);
    planner.apply(service("shop", "web"));
    planner.plan();
    assert_eq!(policy.asked.take()[0].namespace, None);
    for tier in ["a", "b"] {
        planner.apply(namespace("shop", tier));
        planner.plan();
        let views = policy.asked.take();
        assert_eq!(views[0].namespace.as_ref().unwrap().labels["tier"], tier);
    }
}

#[test]
fn endpoints_of_the_first_plan_are_no_newcomers_and_later_ones_are() {
    let policy = Onlooker::of(READINESS);
    let mut planner = planner(&policy);
    planner.apply(service("default", "web"));
    planner.apply(endpoints(&[true, false]));
    planner.plan_at(100);
    assert_eq!(policy.seen_ready_since(), [None, None]);
    planner.apply(endpoints(&[true, true]));
    planner.plan_at(200);
    assert_eq!(policy.seen_ready_since(), [None, Some(200)]);
}

/// Otherwise everything would start slowly when a policy with a slow start is installed on a running node.
#[test]
fn endpoints_that_were_ready_before_a_policy_wanted_to_know_are_no_newcomers() {
    let uninterested = Onlooker::default();
    let mut planner = planner(&uninterested);
    planner.apply(service("default", "web"));
    planner.apply(endpoints(&[true]));
    planner.plan_at(100);
    let policy = Onlooker::of(READINESS);
    planner.set_policy(Box::new(policy.clone()));
    planner.plan_at(200);
    assert_eq!(policy.seen_ready_since(), [None]);
    planner.apply(endpoints(&[true, true]));
    planner.plan_at(300);
    assert_eq!(policy.seen_ready_since(), [None, Some(300)]);
}

/// Ignores everything.
struct Idle;

impl Policy for Idle {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        let handling = Handling::Ignore("idle".to_owned());
        let decide = |view| Decision { handling: handling.clone(), ..Decision::upstream(view, around.node) };
        views.iter().map(|view| decide(view).into()).collect()
    }
}

#[test]
fn another_policy_decides_once_it_is_accepted_and_not_before() {
    let mut planner = planner(&Onlooker::default());
    planner.apply(service("default", "web"));
    planner.apply(service("default", "db"));
    let before = planner.plan();
    assert!(!before.state.virtual_servers.is_empty());
    let candidate = planner.consider(Idle, 0);
    assert_eq!((candidate.changed, candidate.services), (2, 2));
    assert_eq!(planner.plan(), before, "a rejected policy leaves nothing behind");
    assert!(planner.policy::<Onlooker>().is_some());
    planner.consider(Idle, 0).accept();
    assert!(planner.plan().state.virtual_servers.is_empty());
    assert!(planner.policy::<Idle>().is_some() && planner.policy_mut::<Onlooker>().is_none());
    assert_eq!(planner.consider(Idle, 0).changed, 0);
}

/// The total tally is the sum over services, in whatever order they came and went.
#[test]
fn services_and_endpoints_are_counted_by_state() {
    use crate::tally::Tally;

    let mut planner = planner(&Onlooker::default());
    let mut tally = |events: Vec<Event>| {
        for event in events {
            planner.apply(event);
        }
        planner.plan();
        planner.tally()
    };
    assert_eq!(tally(vec![]), Tally::default());
    let one = Tally { services: 2, without_endpoints: 2, unready: 1, ..Tally::default() };
    assert_eq!(tally(vec![service("default", "web"), service("shop", "cart"), endpoints(&[false])]), one);
    let both = Tally { services: 2, without_endpoints: 1, ready: 2, unready: 1, ..Tally::default() };
    assert_eq!(tally(vec![endpoints(&[true, false, true])]), both);
    let Event::Slice(mut slice) = endpoints(&[true, true]) else { panic!("no slice") };
    slice.endpoints[0].conditions = Conditions { ready: false, serving: true, terminating: true };
    let leaving = Tally { services: 2, without_endpoints: 1, ready: 1, terminating: 1, ..Tally::default() };
    assert_eq!(tally(vec![Event::Slice(slice)]), leaving);
    assert_eq!(tally(vec![service("default", "web")]), leaving, "a repeated event is not counted twice");
    let web = Tally { services: 1, ready: 1, terminating: 1, ..Tally::default() };
    assert_eq!(tally(vec![Event::ServiceGone(ObjectName::new("shop", "cart"))]), web);
    planner.set_policy(Box::new(Idle));
    planner.plan();
    assert_eq!(planner.tally(), Tally { services: 1, ignored: 1, ..Tally::default() });
}
