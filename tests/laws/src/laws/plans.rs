//! Properties of every plan.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;
use weir_core::check::check;
use weir_core::cluster::{Cluster, Event};
use weir_core::decision::Decision;
use weir_core::guard::clamp;
use weir_core::planner::{Plan, Planner};
use weir_core::policy::{BuiltIn, Decided, Policy, Reads, Surroundings};
use weir_core::report::Reason;
use weir_core::set::SetEntry;
use weir_core::state::{KernelState, VirtualServer, Weight};
use weir_core::view::ServiceView;
use weir_world::{World, event, facts, world};

use crate::hostile::{Forgetful, any_policy, hostile};

fn plan_of(world: &World, policy: impl Policy + 'static) -> Plan {
    world.planned(policy).plan()
}

/// A planner that receives each of the final objects once.
fn fresh(world: &World, policy: impl Policy + 'static) -> Planner {
    let events = world.last_events();
    World { events, ..world.clone() }.planned(policy)
}

/// Virtual servers that have real servers but would use none of them.
fn silent(state: &KernelState) -> Vec<VirtualServer> {
    let quiet = |server: &VirtualServer| {
        let mut weights = state.real_servers_of(*server).map(|(_, weight)| weight).peekable();
        weights.peek().is_some() && weights.all(|weight| weight == Weight::QUIESCED)
    };
    state.virtual_servers.keys().copied().filter(quiet).collect()
}

/// Decides like the built-in policy, and counts the services it is called for.
struct Onlooker {
    reads: Reads,
    asked: Rc<Cell<usize>>,
}

const ALL: Reads = Reads { nodes: true, namespaces: true, ready_since: true };

