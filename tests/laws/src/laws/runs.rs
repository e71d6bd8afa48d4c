//! Properties of every run against a kernel, whatever goes wrong.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use weir_core::diff::{Change, Changes, diff_first};
use weir_core::kernel::{FailureKind, ReadError};
use weir_core::net::Family;
use weir_core::node::HostAddress;
use weir_core::planner::{Plan, Planner};
use weir_core::simulated::{Fault, Foreign, Simulated};
use weir_core::state::KernelState;
use weir_core::sync::{Round, Syncer};
use weir_world::{MEETING, edit, event, world};

use super::differences::found;
use super::watch::Watch;
use crate::hostile::any_policy;
use crate::tamper::tampering;

/// A plan, and the planner that created it.
pub(super) struct Goal {
    planner: Planner,
    pub(super) plan: Plan,
}

impl Goal {
    fn of(mut planner: Planner) -> Goal {
        let plan = planner.plan();
        Goal { planner, plan }
    }

    /// A round towards it, some minutes after the previous one: whatever failed is due again.
    pub(super) fn round(&mut self, syncer: &mut Syncer<Simulated>, number: u64) -> Result<Round, ReadError> {
        let now = Duration::from_secs(600 * number);
        let round = syncer.round(self.planner.desired(), now)?;
        // A round that is due immediately, again and again, would keep a processor busy.
        assert!(round.next.is_none_or(|next| next > now), "{round:?}");
        Ok(round)
    }
}

impl fmt::Debug for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)
    }
}

pub(super) fn goal() -> impl Strategy<Value = Goal> {
    (world(16), any_policy()).prop_map(|(world, policy)| Goal::of(world.planned(policy)))
}

pub(super) fn syncer(kernel: Simulated) -> Syncer<Simulated> {
    Syncer::new(kernel, Duration::from_secs(30))
}

/// Generates faults within the first rounds.
pub(super) fn script() -> impl Strategy<Value = Vec<(u64, Fault)>> {
    let kind =
        select(&[FailureKind::Stale, FailureKind::Locked, FailureKind::Busy, FailureKind::Refused][..]);
    let fault = prop_oneof![
        3 => kind.clone().prop_map(Fault::Fail),
        2 => kind.prop_map(Fault::Lose),
        2 => Just(Fault::WriteHalf),
        1 => Just(Fault::Crash),
    ];
    // A small change takes tens of operations, a cold start more than a hundred.
    let place = prop_oneof![0..40u64, 40..160u64];
    prop::collection::vec((place, fault), 0..12)
}

/// Gives some of a state's real servers connections.
fn connect(kernel: &mut Simulated, state: &KernelState, counts: &[u32]) {
    for ((server, real, _), count) in state.real_servers().zip(counts.iter().cycle()) {
        kernel.set_connections(server, real, *count);
    }
}

/// Restarts the program if it crashed; it only forgets what it knew about the kernel.
fn restart(syncer: &mut Syncer<Simulated>) {
    if syncer.kernel().has_crashed() {
        syncer.kernel().restart();
        syncer.audit();
    }
}

/// The part of a state that concerns one family; family-independent parts are in both.
fn part_of(state: &KernelState, family: Family) -> KernelState {
    let mut part = state.clone();
    part.sets.retain(|name, _| name.family == family);
    part.entries.retain(|(name, _), ()| name.family == family);
    part.rules.retain(|(of, ..), _| *of == family);
    part.addresses.retain(|ip, ()| Family::of(*ip) == family);
    part.virtual_servers.retain(|server, _| server.family() == family);
    part
}

/// A transition from one plan to the next.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) before: Plan,
    pub(super) after: Goal,
    pub(super) host: Vec<HostAddress>,
}

