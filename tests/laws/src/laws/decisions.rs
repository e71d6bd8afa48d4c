//! Decisions and packets: rules and sets implement exactly what a policy decided.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use weir_core::decision::{Decision, SourceAction, Treatment, VipKind};
use weir_core::guard::clamp;
use weir_core::net::Family;
use weir_core::policy::BuiltIn;
use weir_core::rule::{Chain, Rule, Table, Target};
use weir_core::set::SetName;
use weir_core::trace::{Cause, Origin, Packet, Source, Step, Trace, Verdict, trace};
use weir_world::world;

use super::traces::{Kind, Planned, Vip, arrivals};
use crate::hostile::{Uniform, whims};

fn kind(kind: Kind) -> VipKind {
    match kind {
        Kind::Cluster => VipKind::Cluster,
        Kind::External => VipKind::External,
        Kind::LoadBalancer => VipKind::LoadBalancer,
        Kind::NodePort => VipKind::NodePort,
    }
}

fn is_served(decision: &Decision, vip: &Vip<'_>) -> bool {
    let (kind, ip) = (kind(vip.kind), vip.server.address.ip());
    let vips = &decision.vips;
    vips.kinds.contains(kind)
        && !vips.refused.iter().any(|refused| (refused.kind, refused.address) == (kind, ip))
        && (kind != VipKind::NodePort
            || vips.node_port_networks.as_ref().is_none_or(|nets| nets.iter().any(|net| net.contains(&ip))))
}

fn is_shut_out(decision: &Decision, vip: &Vip<'_>, source: IpAddr) -> bool {
    let of_kind = decision.sources.iter().filter(|filter| filter.kinds.contains(kind(vip.kind)));
    of_kind.into_iter().any(|filter| {
        let named = filter.ranges.iter().any(|net| net.contains(&source));
        match filter.action {
            SourceAction::Allow => !named,
            SourceAction::Deny => named,
        }
    })
}

/// The source address that an endpoint sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Itself,
    Node,
    Address(IpAddr),
}

fn seen(
    planned: &Planned,
    decision: &Decision,
    vip: &Vip<'_>,
    from: (IpAddr, &Origin),
    to: SocketAddr,
) -> Seen {
    let (source, origin) = from;
    if *origin != Origin::Host && planned.is_here(to.ip()) {
        return Seen::Itself;
    }
    let runs_here = planned.runs_here(vip.server.protocol, to);
    if to.ip() == source && runs_here {
        return Seen::Node;
    }
    if decision.masquerade.except.iter().any(|net| net.contains(&source)) {
        return Seen::Itself;
    }
    let by_default = planned.is_masqueraded(vip, source, origin);
    let everything = |net: &&ipnet::IpNet| net.prefix_len() == 0 && Family::of_net(net) == vip.port.family;
    let masqueraded = match *decision.masquerade.treatments.get(kind(vip.kind)) {
        _ if decision.masquerade.except.iter().any(|net| everything(&net)) => false,
        Treatment::Default => by_default,
        Treatment::Never => false,
        Treatment::Always => true,
        Treatment::OffCluster => planned.is_outside(vip.port.family, source, origin).unwrap_or(by_default),
        Treatment::RemoteEndpoints => !runs_here,
        Treatment::Address(address) if Family::of(address) == vip.port.family => {
            return Seen::Address(address);
        }
        Treatment::Address(_) => by_default,
    };
    if masqueraded { Seen::Node } else { Seen::Itself }
}

fn shown(source: &Source) -> Seen {
    match source {
        Source::Kept => Seen::Itself,
        Source::Masqueraded(_, Rule::Known(_, Target::Snat(address, _))) => Seen::Address(*address),
        Source::Masqueraded(..) => Seen::Node,
    }
}

