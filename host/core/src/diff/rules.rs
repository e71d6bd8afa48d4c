//! The difference between two sets of chains, and the `iptables-restore` input that removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;

use crate::net::Family;
use crate::rule::{Chain, Chains, Ownership, Rule, Table};
use crate::text::counted;

/// New content for some chains of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesChange {
    /// The family.
    pub family: Family,
    /// Whether rules are added or only removed.
    pub direction: Direction,
    /// The changes in each table.
    pub tables: BTreeMap<Table, TableChange>,
}

/// Whether a change of rules adds any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Rules are added; others may be removed.
    Adds,
    /// Rules are only removed. They may filter something that still exists, so they are removed after it.
    Removes,
}

/// New content for some chains of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableChange {
    /// Our chains to write, with their complete new content; created if missing.
    pub write: BTreeMap<Chain, Vec<Rule>>,
    /// Our chains to delete.
    pub delete: Vec<Chain>,
    /// Jumps to insert at the top of built-in chains, the first one last.
    pub insert: Vec<(Chain, Rule)>,
    /// Jumps to delete from built-in chains.
    pub remove: Vec<(Chain, Rule)>,
}

impl TableChange {
    fn is_empty(&self) -> bool {
        self.write.is_empty() && self.delete.is_empty() && self.insert.is_empty() && self.remove.is_empty()
    }
}

/// The changes in one table, in both directions.
#[derive(Default)]
struct TableChanges {
    adds: TableChange,
    removes: TableChange,
}

impl TableChanges {
    fn compare(&mut self, chain: Chain, desired: Option<&Vec<Rule>>, actual: Option<&Vec<Rule>>) {
        let none = Vec::new();
        match (chain.ownership(), desired) {
            (Ownership::BuiltIn, _) => {
                self.compare_jumps(chain, desired.unwrap_or(&none), actual.unwrap_or(&none));
            }
            (Ownership::Own, None) if actual.is_some() => self.removes.delete.push(chain),
            (Ownership::Own, Some(wanted)) if desired != actual => self.compare_own(chain, wanted, actual),
            (Ownership::Own, _) => {}
        }
    }

    fn compare_own(&mut self, chain: Chain, wanted: &[Rule], actual: Option<&Vec<Rule>>) {
        if let Some(present) = actual {
            if is_subsequence(wanted, present) {
                self.removes.write.insert(chain, wanted.to_vec());
                return;
            }
            let filters = present.iter().filter(|rule| filters(rule) && !wanted.contains(rule));
            let first: Vec<Rule> = wanted.iter().chain(filters).cloned().collect();
            if first.len() > wanted.len() {
                self.removes.write.insert(chain, wanted.to_vec());
                self.adds.write.insert(chain, first);
                return;
            }
        }
        self.adds.write.insert(chain, wanted.to_vec());
    }

    /// A jump's position among other rules is not ours to decide; only its presence counts.
    fn compare_jumps(&mut self, chain: Chain, wanted: &[Rule], present: &[Rule]) {
        let missing = wanted.iter().filter(|rule| !present.contains(rule));
        self.adds.insert.extend(missing.rev().map(|rule| (chain, rule.clone())));
        let extra = present.iter().filter(|rule| !wanted.contains(rule));
        self.removes.remove.extend(extra.map(|rule| (chain, rule.clone())));
    }
}

/// Whether a rule keeps packets away from a VIP that may still exist: it drops them, or leads to the chain that
/// drops them.
fn filters(rule: &Rule) -> bool {
    rule.drops() || rule.jump() == Some(Chain::KubeSourceRangesFirewall)
}

/// Whether `part` is `all` with some elements left out.
fn is_subsequence(part: &[Rule], all: &[Rule]) -> bool {
    let mut rest = all.iter();
    part.iter().all(|rule| rest.any(|other| other == rule))
}