/// Two plans of one planner with some events between, another policy, or both; or the first plan of a fresh node.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let events = prop::collection::vec(event(), 0..4);
    let edits = prop::collection::vec(edit(&MEETING), 0..5);
    let policies = (any_policy(), prop::option::weighted(0.4, any_policy()));
    let change = (world(20), events, edits, policies).prop_map(|(world, events, edits, (first, second))| {
        let mut planner = world.planned(first);
        let before = planner.plan();
        let objects = world.last_events();
        let edits = edits.iter().flat_map(|edit| edit.of(&MEETING, &objects));
        edits.chain(events).for_each(|event| world.facts.tell(&mut planner, event));
        if let Some(second) = second {
            planner.set_policy(Box::new(second));
        }
        Step { before, after: Goal::of(planner), host: world.facts.host_addresses }
    });
    let start = (world(16), any_policy()).prop_map(|(world, policy)| {
        let after = Goal::of(world.planned(policy));
        let before = Plan { state: KernelState::default(), ..after.plan.clone() };
        Step { before, after, host: world.facts.host_addresses }
    });
    prop_oneof![4 => change, 1 => start]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// L1 and L2 for rounds: after each event a round makes the changes that a full comparison would find, and
    /// then knows that the kernel has exactly the desired state.
    #[test]
    fn a_round_after_an_event_is_a_comparison_of_everything(
        world in world(24),
        policy in any_policy(),
        pauses in prop::collection::vec(any::<bool>(), 24),
    ) {
        let mut planner = world.planner(policy);
        let mut syncer = syncer(Simulated::default());
        planner.update(0);
        syncer.round(planner.desired(), Duration::ZERO).unwrap();
        for (number, (event, pause)) in world.events.iter().zip(pauses).enumerate() {
            world.facts.tell(&mut planner, event.clone());
            if pause {
                continue;
            }
            planner.update(0);
            let before = syncer.kernel().state().clone();
            let round = syncer.round(planner.desired(), Duration::from_secs(number as u64)).unwrap();
            let desired = planner.desired().state();
            let made = round.changes.into_iter().map(|(change, _)| change);
            let made = made.filter(|change| !matches!(change, Change::ForgetFlows(..)));
            let expected = diff_first(&desired, &before, planner.desired().first());
            prop_assert_eq!(Changes(made.collect()), expected);
            prop_assert_eq!(syncer.kernel().state().differences(&desired), Vec::new());
            prop_assert!(syncer.is_as_desired());
        }
        syncer.audit();
        planner.update(0);
        syncer.round(planner.desired(), Duration::ZERO).unwrap();
        syncer.audit();
        prop_assert_eq!(syncer.round(planner.desired(), Duration::ZERO).unwrap(), Round::default());
    }

    /// L4: whatever went wrong, once faults stop the desired state is reached and lasts.
    #[test]
    fn after_any_faults_the_wanted_state_is_reached(
        mut goal in goal(),
        found in found(),
        script in script(),
        meddling in tampering(3),
        counts in prop::collection::vec(0..3u32, 1..5),
    ) {
        let mut kernel = Simulated::new(found.clone());
        connect(&mut kernel, &found, &counts);
        kernel.plan_faults(script);
        let mut syncer = syncer(kernel);
        for number in 0..6 {
            let _ = goal.round(&mut syncer, number);
            restart(&mut syncer);
        }
        // Others make changes unnoticed by the program; the next audit finds them.
        let mut state = syncer.kernel().state().clone();
        meddling.into_iter().for_each(|deed| deed.apply(&mut state));
        let mut syncer = self::syncer(Simulated::new(state));
        let round = goal.round(&mut syncer, 0).unwrap();
        prop_assert!(round.succeeded() && round.waiting.is_empty(), "{:?}", round);
        prop_assert_eq!(syncer.kernel().state().differences(&goal.plan.state), Vec::new());
        prop_assert!(syncer.is_as_desired());
        prop_assert_eq!(goal.round(&mut syncer, 1).unwrap(), Round::default());
        syncer.audit();
        prop_assert_eq!(goal.round(&mut syncer, 2).unwrap(), Round::default());
    }

    /// L5: between two plans, everything in both keeps working, nothing is published half-finished, and no filter
    /// is ever open, even if the program crashes on the way and restarts.
    #[test]
    fn nothing_breaks_on_the_way(
        Step { before, mut after, .. } in step(),
        counts in prop::collection::vec(0..3u32, 1..5),
        crash in prop::option::of(0..60u64),
    ) {
        let mut kernel = Simulated::new(before.state.clone());
        connect(&mut kernel, &before.state, &counts);
        kernel.plan_faults(crash.map(|n| (n, Fault::Crash)));
        let watch = Watch::start(&mut kernel, &before.state, &after.plan.state);
        let mut syncer = syncer(kernel);
        for number in 0..3 {
            let _ = after.round(&mut syncer, number);
            restart(&mut syncer);
        }
        syncer.kernel().plan_faults([]);
        syncer.kernel().end_connections();
        prop_assert_eq!(after.round(&mut syncer, 3).unwrap().waiting, Vec::new());
        prop_assert_eq!(watch.violations(), Vec::<String>::new());
        prop_assert_eq!(syncer.kernel().state().differences(&after.plan.state), Vec::new());
    }

    /// L5 with faults: whatever fails, no VIP is open beyond its filters while it is added or removed.
    #[test]
    fn nothing_is_opened_by_faults(
        Step { before, mut after, .. } in step(),
        script in script(),
    ) {
        let mut kernel = Simulated::new(before.state.clone());
        kernel.plan_faults(script);
        let watch = Watch::start(&mut kernel, &before.state, &after.plan.state).for_filters_only();
        let mut syncer = syncer(kernel);
        for number in 0..5 {
            let _ = after.round(&mut syncer, number);
            restart(&mut syncer);
        }
        prop_assert_eq!(watch.violations(), Vec::<String>::new());
    }

    /// L4 and L5 when the rules of one family cannot be read: the other family is programmed, nothing in either is
    /// open beyond its filters, the failure is reported, and both families are complete as soon as the rules can
    /// be read.
    #[test]
    fn rules_that_cannot_be_read_hold_up_their_family_only(
        Step { before, mut after, .. } in step(),
        hidden in select(&Family::BOTH[..]),
        rounds in 1..4u64,
    ) {
        let mut kernel = Simulated::new(before.state.clone());
        kernel.hide_rules([hidden]);
        let watch = Watch::start(&mut kernel, &before.state, &after.plan.state).for_filters_only();
        let mut syncer = syncer(kernel);
        for number in 0..rounds {
            let round = after.round(&mut syncer, number).unwrap();
            let writes = |change: &Change| matches!(change, Change::WriteRules(rules) if rules.family == hidden);
            let wanted = after.plan.state.rules.keys().any(|(family, ..)| *family == hidden);
            prop_assert_eq!(round.failures().any(|(change, _)| writes(change)), wanted);
        }
        let other = if hidden == Family::V4 { Family::V6 } else { Family::V4 };
        let state = part_of(syncer.kernel().state(), other);
        prop_assert_eq!(state.differences(&part_of(&after.plan.state, other)), Vec::new());
        let untouched = |state: &KernelState| part_of(state, hidden).rules;
        prop_assert_eq!(untouched(syncer.kernel().state()), untouched(&before.state));

        syncer.kernel().hide_rules([]);
        syncer.audit();
        for number in 4..7 {
            after.round(&mut syncer, number).unwrap();
        }
        prop_assert_eq!(syncer.kernel().state().differences(&after.plan.state), Vec::new());
        prop_assert_eq!(watch.violations(), Vec::<String>::new());
    }

    /// On a fresh node the API server's service comes first: the node's agents need it.
    #[test]
    fn the_api_server_comes_first(mut goal in goal()) {
        let round = goal.round(&mut syncer(Simulated::default()), 0).unwrap();
        let changes: Vec<Change> = round.changes.into_iter().map(|(change, _)| change).collect();
        let (first, plan) = (goal.planner.desired().first().clone(), goal.plan);
        let turned_on = changes.iter().filter_map(|change| match change {
            Change::CreateVirtualServer(server, _) => Some(server.address.ip()),
            Change::AddRealServer(server, ..) => Some(server.address.ip()),
            Change::AddAddress(ip) => Some(*ip),
            _ => None,
        });
        let order: Vec<bool> = turned_on.map(|ip| first.contains(&ip)).collect();
        prop_assert!(order.is_sorted_by(|a, b| a >= b), "{:?}", changes);
        let bound = |change: &Change| matches!(change, Change::AddAddress(ip) if first.contains(ip));
        prop_assert_eq!(changes.iter().any(bound), first.iter().any(|ip| plan.state.addresses.contains_key(ip)));
    }

    /// L4: a foreign virtual server is left alone, and nothing else is affected.
    #[test]
    fn what_belongs_to_others_stops_nothing_else(mut goal in goal(), index in any::<prop::sample::Index>()) {
        let plan = goal.plan.clone();
        let servers: Vec<_> = plan.state.virtual_servers.keys().collect();
        if servers.is_empty() {
            return Ok(());
        }
        let taken = *index.get(&servers);
        let foreign = Foreign { virtual_servers: BTreeSet::from([*taken]), ..Foreign::default() };
        let mut syncer = syncer(Simulated::default().with_foreign(foreign));
        for number in 0..3 {
            goal.round(&mut syncer, number).unwrap();
        }
        let mut expected = plan.state.clone();
        expected.virtual_servers.remove(taken);
        let ip = taken.address.ip();
        if !expected.virtual_servers.keys().any(|server| server.address.ip() == ip) {
            expected.addresses.remove(&ip);
        }
        prop_assert_eq!(syncer.kernel().state().differences(&expected), Vec::new());
    }
}
