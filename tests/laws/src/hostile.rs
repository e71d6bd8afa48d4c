//! Policies that give wrong answers of every kind.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::select;
use weir_core::decision::{
    Decision, Drain, Handling, Masquerade, PerVipKind, PortDecision, RefusedVip, SourceAction, SourceFilter,
    Treatment, VipFilter, VipKind, VipKinds,
};
use weir_core::node::NodeView;
use weir_core::policy::{BuiltIn, Decided, Policy, Surroundings};
use weir_core::state::{Persistence, SchedulerFlags, Scheduling, Weight};
use weir_core::view::{PortView, ServiceView};

/// A policy that answers each service with one of its whims, always with the same one.
#[derive(Clone, Debug)]
pub struct Hostile {
    whims: Vec<Whim>,
}

#[derive(Clone, Debug)]
struct Whim {
    ignore: bool,
    /// Number of decisions left out or, if negative, added.
    missing_ports: i8,
    scheduler: &'static str,
    flags: u32,
    persistence: Option<(u32, u8)>,
    weights: Weights,
    dropped: Dropped,
    vips: VipFilter,
    sources: Vec<SourceFilter>,
    masquerade: Masquerade,
    drain: Drain,
}

#[derive(Clone, Copy, Debug)]
enum Dropped {
    None,
    All,
    First,
    Nonsense,
}

#[derive(Clone, Copy, Debug)]
enum Weights {
    All(u16),
    Rising,
    Number(u8),
    OnlyUnused,
}

/// Generates a hostile policy.
pub fn hostile() -> impl Strategy<Value = Hostile> {
    prop::collection::vec(whim(), 1..4).prop_map(|whims| Hostile { whims })
}

/// Any policy: kube-proxy's behaviour, a hostile policy, or one whose decisions mostly need no clamping.
#[derive(Clone, Debug)]
pub enum AnyPolicy {
    /// kube-proxy's behaviour.
    BuiltIn,
    /// See [`hostile`].
    Hostile(Hostile),
    /// See [`Uniform`].
    Uniform(Uniform),
}

/// Generates any policy.
///
/// Boxed, because laws that use several would otherwise need more stack than a test has.
pub fn any_policy() -> BoxedStrategy<AnyPolicy> {
    prop_oneof![
        Just(AnyPolicy::BuiltIn),
        hostile().prop_map(AnyPolicy::Hostile).boxed(),
        whims().prop_map(|whims| AnyPolicy::Uniform(Uniform(whims))).boxed(),
    ]
    .boxed()
}

impl Policy for AnyPolicy {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        match self {
            AnyPolicy::BuiltIn => BuiltIn.decide(views, around),
            AnyPolicy::Hostile(policy) => policy.decide(views, around),
            AnyPolicy::Uniform(policy) => policy.decide(views, around),
        }
    }
}

/// A policy that makes the same decision for every service, and does not change scheduling.
#[derive(Clone, Debug)]
pub struct Uniform(pub Whims);

impl Uniform {
    /// Returns its decision for a service.
    pub fn decision(&self, view: &ServiceView, node: &NodeView) -> Decision {
        let Whims { vips, sources, masquerade } = self.0.clone();
        Decision { vips, sources, masquerade, ..Decision::upstream(view, node) }
    }
}

impl Policy for Uniform {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        views.iter().map(|view| self.decision(view, around.node).into()).collect()
    }
}

fn whim() -> impl Strategy<Value = Whim> {
    let schedulers = &[
        "rr",
        "wrr",
        "sh",
        "",
        "nonsense",
        "a_name_of_16_byte",
        "rr rr",
        "../rr",
        "RR",
        "\u{0}",
        "ééééé",
    ][..];
    let flags = prop_oneof![Just(0), Just(0x4), Just(0x18), any::<u32>()];
    let weights = prop_oneof![
        Just(Weights::All(0)),
        Just(Weights::All(u16::MAX)),
        Just(Weights::Rising),
        any::<u8>().prop_map(Weights::Number),
        Just(Weights::OnlyUnused),
    ];
    let missing = prop_oneof![4 => Just(0i8), 1 => -2..3i8];
    let timeouts = prop_oneof![Just(0), Just(60), Just(86_401), any::<u32>()];
    let prefixes = select(&[0, 1, 24, 32, 33, 64, 128, 129, 255][..]);
    let persistence = prop::option::of((timeouts, prefixes));
    let dropped = select(&[Dropped::None, Dropped::All, Dropped::First, Dropped::Nonsense][..]);
    let scheduling =
        (prop::bool::weighted(0.2), missing, select(schedulers), flags, persistence, weights, dropped);
    let drain = prop_oneof![
        Just(Drain::UntilIdle),
        Just(Drain::AtOnce),
        any::<u64>().prop_map(|s| Drain::UntilDeadline(Duration::from_secs(s))),
    ];
    let rest = (vips(), prop::collection::vec(source_filter(), 0..3), masquerade(), drain);
    (scheduling, rest).prop_map(
        |(
            (ignore, missing_ports, scheduler, flags, persistence, weights, dropped),
            (vips, sources, masquerade, drain),
        )| Whim {
            ignore,
            missing_ports,
            scheduler,
            flags,
            persistence,
            weights,
            dropped,
            vips,
            sources,
            masquerade,
            drain,
        },
    )
}

/// The part of a decision about VIPs and sources, of any kind.
#[derive(Clone, Debug)]
pub struct Whims {
    /// Which VIPs to handle.
    pub vips: VipFilter,
    /// Which sources may connect.
    pub sources: Vec<SourceFilter>,
    /// Which sources are replaced.
    pub masquerade: Masquerade,
}