/// Whether no later rule of the nat table sees the incoming packet.
fn leaves_nat(trace: &Trace) -> bool {
    let accepts = |step: &Step| match step {
        Step::Rule(place, Rule::Known(_, Target::Accept)) => place.table == Table::Nat,
        _ => false,
    };
    trace.steps.iter().any(accepts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// L9 for decisions: a refused VIP leads to no endpoint, packets from a blocked source are dropped, and each
    /// endpoint sees the source that was decided.
    #[test]
    fn packets_are_treated_as_decided(world in world(24), whims in whims()) {
        let policy = Uniform(whims);
        let planned = Planned::by(&world, policy.clone());
        for vip in planned.undisputed_vips() {
            let decided = policy.decision(vip.service, &planned.node);
            let (decision, _) = clamp(vip.service, decided, &planned.node);
            let mut packets = arrivals(vip.port.family);
            packets.push((vip.server.address.ip(), Origin::Host));
            for (source, origin) in packets {
                let from = SocketAddr::new(source, 40_000);
                let packet = Packet::new(vip.server.protocol, from, vip.server.address, origin.clone()).unwrap();
                let trace = trace(&planned.state, &planned.node.host_addresses, &packet);
                let text = format!("{:?} {} from {source} {origin:?}:\n{trace}", vip.kind, vip.server);
                if !is_served(&decision, &vip) {
                    let reached = matches!(trace.verdict, Verdict::Delivered(..) | Verdict::NoRealServer(_));
                    prop_assert!(!reached, "{}", text);
                    continue;
                }
                if planned.passes_by(&vip, &origin) {
                    continue;
                }
                if origin != Origin::Host && is_shut_out(&decision, &vip, source) {
                    let dropped = matches!(
                        &trace.verdict,
                        Verdict::Dropped(Cause::Rule(place, _)) if place.chain == Chain::KubeProxyFirewall
                    );
                    prop_assert!(dropped, "{}", text);
                    continue;
                }
                let admitted = !matches!(
                    &trace.verdict,
                    Verdict::Dropped(Cause::Rule(place, _)) if place.chain == Chain::KubeProxyFirewall
                );
                prop_assert!(admitted, "{}", text);
                let Verdict::Delivered(_, ways) = &trace.verdict else { continue };
                for way in ways {
                    let expected = seen(&planned, &decision, &vip, (source, &origin), way.real.0);
                    prop_assert_eq!(shown(&way.source), expected, "to {}: {}", way.real, text);
                }
            }
        }
    }

    /// kube-proxy takes packets to a VIP out of the nat table, so that no other rule redirects them (for example
    /// that of a pod's host port). This holds whatever was decided about their source.
    #[test]
    fn others_do_not_redirect_what_is_decided(world in world(24), whims in whims()) {
        let policy = Uniform(whims);
        let (upstream, planned) = (Planned::by(&world, BuiltIn), Planned::by(&world, policy.clone()));
        for vip in planned.undisputed_vips() {
            let (decision, _) = clamp(vip.service, policy.decision(vip.service, &planned.node), &planned.node);
            if !is_served(&decision, &vip) {
                continue;
            }
            for (source, origin) in arrivals(vip.port.family) {
                let from = SocketAddr::new(source, 40_000);
                let packet = Packet::new(vip.server.protocol, from, vip.server.address, origin).unwrap();
                let host = &planned.node.host_addresses;
                let traces = [&upstream, &planned].map(|by| trace(&by.state, host, &packet));
                let [before, after] = traces.each_ref().map(leaves_nat);
                prop_assert!(after || !before, "{:?} {}:\n{}", vip.kind, vip.server, traces[1]);
            }
        }
    }

    /// The number of sets, chains and rules that policies need does not depend on the number of services.
    #[test]
    fn rules_of_policies_do_not_grow(world in world(40), whims in whims()) {
        let planned = Planned::by(&world, Uniform(whims));
        let ours = |name: &str| name.starts_with("WEIR-");
        let sets = planned.state.sets.keys().filter(|name| ours(&SetName::to_string(name))).count();
        prop_assert!(sets <= 20, "{sets} sets");
        let of_ours = planned.state.rules.iter().flat_map(|((.., chain), rules)| {
            rules.iter().filter(move |rule| {
                ours(chain.name()) || rule.sets().any(ours) || rule.jump().is_some_and(|to| ours(to.name()))
            })
        });
        prop_assert!(of_ours.count() <= 2 * 20);
    }
}