impl Policy for Onlooker {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        self.asked.set(self.asked.get() + views.len());
        BuiltIn.decide(views, around)
    }

    fn reads(&self) -> Reads {
        self.reads
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// L1: planning step by step equals planning at once.
    #[test]
    fn incremental_planning_is_full_planning(
        world in world(30),
        policy in hostile(),
        pauses in prop::collection::vec(any::<bool>(), 30),
    ) {
        let mut planner = world.planner(policy.clone());
        for (event, pause) in world.events.iter().zip(pauses) {
            world.facts.tell(&mut planner, event.clone());
            if pause {
                planner.plan();
            }
        }
        prop_assert_eq!(planner.plan(), fresh(&world, policy).plan());
    }

    /// L3: the order of objects does not matter, nor how often one is received.
    #[test]
    fn order_and_repetition_do_not_matter(
        (world, shuffled) in world(24).prop_flat_map(|world| {
            let twice = [world.last_events(), world.last_events()].concat();
            (Just(world), Just(twice).prop_shuffle())
        }),
        policy in any_policy(),
    ) {
        let expected = plan_of(&world, policy.clone());
        let shuffled = World { events: shuffled, ..world.clone() };
        prop_assert_eq!(plan_of(&shuffled, policy), expected);
    }

    /// L3: receiving everything again, as after a lost watch, changes nothing.
    #[test]
    fn a_relist_changes_nothing(world in world(24)) {
        let mut planner = world.planned(BuiltIn);
        let before = planner.plan();
        for event in world.last_events() {
            prop_assert!(!planner.apply(event), "an event without news triggers a plan");
        }
        prop_assert_eq!(planner.plan(), before);
    }

    /// L7: a plan is sound whatever the objects and the policy contain.
    #[test]
    fn every_plan_is_sound(world in world(30), policy in hostile()) {
        for plan in [plan_of(&world, policy), plan_of(&world, BuiltIn)] {
            prop_assert_eq!(check(&plan.state), Vec::new());
            prop_assert_eq!(silent(&plan.state), Vec::new());
        }
    }

    /// L10: clamping twice equals clamping once, and clamped decisions fit the view.
    #[test]
    fn clamping_twice_is_clamping_once(world in world(24), mut policy in hostile()) {
        let mut cluster = Cluster::default();
        world.events.iter().for_each(|event| drop(cluster.apply(event.clone())));
        let node = world.facts.view(cluster.node().map(|node| &**node));
        let names: Vec<_> = cluster.service_names().cloned().collect();
        for view in names.iter().filter_map(|name| ServiceView::new(&cluster, name, &node)) {
            let counts = weir_core::sampling::Sampler::default();
            let around = Surroundings { node: &node, nodes: cluster.nodes(), counts: &counts, now: 0 };
            let [decided] = &policy.decide(std::slice::from_ref(&view), &around)[..] else {
                panic!("one decision per view");
            };
            let (clamped, _) = clamp(&view, decided.decision.clone(), &node);
            let (again, _) = clamp(&view, clamped.clone(), &node);
            prop_assert_eq!(&again, &clamped);
            prop_assert_eq!(clamped.ports.len(), view.ports.len());
            for (port, decided) in view.ports.iter().zip(&clamped.ports) {
                prop_assert_eq!(decided.weights.len(), port.endpoints.len());
            }
            let (built_in, reports) = clamp(&view, Decision::upstream(&view, &node), &node);
            prop_assert_eq!(reports, Vec::new(), "the guard reports nothing about {:?}", built_in);
        }
    }

    /// L1 for policies that read nodes and namespaces: their changes are noticed, but only by policies that read
    /// them.
    #[test]
    fn nodes_and_namespaces_count_for_who_reads_them(world in world(24)) {
        let asked = |reads: Reads| -> Vec<usize> {
            let policy = Onlooker { reads, asked: Rc::default() };
            let count = policy.asked.clone();
            let mut planner = world.planner(policy);
            let plan = |event: &Event| {
                world.facts.tell(&mut planner, event.clone());
                planner.plan();
                count.take()
            };
            world.events.iter().map(plan).collect()
        };
        let (all, none) = (asked(ALL), asked(Reads::default()));
        for ((event, all), none) in world.events.iter().zip(all).zip(none) {
            match event {
                Event::Namespace(_) | Event::NamespaceGone(_) => prop_assert_eq!(none, 0, "{:?}", event),
                // A VIP may be the node's address.
                Event::AnyNode(_) | Event::AnyNodeGone(_) => prop_assert!(none <= all, "{:?}", event),
                _ => prop_assert_eq!(all, none, "{:?}", event),
            }
        }
        let reader = Onlooker { reads: ALL, asked: Rc::default() };
        prop_assert_eq!(fresh(&world, reader).plan(), fresh(&world, BuiltIn).plan());
    }

    /// Whatever addresses services name, nothing is planned for an address that no service may have, and
    /// everything else is planned as if it were not named.
    #[test]
    fn no_service_has_an_address_that_none_may_have(world in world(24)) {
        let mut planner = world.planned(BuiltIn);
        let (plan, node) = (planner.plan(), planner.node().clone());
        let servers = plan.state.virtual_servers.keys().map(|server| server.address.ip());
        let entries = plan.state.entries.keys().flat_map(|(_, entry)| match *entry {
            SetEntry::Ip(ip) | SetEntry::IpPort(ip, ..) | SetEntry::IpPortNet(ip, ..) => vec![ip],
            SetEntry::IpPortIp(ip, _, _, other) => vec![ip, other],
            SetEntry::Port(_) => Vec::new(),
        });
        for ip in servers.chain(entries).chain(plan.state.addresses.keys().copied()) {
            prop_assert_eq!(node.unusable(ip), None, "{}", ip);
        }
        let mut rest = world.clone();
        let (mut told, mut expected) = (BTreeSet::new(), BTreeSet::new());
        for event in &mut rest.events {
            if let Event::Service(service) = event {
                service.external_ips.retain(|ip| node.unusable(*ip).is_none());
                service.load_balancer_ips.retain(|ip| node.unusable(*ip).is_none());
            }
        }
        prop_assert_eq!(&plan_of(&rest, BuiltIn).state, &plan.state);
        for report in plan.reports.iter().filter(|report| report.reason == Reason::AddressUnusable) {
            prop_assert!(told.insert(report.service.clone()), "one report is enough");
        }
        for view in planner.views() {
            let named = view.service.vips().any(|(_, ip)| node.unusable(ip).is_some());
            expected.extend(named.then(|| view.service.name.clone()));
            for port in &view.ports {
                for ip in &port.load_balancer_ips {
                    let server = VirtualServer::new(port.port.protocol, *ip, port.port.port);
                    prop_assert!(plan.state.virtual_servers.contains_key(&server), "{}", server);
                }
            }
        }
        prop_assert_eq!(told, expected);
    }

    /// A policy that omits services in its answer is replaced by the built-in one.
    #[test]
    fn a_missing_answer_is_the_built_in_one(world in world(24)) {
        prop_assert_eq!(plan_of(&world, Forgetful).state, plan_of(&world, BuiltIn).state);
    }

    /// A service that is created and deleted leaves nothing behind.
    #[test]
    fn what_goes_leaves_nothing(facts in facts(), events in prop::collection::vec(event(), 0..20)) {
        use weir_core::cluster::Event;
        let mut events = events;
        let gone: Vec<Event> = events.iter().filter_map(|event| match event {
            Event::Service(service) => Some(Event::ServiceGone(service.name.clone())),
            _ => None,
        }).collect();
        events.push(Event::NodeGone);
        let nothing = World { facts: facts.clone(), events: Vec::new() };
        let world = World { facts, events: [events, gone].concat() };
        prop_assert_eq!(plan_of(&world, BuiltIn), plan_of(&nothing, BuiltIn));
    }
}
