//! The steps of a run.

use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::select;
use weir_core::cluster::Event;
use weir_core::kernel::FailureKind;
use weir_core::net::Family;
use weir_core::node::HostAddress;
use weir_core::simulated::Fault;
use weir_laws::hostile::{AnyPolicy, any_policy};
use weir_laws::tamper::{Tamper, tampering};
use weir_world::{Facts, World, event, facts, world};

use crate::cluster::Feed;

/// A run: the initial state, and the steps.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(crate) facts: Facts,
    pub(crate) policy: AnyPolicy,
    /// A cluster whose plan another proxy left in the kernel.
    pub(crate) left: Option<World>,
    /// The objects in the API server when the daemon starts.
    pub(crate) objects: Vec<Event>,
    pub(crate) steps: Vec<Step>,
}

/// A step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The API server stores or deletes this; watches lag.
    Store(Box<Event>),
    /// The API server stores or deletes this, and its watch immediately delivers everything up to it.
    Tell(Box<Event>),
    /// A watch delivers this many events.
    Read(Feed, usize),
    /// A watch is lost and lists again.
    List(Feed),
    /// A watch repeats an event.
    Repeat(Feed, usize),
    /// A watch repeats this many events, one after the other with these pauses.
    Stream(Feed, usize, Duration),
    /// Time passes.
    Wait(Duration),
    /// Future kernel calls fail.
    Faults(Vec<(u64, Fault)>),
    /// Others change our part of the kernel.
    Tamper(Vec<Tamper>),
    /// Real servers have this many connections.
    Connect(Vec<u32>),
    /// All connections close.
    Disconnect,
    /// Missing matches and targets of the kernel become available.
    Mend,
    /// Rules of these families can no longer be read.
    Hide(Vec<Family>),
    /// The node gets other addresses; whether the daemon is notified.
    Addresses(Vec<HostAddress>, bool),
    /// Whether addresses can be read from now on.
    Readable(bool),
    /// Another policy takes over.
    Policy(Box<AnyPolicy>),
    /// The daemon is stopped and restarted; its clock has been set forward or back by this many seconds.
    Restart(i32),
}

/// Generates scenarios of any kind.
pub(crate) fn scenarios() -> impl Strategy<Value = Scenario> {
    let left = prop::option::weighted(0.25, world(8));
    let objects = prop::collection::vec(event(), 0..14);
    // Mostly everything is listed at once, as in practice; what follows is what can go wrong.
    let at_once = prop_oneof![3 => Just(Feed::ALL.to_vec()), 1 => prop::collection::vec(feed(), 0..3)];
    let steps = (at_once, prop::collection::vec(step(), 4..32)).prop_map(|(at_once, steps)| {
        let lists = at_once.into_iter().map(Step::List);
        lists.chain(steps).collect()
    });
    (facts(), clocks(), any_policy(), left, objects, steps).prop_map(
        |(mut facts, (pause, excluded), policy, left, objects, steps)| {
            facts.config.min_sync_period = pause;
            facts.config.exclude_cidrs = excluded;
            Scenario { facts, policy, left, objects, steps }
        },
    )
}

/// Generates the pause between rounds, and what others own.
fn clocks() -> impl Strategy<Value = (Duration, Vec<IpNet>)> {
    let pause = prop_oneof![
        3 => Just(Duration::ZERO),
        1 => (100..5_000u64).prop_map(Duration::from_millis),
    ];
    let network: IpNet = "203.0.113.0/24".parse().expect("a valid network");
    let excluded = prop_oneof![7 => Just(Vec::new()), 1 => Just(vec![network])];
    (pause, excluded)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => event().prop_map(|event| Step::Store(Box::new(event))),
        8 => event().prop_map(|event| Step::Tell(Box::new(event))),
        4 => (feed(), 1..6usize).prop_map(|(feed, count)| Step::Read(feed, count)),
        3 => feed().prop_map(Step::List),
        1 => (feed(), any::<u8>()).prop_map(|(feed, index)| Step::Repeat(feed, index.into())),
        1 => (feed(), 8..40usize, 5..60u64)
            .prop_map(|(feed, count, gap)| Step::Stream(feed, count, Duration::from_millis(gap))),
        8 => pause().prop_map(Step::Wait),
        4 => faults().prop_map(Step::Faults),
        2 => tampering(3).prop_map(Step::Tamper),
        2 => prop::collection::vec(0..3u32, 1..5).prop_map(Step::Connect),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Mend),
        1 => prop::sample::subsequence(Family::BOTH.to_vec(), 0..=2).prop_map(Step::Hide),
        1 => (facts(), any::<bool>()).prop_map(|(facts, told)| Step::Addresses(facts.host_addresses, told)),
        1 => any::<bool>().prop_map(Step::Readable),
        1 => any_policy().prop_map(|policy| Step::Policy(Box::new(policy))),
        1 => (-86_400..86_400i32).prop_map(Step::Restart),
    ]
}

fn feed() -> impl Strategy<Value = Feed> {
    prop_oneof![4 => Just(Feed::Services), 4 => Just(Feed::Slices), 2 => select(&Feed::ALL[..])]
}

fn pause() -> impl Strategy<Value = Duration> {
    let milliseconds = prop_oneof![
        3 => 1..50u64,
        3 => 50..2_000u64,
        2 => 2_000..40_000u64,
        1 => 40_000..600_000u64,
    ];
    milliseconds.prop_map(Duration::from_millis)
}

fn faults() -> impl Strategy<Value = Vec<(u64, Fault)>> {
    let kind = select(&[FailureKind::Stale, FailureKind::Busy, FailureKind::Refused][..]);
    let fault = prop_oneof![
        3 => kind.clone().prop_map(Fault::Fail),
        2 => kind.prop_map(Fault::Lose),
        2 => Just(Fault::WriteHalf),
        2 => Just(Fault::Crash),
    ];
    // A small change takes a few calls, a cold start more than a hundred.
    let place = prop_oneof![3 => 0..12u64, 1 => 12..160u64];
    prop::collection::vec((place, fault), 1..8)
}