/// Generates whims of every kind.
pub fn whims() -> impl Strategy<Value = Whims> {
    let vips = prop_oneof![3 => Just(VipFilter::default()), 1 => vips()];
    let sources = prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(source_filter(), 1..4)];
    (vips, sources, masquerade()).prop_map(|(vips, sources, masquerade)| Whims { vips, sources, masquerade })
}

/// Generates addresses: VIPs, the node's, a pod's, and unused ones.
fn some_address() -> impl Strategy<Value = IpAddr> {
    const ADDRESSES: &[&str] = &[
        "10.96.0.1",
        "10.96.0.10",
        "192.0.2.1",
        "10.0.2.15",
        "8.8.8.8",
        "203.0.113.200",
        "10.244.0.1",
        "2600::1",
        "fd00:244::1",
        "127.0.0.1",
        "0.0.0.0",
        "203.0.113.1",
        "fd00:96::10",
        "2001:db8::15",
        "fe80::1",
        "::",
    ];
    prop_oneof![3 => select(ADDRESSES).prop_map(|text| text.parse().unwrap()), 1 => any::<IpAddr>()]
}

/// Generates networks, with host bits.
pub fn networks() -> impl Strategy<Value = Vec<IpNet>> {
    let net = || {
        (some_address(), 0..=128u8).prop_map(|(ip, prefix)| {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            IpNet::new(ip, prefix % (longest + 1)).unwrap()
        })
    };
    prop_oneof![8 => prop::collection::vec(net(), 0..4), 1 => prop::collection::vec(net(), 300..301)]
}

fn kinds() -> impl Strategy<Value = VipKinds> {
    prop::sample::subsequence(VipKind::ALL.to_vec(), 0..=4).prop_map(|kinds| kinds.into_iter().collect())
}

fn vips() -> impl Strategy<Value = VipFilter> {
    let refused = (select(&VipKind::ALL[..]), some_address()).prop_map(|(kind, address)| RefusedVip {
        kind,
        address,
        reason: "a\nwhim".to_owned(),
    });
    let all = Just(VipKinds::ALL);
    (prop_oneof![2 => all, 1 => kinds()], prop::collection::vec(refused, 0..4), prop::option::of(networks()))
        .prop_map(|(kinds, refused, node_port_networks)| VipFilter { kinds, refused, node_port_networks })
}

fn source_filter() -> impl Strategy<Value = SourceFilter> {
    let action = select(&[SourceAction::Allow, SourceAction::Deny][..]);
    (kinds(), action, networks()).prop_map(|(kinds, action, ranges)| SourceFilter { kinds, action, ranges })
}

fn masquerade() -> impl Strategy<Value = Masquerade> {
    let treatment = || {
        prop_oneof![
            Just(Treatment::Default),
            Just(Treatment::Never),
            Just(Treatment::Always),
            Just(Treatment::OffCluster),
            Just(Treatment::RemoteEndpoints),
            some_address().prop_map(Treatment::Address),
        ]
    };
    let except = prop_oneof![2 => Just(Vec::new()), 1 => networks()];
    ((treatment(), treatment(), treatment(), treatment()), except).prop_map(
        |((cluster, external, load_balancer, node_port), except)| Masquerade {
            treatments: PerVipKind { cluster, external, load_balancer, node_port },
            except,
        },
    )
}

impl Whim {
    fn decide(&self, view: &ServiceView) -> Decision {
        let handling = if self.ignore { Handling::Ignore("a whim".to_owned()) } else { Handling::Handle };
        let mut ports: Vec<PortDecision> = view.ports.iter().map(|port| self.port(port)).collect();
        match self.missing_ports {
            0.. => ports.truncate(ports.len().saturating_sub(self.missing_ports as usize)),
            _ => ports.extend(ports.first().cloned()),
        }
        Decision {
            handling,
            ports,
            vips: self.vips.clone(),
            sources: self.sources.clone(),
            masquerade: self.masquerade.clone(),
            drain: self.drain,
        }
    }

    fn port(&self, port: &PortView) -> PortDecision {
        let count = port.endpoints.len();
        let unused = |i| !port.selection.internal.contains(&i) && !port.selection.external.contains(&i);
        let weights = match self.weights {
            Weights::All(weight) => vec![Weight(weight); count],
            Weights::Rising => (0..count).map(|i| Weight(i as u16)).collect(),
            Weights::Number(number) => vec![Weight(7); usize::from(number)],
            Weights::OnlyUnused => (0..count).map(|i| Weight(u16::from(unused(i)))).collect(),
        };
        let persistence = self.persistence.map(|(timeout, prefix)| Persistence { timeout, prefix });
        let flags = SchedulerFlags(self.flags);
        let dropped = match self.dropped {
            Dropped::None => BTreeSet::new(),
            Dropped::All => (0..count).collect(),
            Dropped::First => BTreeSet::from([0]),
            Dropped::Nonsense => BTreeSet::from([1, count, usize::MAX]),
        };
        PortDecision {
            scheduling: Scheduling { scheduler: self.scheduler.to_owned(), flags, persistence },
            weights,
            dropped,
        }
    }
}

impl Policy for Hostile {
    fn decide(&mut self, views: &[ServiceView], _: &Surroundings<'_>) -> Vec<Decided> {
        let choose =
            |view: &ServiceView| view.service.name.to_string().bytes().map(usize::from).sum::<usize>();
        views.iter().map(|view| self.whims[choose(view) % self.whims.len()].decide(view).into()).collect()
    }
}

/// A policy that omits one service in its answer.
#[derive(Clone, Copy, Debug)]
pub struct Forgetful;

impl Policy for Forgetful {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        views.iter().skip(1).map(|view| Decision::upstream(view, around.node).into()).collect()
    }
}
