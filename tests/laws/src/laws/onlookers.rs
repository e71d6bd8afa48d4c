//! Policies that read nodes and namespaces.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use weir_core::decision::{Decision, Handling};
use weir_core::planner::Plan;
use weir_core::policy::{BuiltIn, Decided, Policy, Reads, Surroundings};
use weir_core::report::{Reason, Report};
use weir_core::set::{MAX_ELEMENTS, Set, SetEntry};
use weir_core::state::Weight;
use weir_core::view::{EndpointView, ServiceView};
use weir_world::{NODE, World, world};

/// Ignores the services of some namespaces, and weights endpoints as suggested by their Node object.
#[derive(Clone, Copy, Debug)]
struct Onlooker;

impl Onlooker {
    fn weight(endpoint: &EndpointView, around: &Surroundings<'_>) -> Weight {
        let node = endpoint.node.as_deref().and_then(|name| around.nodes.get(name));
        Weight(match node {
            None => 7,
            Some(node) if node.unschedulable => 1,
            Some(node) => 10 + node.taints.len() as u16 + (node.allocatable.cpu_millis / 500) as u16 * 10,
        })
    }

    fn decision(view: &ServiceView, around: &Surroundings<'_>) -> Decision {
        let mut decision = Decision::upstream(view, around.node);
        if view.namespace.as_ref().is_some_and(|namespace| namespace.labels["tier"] == "b") {
            decision.handling = Handling::Ignore("its namespace is not ours".to_owned());
        }
        for (port, decided) in view.ports.iter().zip(&mut decision.ports) {
            let weights = port.endpoints.iter().map(|endpoint| Onlooker::weight(endpoint, around));
            decided.weights = weights.collect();
        }
        decision
    }
}

impl Policy for Onlooker {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        views.iter().map(|view| Onlooker::decision(view, around).into()).collect()
    }

    fn reads(&self) -> Reads {
        Reads { nodes: true, namespaces: true, ready_since: false }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// L1: planning step by step equals planning at once, also when a node or a namespace changes.
    #[test]
    fn incremental_planning_is_full_planning(
        world in world(40),
        pauses in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut planner = world.planner(Onlooker);
        for (event, pause) in world.events.iter().zip(pauses) {
            world.facts.tell(&mut planner, event.clone());
            if pause {
                planner.plan();
            }
        }
        let fresh = World { events: world.last_events(), ..world.clone() };
        prop_assert_eq!(planner.plan(), fresh.planned(Onlooker).plan());
    }

    /// L3: it does not matter whether nodes and namespaces arrive before or after the objects whose decisions
    /// depend on them, nor how often.
    #[test]
    fn order_and_repetition_do_not_matter(
        (world, shuffled) in world(32).prop_flat_map(|world| {
            let twice = [world.last_events(), world.last_events()].concat();
            (Just(world), Just(twice).prop_shuffle())
        }),
    ) {
        let shuffled = World { events: shuffled, ..world.clone() };
        prop_assert_eq!(shuffled.planned(Onlooker).plan(), world.planned(Onlooker).plan());
    }

    /// L3: receiving everything again, as after a lost watch, triggers no plan.
    #[test]
    fn a_relist_asks_for_nothing(world in world(32)) {
        let mut planner = world.planned(Onlooker);
        let before = planner.plan();
        for event in world.last_events() {
            prop_assert!(!planner.apply(event), "an event without news triggers a plan");
        }
        prop_assert_eq!(planner.plan(), before);
    }

    /// kube-proxy ignores namespaces, and nodes only decide whether VIPs that are node addresses are bound.
    #[test]
    fn without_a_policy_they_bind_fewer_addresses_at_most(world in world(24)) {
        use weir_core::cluster::Event::{AnyNode, AnyNodeGone, Namespace, NamespaceGone};
        let mut world = world;
        // Fewer entries need a smaller set.
        world.facts.config.set_size = MAX_ELEMENTS;
        let mut without = world.clone();
        without
            .events
            .retain(|event| !matches!(event, AnyNode(_) | AnyNodeGone(_) | Namespace(_) | NamespaceGone(_)));
        let others: BTreeSet<IpAddr> = world.last_events().iter().filter_map(|event| match event {
            AnyNode(node) if node.name != NODE => Some(node.addresses.iter().map(|(_, ip)| *ip)),
            _ => None,
        }).flatten().collect();
        let (with, mut without) = (world.planned(BuiltIn).plan(), without.planned(BuiltIn).plan());
        let unbound = |ip: &IpAddr| others.contains(ip) && !with.state.addresses.contains_key(ip);
        without.state.addresses.retain(|ip, ()| !unbound(ip));
        without.state.entries.retain(|(name, entry), ()| match entry {
            SetEntry::Ip(ip) if name.set == Set::IpvsIps => !unbound(ip),
            _ => true,
        });
        let told = |plan: &Plan| -> Vec<Report> {
            plan.reports.iter().filter(|report| report.reason != Reason::NodeAddress).cloned().collect()
        };
        prop_assert_eq!(told(&with), told(&without));
        prop_assert_eq!(with.state, without.state);
    }
}
