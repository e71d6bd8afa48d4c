//! Random answers: every field, with valid and invalid values mixed. They only depend on the question.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::exports::weir::policy::{filter, masquerade, scheduler};
use crate::weir::policy::types;

/// Random numbers (splitmix64), seeded by the question.
struct Dice {
    state: u64,
    /// Whether answers may contain invalid values. A single one invalidates the whole answer, so half of the
    /// answers have none.
    odd: bool,
}

impl Dice {
    fn of(question: &impl Debug) -> Dice {
        let mut hasher = DefaultHasher::new();
        format!("{question:?}").hash(&mut hasher);
        let mut dice = Dice { state: hasher.finish(), odd: false };
        dice.odd = dice.one_in(2);
        dice
    }

    fn throw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.throw() % bound
    }

    /// True once in this many times.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    /// A valid value, or perhaps an invalid one.
    fn some<T: Clone>(&mut self, sense: &[T], nonsense: &[T]) -> T {
        if self.odd && self.one_in(3) { self.pick(nonsense) } else { self.pick(sense) }
    }

    fn list<T>(&mut self, most: u64, mut make: impl FnMut(&mut Dice) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        if self.one_in(2) { None } else { Some(make(self)) }
    }

    fn text(&mut self) -> String {
        self.pick(&["", "because", "\u{1b}[2J", "ä", "two\nlines", "KUBE-SERVICES"]).to_owned()
    }

    fn number(&mut self) -> u32 {
        let any = self.throw() as u32;
        self.some(&[1, 2, 60, 86_400], &[0, u32::MAX, any])
    }

    fn address(&mut self, known: &[types::Address]) -> types::Address {
        if !known.is_empty() && !self.one_in(3) {
            return self.pick(known);
        }
        let v4 = 0xffff_0000_0000 | self.throw() as u32 as u64;
        let (hi, lo) = (self.throw(), self.throw());
        self.pick(&[(0, v4), (0, 0xffff_7f00_0001), (0, 1), (0, 0), (hi, lo)]).into_address()
    }

    fn network(&mut self, known: &[types::Address]) -> types::Network {
        let prefix_length = self.some(&[0, 8, 24, 32], &[33, 64, 120, 128, 129, 255]);
        types::Network { address: self.address(known), prefix_length }
    }

    fn kinds(&mut self) -> types::VipKinds {
        types::VipKinds::from_bits_truncate(self.throw() as u8)
    }
}

trait IntoAddress {
    fn into_address(self) -> types::Address;
}

impl IntoAddress for (u64, u64) {
    fn into_address(self) -> types::Address {
        types::Address { hi: self.0, lo: self.1 }
    }
}

/// The addresses in a question.
fn addresses(context: &types::Context, service: &types::Service) -> Vec<types::Address> {
    let vips = service.ports.iter().flat_map(|port| &port.vips).map(|vip| vip.address);
    let endpoints = service
        .ports
        .iter()
        .flat_map(|port| port.endpoints.iter().flatten())
        .map(|endpoint| endpoint.address);
    context.host_addresses.iter().copied().chain(vips).chain(endpoints).collect()
}

pub(crate) fn verdict(context: &types::Context, service: &types::Service) -> filter::Verdict {
    let known = addresses(context, service);
    let vips: Vec<types::Vip> = service.ports.iter().flat_map(|port| port.vips.clone()).collect();
    let mut dice = Dice::of(service);
    filter::Verdict {
        ignore: if dice.one_in(8) { Some(dice.text()) } else { None },
        kinds: dice.maybe(Dice::kinds),
        refusals: Some(dice.list(3, |dice| filter::Refusal {
            vip: if vips.is_empty() || dice.odd {
                let kind = dice.pick(&[types::VipKind::Cluster, types::VipKind::NodePort]);
                types::Vip { kind, address: dice.address(&known) }
            } else {
                dice.pick(&vips)
            },
            reason: dice.text(),
        })),
        node_port_networks: dice.maybe(|dice| dice.list(3, |dice| dice.network(&known))),
        dropped_endpoints: {
            let ports = service.ports.iter().enumerate();
            let endpoints = ports.flat_map(|(i, port)| {
                (0..port.endpoints.iter().flatten().count()).map(move |j| (i as u32, j as u32))
            });
            let endpoints: Vec<(u32, u32)> = endpoints.collect();
            let most = if endpoints.is_empty() && !dice.odd { 0 } else { 4 };
            let nonsense = [(9, 0), (0, 999), (u32::MAX, u32::MAX)];
            Some(dice.list(most, |dice| {
                if endpoints.is_empty() { dice.pick(&nonsense) } else { dice.some(&endpoints, &nonsense) }
            }))
        },
        sources: Some(dice.list(3, |dice| filter::SourceFilter {
            kinds: dice.kinds(),
            action: dice.some(&["allow", "deny"], &["perhaps"]).to_owned(),
            ranges: dice.list(3, |dice| dice.network(&known)),
            extra: None,
        })),
        reason: Some(dice.text()),
        re_evaluate_after: dice.maybe(Dice::number),
        metrics: dice.maybe(|dice| vec![dice.throw(); if dice.odd { 3 } else { 2 }]),
        extra: None,
    }
}

