//! Invariants of chains and rules.

use std::collections::BTreeMap;

use super::{Check, Violation};
use crate::net::Family;
use crate::rule::{Match, Ownership, Place, Rule, Target};
use crate::set::SetName;

impl Check<'_> {
    pub(super) fn rules(&mut self) {
        let sets: BTreeMap<String, SetName> =
            self.state.sets.keys().map(|name| (name.to_string(), *name)).collect();
        for ((family, table, chain), rules) in &self.state.rules {
            let place = Place { family: *family, table: *table, chain: *chain };
            let known = match chain.ownership() {
                Ownership::Own => table.own_chains(),
                Ownership::BuiltIn => table.built_in_chains(),
            };
            if !known.contains(chain) {
                self.found.push(Violation::OddChain(place));
            }
            for rule in rules {
                self.rule(place, rule, &sets);
            }
        }
    }

    fn rule(&mut self, place: Place, rule: &Rule, sets: &BTreeMap<String, SetName>) {
        let mut families = families(rule);
        for name in rule.sets() {
            match sets.get(name) {
                Some(name) => families.push(name.family),
                None => self.found.push(Violation::UnknownSet(place, name.to_owned())),
            }
        }
        let upstream = |name: &str| sets.get(name).is_some_and(|name| !name.set.is_of_policy());
        if place.chain.is_of_policy()
            && (rule.sets().any(upstream) || rule.jump().is_some_and(|to| !to.is_of_policy()))
        {
            self.found.push(Violation::Entangled(place, rule.clone()));
        }
        if families.iter().any(|family| *family != place.family) {
            self.found.push(Violation::MixedRule(place, rule.clone()));
        }
        if let Some(to) = rule.jump()
            && !self.state.rules.contains_key(&(place.family, place.table, to))
        {
            self.found.push(Violation::UnknownChain(place, to));
        }
    }
}

/// The families of the addresses in a rule and of its ICMP reply.
fn families(rule: &Rule) -> Vec<Family> {
    let Rule::Known(matches, target) = rule else { return Vec::new() };
    let mut families: Vec<Family> = matches
        .iter()
        .filter_map(|test| match test {
            Match::Source(_, net) => Some(Family::of_net(net)),
            Match::VirtualServer(_, ip, _) => Some(Family::of(*ip)),
            _ => None,
        })
        .collect();
    match target {
        Target::Reject(family) => families.push(*family),
        Target::Snat(address, _) => families.push(Family::of(*address)),
        _ => {}
    }
    families
}
