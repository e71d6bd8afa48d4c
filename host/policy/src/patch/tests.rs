//! Every answer is either refused or parsed into a patch with the same meaning.

use std::cell::Cell;
use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use weir_core::decision::{RefusedVip, SourceAction, SourceFilter, VipKind, VipKinds};
use weir_core::policy::BuiltIn;
use weir_world::world;

use super::*;
use crate::bindings::{filter, masquerade, scheduler};
use crate::lower::address;

/// A service of some cluster.
fn view() -> impl Strategy<Value = ServiceView> {
    (world(8), any::<Index>()).prop_filter_map("no services", |(world, index)| {
        let views = world.planned(BuiltIn).views();
        (!views.is_empty()).then(|| index.get(&views).clone())
    })
}

/// Parses answers about services. `valid` says which can be parsed, and `same` brings them into a comparable form.
fn round_trip<P: Patch + Debug>(
    answers: impl Strategy<Value = (ServiceView, P::Wire)>,
    valid: impl Fn(&P::Wire, &ServiceView) -> bool,
    same: impl Fn(P::Wire) -> P::Wire,
    print: impl Fn(&P) -> P::Wire,
) where
    P::Wire: Clone + Debug + PartialEq,
{
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 1024, failure_persistence: None, ..Config::default() });
    let result = runner.run(&answers, |(view, wire)| {
        match P::parse(&wire, &view) {
            Ok(answer) => {
                prop_assert!(valid(&wire, &view), "accepted although invalid");
                let printed = print(&answer.patch);
                prop_assert_eq!(&printed, &same(wire));
                let again = P::parse(&printed, &view).map(|answer| answer.patch);
                prop_assert_eq!(again.as_ref(), Ok(&answer.patch));
                taken.set(taken.get() + 1);
            }
            Err(why) => {
                prop_assert!(!valid(&wire, &view), "refused although valid: {}", why);
                refused.set(refused.get() + 1);
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let (taken, refused) = (taken.get(), refused.get());
    assert!(taken > 30 && refused > 30, "{taken} accepted, {refused} refused: too few to test much");
}

fn text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

/// An absent list and an empty one mean the same.
fn is_empty<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn extra() -> impl Strategy<Value = Option<types::Attributes>> {
    let future = || vec![("future".to_owned(), String::new())];
    prop_oneof![40 => Just(None), 4 => Just(Some(Vec::new())), 1 => Just(Some(future()))]
}

fn any_address() -> impl Strategy<Value = types::Address> {
    select(&["0.0.0.0", "10.1.2.3", "192.0.2.255", "::", "::1", "fd00::1:2"][..])
        .prop_map(|text| address(text.parse().unwrap()))
}

fn any_networks() -> impl Strategy<Value = Vec<types::Network>> {
    let prefix = prop_oneof![20 => 0..=32u8, 1 => 33..=255u8];
    let network = (any_address(), prefix)
        .prop_map(|(address, prefix_length)| types::Network { address, prefix_length });
    vec(network, 0..4)
}

fn are_networks(networks: &[types::Network]) -> bool {
    let longest = |network: &types::Network| if ip(network.address).is_ipv4() { 32 } else { 128 };
    networks.iter().all(|network| network.prefix_length <= longest(network))
}

/// Networks without their host bits.
fn truncated(networks: Vec<types::Network>) -> Vec<types::Network> {
    networks.into_iter().map(|network| self::network(&net(network).unwrap())).collect()
}

const KINDS: [(VipKind, types::VipKinds); 4] = [
    (VipKind::Cluster, types::VipKinds::CLUSTER),
    (VipKind::External, types::VipKinds::EXTERNAL),
    (VipKind::LoadBalancer, types::VipKinds::LOAD_BALANCER),
    (VipKind::NodePort, types::VipKinds::NODE_PORT),
];

fn any_kinds() -> impl Strategy<Value = types::VipKinds> {
    vec(any::<bool>(), KINDS.len()).prop_map(|held| {
        let held = KINDS.into_iter().zip(held).filter(|(_, held)| *held);
        held.fold(types::VipKinds::empty(), |all, ((_, flag), _)| all | flag)
    })
}

fn any_scheduling(endpoints: usize) -> impl Strategy<Value = scheduler::Scheduling> {
    let persistence = prop_oneof![
        Just(scheduler::Persistence::Keep),
        Just(scheduler::Persistence::SessionAffinity),
        Just(scheduler::Persistence::Off),
        any::<(u32, u8)>().prop_map(scheduler::Persistence::On),
    ];
    let weights = prop_oneof![
        10 => Just(scheduler::Weights::Keep),
        10 => Just(scheduler::Weights::Equal),
        10 => vec(any::<u16>(), endpoints).prop_map(scheduler::Weights::Each),
        1 => vec(any::<u16>(), endpoints + 1).prop_map(scheduler::Weights::Each),
    ];
    let flags =
        vec(prop_oneof![20 => text(&["fallback", "port", "one-packet"]), 1 => text(&["turbo"])], 0..4);
    (
        option::of(text(&["default", "wrr", "mh", "", "no\nname"])),
        option::of(flags),
        persistence,
        weights,
        option::weighted(0.02, Just(String::new())),
        extra(),
    )
        .prop_map(|(scheduler, scheduler_flags, persistence, weights, persistence_group, extra)| {
            scheduler::Scheduling {
                scheduler,
                scheduler_flags,
                persistence,
                weights,
                persistence_group,
                extra,
            }
        })
}

fn any_schedule(view: &ServiceView) -> impl Strategy<Value = scheduler::Schedule> + use<> {
    let ports: Vec<_> = view.ports.iter().map(|port| any_scheduling(port.endpoints.len())).collect();
    let ports = prop_oneof![
        10 => ports.prop_map(Some),
        4 => Just(None),
        2 => Just(Some(Vec::new())),
        1 => vec(any_scheduling(0), view.ports.len() + 1).prop_map(Some),
    ];
    let mode = text(&["until-idle", "until-deadline", "at-once", "explode"]);
    let drain =
        (mode, option::of(any::<u32>())).prop_map(|(mode, deadline)| scheduler::Drain { mode, deadline });
    (ports, option::of(drain), any::<Option<String>>(), option::of(any::<u32>()), extra()).prop_map(
        |(ports, drain, reason, re_evaluate_after, extra)| scheduler::Schedule {
            ports,
            drain,
            reason,
            re_evaluate_after,
            metrics: None,
            extra,
        },
    )
}

#[test]
fn a_schedule_is_refused_or_means_what_it_said() {
    const FLAGS: [&str; 3] = ["fallback", "port", "one-packet"];
    let drains = |drain: &scheduler::Drain| {
        matches!(
            (drain.mode.as_str(), drain.deadline),
            ("until-idle" | "at-once", None) | ("until-deadline", Some(_))
        )
    };
    let valid = |wire: &scheduler::Schedule, view: &ServiceView| {
        let ports = wire.ports.iter().flatten().zip(&view.ports).all(|(wire, port)| {
            let each = match &wire.weights {
                scheduler::Weights::Each(each) => each.len() == port.endpoints.len(),
                _ => true,
            };
            let flags = wire.scheduler_flags.iter().flatten().all(|flag| FLAGS.contains(&flag.as_str()));
            each && flags && is_empty(&wire.extra) && wire.persistence_group.is_none()
        });
        let count = is_empty(&wire.ports) || wire.ports.iter().flatten().count() == view.ports.len();
        ports && count && is_empty(&wire.extra) && wire.drain.iter().all(drains)
    };
    // Flags are a set, and reasons and lifetimes are not part of the patch.
    let same = |mut wire: scheduler::Schedule| {
        for words in wire.ports.iter_mut().flatten().filter_map(|port| port.scheduler_flags.as_mut()) {
            let known = FLAGS.into_iter().filter(|flag| words.iter().any(|word| word == flag));
            *words = known.map(str::to_owned).collect();
        }
        wire.ports.iter_mut().flatten().for_each(|port| port.extra = None);
        let ports = wire.ports.filter(|ports| !ports.is_empty());
        scheduler::Schedule { ports, reason: None, re_evaluate_after: None, extra: None, ..wire }
    };
    let answers = view().prop_flat_map(|view| (Just(view.clone()), any_schedule(&view)));
    round_trip(answers, valid, same, SchedulerPatch::print);
}

fn any_treatments() -> impl Strategy<Value = masquerade::Treatments> {
    let plain = &["default", "never", "always", "off-cluster", "remote-endpoints", "hairpin"];
    let treatment = prop_oneof![
        20 => text(plain).prop_map(|mode| masquerade::Treatment { mode, source: None }),
        5 => any_address().prop_map(|source| masquerade::Treatment { mode: "address".to_owned(), source: Some(source) }),
        1 => (text(&["never", "address", "sometimes"]), option::of(any_address()))
            .prop_map(|(mode, source)| masquerade::Treatment { mode, source }),
    ];
    let treatments = vec(option::of(treatment), 4);
    (treatments, option::of(any_networks()), any::<Option<String>>(), option::of(any::<u32>()), extra())
        .prop_map(|(mut treatments, except_sources, reason, re_evaluate_after, extra)| {
            masquerade::Treatments {
                cluster: treatments.remove(0),
                external: treatments.remove(0),
                load_balancer: treatments.remove(0),
                node_port: treatments.remove(0),
                except_sources,
                reason,
                re_evaluate_after,
                metrics: None,
                extra,
            }
        })
}

#[test]
fn treatments_are_refused_or_mean_what_they_said() {
    const PLAIN: [&str; 6] = ["default", "never", "always", "off-cluster", "remote-endpoints", "hairpin"];
    let all = |wire: &masquerade::Treatments| {
        [&wire.cluster, &wire.external, &wire.load_balancer, &wire.node_port].map(Option::clone)
    };
    let valid = |wire: &masquerade::Treatments, _: &ServiceView| {
        let treatments = all(wire).into_iter().flatten().all(|asked| match asked.source {
            None => PLAIN.contains(&asked.mode.as_str()),
            Some(_) => asked.mode == "address",
        });
        treatments
            && is_empty(&wire.extra)
            && are_networks(wire.except_sources.as_deref().unwrap_or_default())
    };
    // `hairpin` means the same as `never`.
    let same = |mut wire: masquerade::Treatments| {
        for asked in [&mut wire.cluster, &mut wire.external, &mut wire.load_balancer, &mut wire.node_port] {
            if let Some(asked) = asked.as_mut().filter(|asked| asked.mode == "hairpin") {
                asked.mode = "never".to_owned();
            }
        }
        let except_sources = wire.except_sources.map(truncated);
        masquerade::Treatments { except_sources, reason: None, re_evaluate_after: None, extra: None, ..wire }
    };
    round_trip((view(), any_treatments()), valid, same, MasqueradePatch::print);
}

fn any_verdict(view: &ServiceView) -> impl Strategy<Value = filter::Verdict> + use<> {
    let counts: Vec<usize> = view.ports.iter().map(|port| port.endpoints.len()).collect();
    let place = (any::<Index>(), any::<Index>()).prop_map(move |(port, endpoint)| {
        let port = if counts.is_empty() { 0 } else { port.index(counts.len()) };
        let count = counts.get(port).copied().unwrap_or_default();
        // A few of these indexes are out of range.
        (port as u32, endpoint.index(8 * count + 1).div_ceil(8) as u32)
    });
    let kind = select(
        &[
            types::VipKind::Cluster,
            types::VipKind::External,
            types::VipKind::LoadBalancer,
            types::VipKind::NodePort,
        ][..],
    );
    let refusal = (kind, any_address()).prop_map(|(kind, address)| filter::Refusal {
        vip: types::Vip { kind, address },
        reason: "not\there".to_owned(),
    });
    let action = prop_oneof![20 => text(&["allow", "deny"]), 1 => text(&["perhaps"])];
    let source = (any_kinds(), action, any_networks(), extra())
        .prop_map(|(kinds, action, ranges, extra)| filter::SourceFilter { kinds, action, ranges, extra });
    (
        option::of(text(&["", "mine"])),
        option::of(any_kinds()),
        option::of(vec(refusal, 0..3)),
        option::of(any_networks()),
        option::of(vec(place, 0..3)),
        option::of(vec(source, 0..3)),
        extra(),
    )
        .prop_map(|(ignore, kinds, refusals, node_port_networks, dropped_endpoints, sources, extra)| {
            let (reason, re_evaluate_after) = (None, None);
            filter::Verdict {
                ignore,
                kinds,
                refusals,
                node_port_networks,
                dropped_endpoints,
                sources,
                reason,
                re_evaluate_after,
                metrics: None,
                extra,
            }
        })
}

fn print_kinds(kinds: &VipKinds) -> types::VipKinds {
    let held = KINDS.into_iter().filter(|(kind, _)| kinds.contains(*kind));
    held.fold(types::VipKinds::empty(), |all, (_, flag)| all | flag)
}

/// Plugins never see what filters said; only this test prints it.
fn print_filter(patch: &FilterPatch) -> filter::Verdict {
    let kind = |kind| match kind {
        VipKind::Cluster => types::VipKind::Cluster,
        VipKind::External => types::VipKind::External,
        VipKind::LoadBalancer => types::VipKind::LoadBalancer,
        VipKind::NodePort => types::VipKind::NodePort,
    };
    let refusal = |vip: &RefusedVip| filter::Refusal {
        vip: types::Vip { kind: kind(vip.kind), address: address(vip.address) },
        reason: vip.reason.clone(),
    };
    let source = |source: &SourceFilter| filter::SourceFilter {
        kinds: print_kinds(&source.kinds),
        action: if source.action == SourceAction::Allow { "allow" } else { "deny" }.to_owned(),
        ranges: print_networks(&source.ranges),
        extra: None,
    };
    filter::Verdict {
        ignore: patch.ignore.clone(),
        kinds: patch.kinds.as_ref().map(print_kinds),
        refusals: some(patch.refused.iter().map(refusal).collect()),
        node_port_networks: patch.node_port_networks.as_deref().map(print_networks),
        dropped_endpoints: some(patch.dropped.iter().map(|(port, i)| (*port as u32, *i as u32)).collect()),
        sources: some(patch.sources.iter().map(source).collect()),
        reason: None,
        re_evaluate_after: None,
        metrics: None,
        extra: None,
    }
}

#[test]
fn a_verdict_is_refused_or_means_what_it_said() {
    let valid = |wire: &filter::Verdict, view: &ServiceView| {
        let sources = wire.sources.iter().flatten().all(|source| {
            ["allow", "deny"].contains(&source.action.as_str())
                && is_empty(&source.extra)
                && are_networks(&source.ranges)
        });
        let dropped = wire.dropped_endpoints.iter().flatten().all(|(port, endpoint)| {
            view.ports.get(*port as usize).is_some_and(|port| (*endpoint as usize) < port.endpoints.len())
        });
        let networks = are_networks(wire.node_port_networks.as_deref().unwrap_or_default());
        sources && dropped && networks && is_empty(&wire.extra)
    };
    let same = |mut wire: filter::Verdict| {
        wire.node_port_networks = wire.node_port_networks.map(truncated);
        for source in wire.sources.iter_mut().flatten() {
            source.ranges = truncated(std::mem::take(&mut source.ranges));
            source.extra = None;
        }
        // Other plugins' texts are kept in their printable form.
        wire.refusals.iter_mut().flatten().for_each(|refusal| refusal.reason = r"not\there".to_owned());
        filter::Verdict {
            refusals: wire.refusals.filter(|list| !list.is_empty()),
            dropped_endpoints: wire.dropped_endpoints.filter(|list| !list.is_empty()),
            sources: wire.sources.filter(|list| !list.is_empty()),
            extra: None,
            ..wire
        }
    };
    let answers = view().prop_flat_map(|view| (Just(view.clone()), any_verdict(&view)));
    round_trip(answers, valid, same, print_filter);
}
