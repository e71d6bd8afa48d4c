//! The effect of `iptables-restore --noflush` with a change of rules.

use std::collections::{BTreeMap, BTreeSet};

use super::Foreign;
use crate::diff::{RulesChange, TableChange};
use crate::kernel::FailureKind::{self, Refused, Stale};
use crate::net::Family;
use crate::rule::{Chain, ChainKey, Chains, Ownership, Rule, Table, Target};
use crate::set::SetName;
use crate::state::KernelState;

type Refusal = (FailureKind, String);

/// The part of a change for its first table.
pub(super) fn first_table(change: &RulesChange) -> Option<RulesChange> {
    let (table, first) = change.tables.first_key_value()?;
    Some(RulesChange { tables: BTreeMap::from([(*table, first.clone())]), ..change.clone() })
}

/// All chains after the change.
pub(super) fn written(
    state: &KernelState,
    foreign: &Foreign,
    change: &RulesChange,
) -> Result<Chains, Refusal> {
    let mut chains = state.rules.clone();
    for (table, change_of_table) in &change.tables {
        let mut tables = Restore { chains: &mut chains, foreign, family: change.family, table: *table };
        tables.run(change_of_table)?;
        tables.commit(state)?;
    }
    // A built-in chain without our rules is not listed.
    chains.retain(|(.., chain), rules| chain.ownership() == Ownership::Own || !rules.is_empty());
    Ok(chains)
}

struct Restore<'a> {
    chains: &'a mut Chains,
    foreign: &'a Foreign,
    family: Family,
    table: Table,
}

impl Restore<'_> {
    fn key(&self, chain: Chain) -> ChainKey {
        (self.family, self.table, chain)
    }

    /// Runs the lines in the order of [`RulesChange::restore_input`].
    fn run(&mut self, change: &TableChange) -> Result<(), Refusal> {
        for chain in change.write.keys().chain(&change.delete) {
            self.chains.insert(self.key(*chain), Vec::new());
        }
        for (chain, rule) in &change.remove {
            let rules = self.rules(*chain)?;
            let Some(position) = rules.iter().position(|r| r == rule) else {
                return Err((Stale, format!("{chain} has no rule {rule}")));
            };
            rules.remove(position);
        }
        for (chain, rules) in &change.write {
            self.rules(*chain)?.extend(rules.iter().cloned());
        }
        for (chain, rule) in &change.insert {
            self.rules(*chain)?.insert(0, rule.clone());
        }
        for chain in &change.delete {
            if !self.rules(*chain)?.is_empty() {
                return Err((Refused, format!("{chain} is not empty")));
            }
            if self.all_rules().any(|rule| rule.jump() == Some(*chain)) {
                return Err((Refused, format!("{chain} is still jumped to")));
            }
            self.chains.remove(&self.key(*chain));
        }
        Ok(())
    }

    /// The rules of a chain that exists.
    fn rules(&mut self, chain: Chain) -> Result<&mut Vec<Rule>, Refusal> {
        let key = self.key(chain);
        if chain.ownership() == Ownership::BuiltIn && self.table.built_in_chains().contains(&chain) {
            return Ok(self.chains.entry(key).or_default());
        }
        self.chains.get_mut(&key).ok_or_else(|| (Stale, format!("there is no chain {chain}")))
    }

    fn all_rules(&self) -> impl Iterator<Item = &Rule> {
        let (family, table) = (self.family, self.table);
        let own = self.chains.iter().filter(move |((f, t, _), _)| (*f, *t) == (family, table));
        let foreign = self.foreign.rules.iter().filter(move |(f, t, ..)| (*f, *t) == (family, table));
        own.flat_map(|(_, rules)| rules).chain(foreign.map(|(.., rule)| rule))
    }

    /// Checks what the kernel checks when the table is committed.
    fn commit(&self, state: &KernelState) -> Result<(), Refusal> {
        let sets: BTreeSet<String> = state.sets.keys().map(SetName::to_string).collect();
        for rule in self.all_rules() {
            for name in rule.sets() {
                if !sets.contains(name) && !self.foreign.sets.contains(name) {
                    return Err((Refused, format!("Set {name} doesn't exist.")));
                }
            }
            let Rule::Known(_, target) = rule else { continue };
            match target {
                Target::Jump(chain) | Target::Goto(chain) if !self.chains.contains_key(&self.key(*chain)) => {
                    return Err((Refused, format!("Couldn't load target `{chain}'")));
                }
                Target::Reject(family) if self.table != Table::Filter || *family != self.family => {
                    return Err((Refused, "REJECT is for the filter table of its family".to_owned()));
                }
                Target::Masquerade(_) | Target::Snat(..) if self.table != Table::Nat => {
                    return Err((Refused, "MASQUERADE and SNAT are for the nat table".to_owned()));
                }
                Target::Snat(address, _) if Family::of(*address) != self.family => {
                    return Err((Refused, format!("Bad IP address \"{address}\"")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
