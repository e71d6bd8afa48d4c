//! The difference between two sets of chains, and the text for `iptables-restore` that removes it.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use super::Chains;
use crate::net::Family;
use crate::rule::{Chain, Ownership, Rule, Table};

/// New content for some chains of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesChange {
    /// The family.
    pub family: Family,
    /// What changes in each table.
    pub tables: BTreeMap<Table, TableChange>,
}

/// New content for some chains of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableChange {
    /// Chains of ours with their complete new content; they are created if missing.
    pub write: BTreeMap<Chain, Vec<Rule>>,
    /// Chains of ours to delete.
    pub delete: Vec<Chain>,
    /// Jumps to insert at the top of built-in chains, first one last.
    pub insert: Vec<(Chain, Rule)>,
    /// Jumps to delete from built-in chains.
    pub remove: Vec<(Chain, Rule)>,
    /// Whether the change adds a rule anywhere.
    pub adds: bool,
}

impl TableChange {
    fn is_empty(&self) -> bool {
        self.write.is_empty() && self.delete.is_empty() && self.insert.is_empty() && self.remove.is_empty()
    }

    fn compare(&mut self, chain: Chain, desired: Option<&Vec<Rule>>, actual: Option<&Vec<Rule>>) {
        let none = Vec::new();
        let (wanted, present) = (desired.unwrap_or(&none), actual.unwrap_or(&none));
        if wanted.iter().any(|rule| !present.contains(rule)) {
            self.adds = true;
        }
        match chain.ownership() {
            Ownership::Own if desired == actual => {}
            Ownership::Own => match desired {
                Some(rules) => {
                    self.adds |= actual.is_none();
                    self.write.insert(chain, rules.clone());
                }
                None => self.delete.push(chain),
            },
            // Where a jump stands among other rules is not ours to say; only that it is there.
            Ownership::BuiltIn => {
                let missing = wanted.iter().filter(|rule| !present.contains(rule));
                self.insert.extend(missing.rev().map(|rule| (chain, rule.clone())));
                let extra = present.iter().filter(|rule| !wanted.contains(rule));
                self.remove.extend(extra.map(|rule| (chain, rule.clone())));
            }
        }
    }
}

/// What must change from `actual` to `desired`, at most one change per family.
pub(super) fn compare(desired: &Chains, actual: &Chains) -> Vec<RulesChange> {
    let mut changes: BTreeMap<Family, BTreeMap<Table, TableChange>> = BTreeMap::new();
    let mut keys: Vec<_> = desired.keys().chain(actual.keys()).copied().collect();
    keys.sort();
    keys.dedup();
    for key @ (family, table, chain) in keys {
        let change = changes.entry(family).or_default().entry(table).or_default();
        change.compare(chain, desired.get(&key), actual.get(&key));
    }
    changes
        .into_iter()
        .map(|(family, mut tables)| {
            tables.retain(|_, change| !change.is_empty());
            RulesChange { family, tables }
        })
        .filter(|change| !change.tables.is_empty())
        .collect()
}

impl RulesChange {
    /// Whether any rule is added.
    pub fn adds(&self) -> bool {
        self.tables.values().any(|change| change.adds)
    }

    /// The input for `iptables-restore --noflush`. Declaring a chain creates or empties it.
    pub fn restore_input(&self) -> String {
        let mut text = String::new();
        for (table, change) in &self.tables {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "*{table}");
            for chain in change.write.keys().chain(&change.delete) {
                let _ = writeln!(text, ":{chain} - [0:0]");
            }
            for (chain, rule) in &change.remove {
                let _ = writeln!(text, "-D {chain} {rule}");
            }
            for (chain, rules) in &change.write {
                for rule in rules {
                    let _ = writeln!(text, "-A {chain} {rule}");
                }
            }
            for (chain, rule) in &change.insert {
                let _ = writeln!(text, "-I {chain} {rule}");
            }
            for chain in &change.delete {
                let _ = writeln!(text, "-X {chain}");
            }
            text.push_str("COMMIT\n");
        }
        text
    }
}

impl fmt::Display for RulesChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut chains, mut jumps) = (0, 0);
        for change in self.tables.values() {
            chains += change.write.len() + change.delete.len();
            jumps += change.insert.len() + change.remove.len();
        }
        write!(f, "{} rules ({chains} chains, {jumps} jumps)", self.family)
    }
}