/// The changes from `actual` to `desired`: at most one per family and direction, additions first.
pub(super) fn compare(desired: &Chains, actual: &Chains) -> Vec<RulesChange> {
    let mut changes: BTreeMap<(Direction, Family), BTreeMap<Table, TableChange>> = BTreeMap::new();
    let keys: BTreeSet<_> = desired.keys().chain(actual.keys()).collect();
    let mut tables: BTreeMap<(Family, Table), TableChanges> = BTreeMap::new();
    for key @ (family, table, chain) in keys {
        let change = tables.entry((*family, *table)).or_default();
        change.compare(*chain, desired.get(key), actual.get(key));
    }
    for ((family, table), change) in tables {
        for (direction, change) in [(Direction::Adds, change.adds), (Direction::Removes, change.removes)] {
            if !change.is_empty() {
                changes.entry((direction, family)).or_default().insert(table, change);
            }
        }
    }
    changes
        .into_iter()
        .map(|((direction, family), tables)| RulesChange { family, direction, tables })
        .collect()
}

impl RulesChange {
    /// The input for `iptables-restore --noflush`. Declaring a chain creates or flushes it.
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
        write!(f, "{} rules ({}, {})", self.family, counted(chains, "chain"), counted(jumps, "jump"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(list: &[(Table, Chain, &[&str])]) -> Chains {
        let parse = |rules: &[&str]| rules.iter().map(|text| Rule::parse(text)).collect();
        list.iter().map(|(table, chain, rules)| ((Family::V4, *table, *chain), parse(rules))).collect()
    }

    const FILTERED: &str = "-m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL";
    const EXTERNAL: &str = "-m set --match-set KUBE-EXTERNAL-IP dst,dst -j KUBE-MARK-MASQ";

    /// A new rule for one service must not remove the filter of another one that is being deleted.
    #[test]
    fn rules_go_after_what_they_filter() {
        let actual = chains(&[
            (Table::Filter, Chain::KubeProxyFirewall, &[FILTERED]),
            (Table::Nat, Chain::KubeServices, &[]),
        ]);
        let desired = chains(&[
            (Table::Filter, Chain::KubeProxyFirewall, &[]),
            (Table::Nat, Chain::KubeServices, &[EXTERNAL]),
        ]);
        let changes = compare(&desired, &actual);
        let tables: Vec<_> =
            changes.iter().map(|c| (c.direction, c.tables.keys().copied().collect::<Vec<_>>())).collect();
        assert_eq!(tables, [(Direction::Adds, vec![Table::Nat]), (Direction::Removes, vec![Table::Filter])]);
    }

    #[test]
    fn drops_stay_until_what_they_drop_is_gone() {
        let place = (Table::Filter, Chain::KubeIpvsOutFilter);
        let drop = |ip: &str| format!("-s {ip}/32 -m ipvs --vproto 6 --vaddr {ip} --vport 443 -j DROP");
        let (old, new) = (drop("203.0.113.1"), drop("203.0.113.2"));
        let state = |rule: &str| chains(&[(place.0, place.1, &[rule])]);
        let changes = compare(&state(&new), &state(&old));
        let written: Vec<usize> = changes.iter().map(|c| c.tables[&place.0].write[&place.1].len()).collect();
        assert_eq!(written, [2, 1]);
    }

    /// One service's source ranges are removed while another's list of denied sources is added to the same chain.
    #[test]
    fn source_ranges_stay_until_what_they_filter_is_gone() {
        const DENIED: &str = "-m set --match-set WEIR-SOURCE-DENY dst,dst,src -j DROP";
        let place = (Table::Filter, Chain::KubeProxyFirewall);
        let state = |rule: &str| chains(&[(place.0, place.1, &[rule])]);
        let changes = compare(&state(DENIED), &state(FILTERED));
        let written: Vec<Vec<String>> = changes
            .iter()
            .map(|c| c.tables[&place.0].write[&place.1].iter().map(Rule::to_string).collect())
            .collect();
        assert_eq!(written, [vec![DENIED, FILTERED], vec![DENIED]]);
    }

    #[test]
    fn nothing_is_written_for_jumps_in_another_order() {
        let jumps = |list: &[&str]| chains(&[(Table::Filter, Chain::Input, list)]);
        let changes = compare(
            &jumps(&["-j KUBE-IPVS-FILTER", "-j KUBE-NODE-PORT"]),
            &jumps(&["-j KUBE-NODE-PORT", "-j KUBE-IPVS-FILTER", "-j KUBE-NODE-PORT"]),
        );
        assert_eq!(changes, []);
    }
}