pub(crate) fn schedule(request: &scheduler::Request) -> scheduler::Schedule {
    let mut dice = Dice::of(&request.service);
    let schedulers =
        ["rr", "wrr", "lc", "wlc", "sh", "mh", "dh", "sed", "nq", "lblc", "fo", "ovf", "no-such"];
    let mut ports: Vec<scheduler::Scheduling> = Vec::new();
    for port in &request.service.ports {
        let endpoints = port.endpoints.iter().flatten().count();
        ports.push(scheduler::Scheduling {
            scheduler: dice.maybe(|dice| dice.some(&schedulers, &["", "no such"]).to_owned()),
            scheduler_flags: dice.maybe(|dice| {
                let flags = ["fallback", "port", "one-packet"];
                dice.list(3, |dice| dice.some(&flags, &["turbo"]).to_owned())
            }),
            persistence: match dice.below(4) {
                0 => scheduler::Persistence::Keep,
                1 => scheduler::Persistence::SessionAffinity,
                2 => scheduler::Persistence::Off,
                _ => scheduler::Persistence::On((
                    dice.number(),
                    dice.some(&[8, 24, 32], &[0, 33, 64, 128, 255]),
                )),
            },
            weights: match dice.below(4) {
                0 => scheduler::Weights::Keep,
                1 => scheduler::Weights::Equal,
                _ => {
                    let count = if dice.odd && dice.one_in(4) { dice.below(9) as usize } else { endpoints };
                    scheduler::Weights::Each((0..count).map(|_| dice.pick(&[0, 0, 1, 7, 65535])).collect())
                }
            },
            persistence_group: if dice.odd && dice.one_in(8) { Some(dice.text()) } else { None },
            extra: None,
        });
    }
    if dice.odd && dice.one_in(8) {
        ports.pop();
    }
    scheduler::Schedule {
        ports: Some(ports),
        drain: dice.maybe(|dice| {
            let sense = [("until-idle", None), ("until-deadline", Some(60)), ("at-once", None)];
            let (mode, deadline) =
                dice.some(&sense, &[("until-idle", Some(9)), ("until-deadline", None), ("explode", None)]);
            scheduler::Drain { mode: mode.to_owned(), deadline }
        }),
        reason: Some(dice.text()),
        re_evaluate_after: dice.maybe(Dice::number),
        metrics: dice.maybe(|dice| vec![dice.throw(); if dice.odd { 3 } else { 2 }]),
        extra: None,
    }
}

pub(crate) fn treatments(context: &types::Context, service: &types::Service) -> masquerade::Treatments {
    let known = addresses(context, service);
    let mut dice = Dice::of(service);
    let modes = ["default", "never", "always", "off-cluster", "remote-endpoints", "hairpin"];
    let treatment = |dice: &mut Dice| {
        dice.maybe(|dice| {
            let hosts = &context.host_addresses;
            if !hosts.is_empty() && dice.one_in(3) {
                return masquerade::Treatment { mode: "address".to_owned(), source: Some(dice.pick(hosts)) };
            }
            let mode = dice.some(&modes, &["address", "sometimes"]).to_owned();
            masquerade::Treatment { mode, source: if dice.odd { Some(dice.address(&known)) } else { None } }
        })
    };
    masquerade::Treatments {
        cluster: treatment(&mut dice),
        external: treatment(&mut dice),
        load_balancer: treatment(&mut dice),
        node_port: treatment(&mut dice),
        except_sources: dice.maybe(|dice| dice.list(3, |dice| dice.network(&known))),
        reason: Some(dice.text()),
        re_evaluate_after: dice.maybe(Dice::number),
        metrics: dice.maybe(|dice| vec![dice.throw(); if dice.odd { 3 } else { 2 }]),
        extra: None,
    }
}
