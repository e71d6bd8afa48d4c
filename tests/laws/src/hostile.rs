//! Policies that answer anything but what they should.

use proptest::prelude::*;
use proptest::sample::select;
use weir_core::decision::{Decision, Handling, PortDecision};
use weir_core::policy::{Decided, Policy, Surroundings};
use weir_core::state::{Persistence, SchedulerFlags, Scheduling, Weight};
use weir_core::view::{PortView, ServiceView};

/// A policy that answers each service by one of its whims, always by the same one.
#[derive(Clone, Debug)]
pub struct Hostile {
    whims: Vec<Whim>,
}

#[derive(Clone, Debug)]
struct Whim {
    ignore: bool,
    /// Decisions left out or, if negative, added.
    missing_ports: i8,
    scheduler: &'static str,
    flags: u32,
    persistence: Option<(u32, u8)>,
    weights: Weights,
}

#[derive(Clone, Copy, Debug)]
enum Weights {
    All(u16),
    Rising,
    Number(u8),
    OnlyUnused,
}

/// A hostile policy.
pub fn hostile() -> impl Strategy<Value = Hostile> {
    prop::collection::vec(whim(), 1..4).prop_map(|whims| Hostile { whims })
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
    (prop::bool::weighted(0.2), missing, select(schedulers), flags, persistence, weights).prop_map(
        |(ignore, missing_ports, scheduler, flags, persistence, weights)| Whim {
            ignore,
            missing_ports,
            scheduler,
            flags,
            persistence,
            weights,
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
            vips: Default::default(),
            sources: Vec::new(),
            masquerade: Default::default(),
            drain: Default::default(),
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
        PortDecision {
            scheduling: Scheduling { scheduler: self.scheduler.to_owned(), flags, persistence },
            weights,
            dropped: Default::default(),
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

/// A policy that answers for one service too few.
#[derive(Clone, Copy, Debug)]
pub struct Forgetful;

impl Policy for Forgetful {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        views.iter().skip(1).map(|view| Decision::upstream(view, around.node).into()).collect()
    }
}
