//! The order of changes.
//!
//! Turning on: first sets and static rules (masquerading must work before anything answers), then virtual servers
//! with their real servers, and only then the address that attracts traffic. Turning off: the reverse.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Change, Changes, Differences, Direction, Pair, Wanted, rules};
use crate::plan::room;
use crate::rule::Chains;
use crate::set::{SetEntry, SetKind, SetName, Step};
use crate::state::{Server, VirtualServer, Weight};

/// The changes that remove the differences. Sets for which `waits` returns true are not tried now. The addresses in
/// `first` are turned on before all other virtual servers.
pub(crate) fn order(
    differences: &Differences<'_>,
    wanted: &impl Wanted,
    first: &BTreeSet<IpAddr>,
    waits: impl Fn(SetName) -> bool,
) -> Changes {
    let mut order = Order { differences, wanted, changes: Vec::new() };
    order.settings();
    let Prepared { rules: actual_rules, recreated, shrinking } = order.sets(waits);
    let permissions = order.add_entries(&recreated);
    // If both filters of a VIP change, one might admit a source that the other still admits, although both plans block
    // this source. So both filters first stop admitting sources.
    let (early, extra) = order.permissions_beside(&permissions, order.extra_entries(&recreated));
    order.delete_entries(early);
    let rules = match &differences.rules {
        Some((desired, _)) => rules::compare(desired, &actual_rules),
        None => Vec::new(),
    };
    // Rules are removed only after the VIPs that need them are turned off.
    let (gains, losses): (Vec<_>, Vec<_>) =
        rules.into_iter().partition(|rules| rules.direction == Direction::Adds);
    order.changes.extend(gains.into_iter().map(Change::WriteRules));
    order.changes.extend(permissions);
    order.turn_on(|ip| first.contains(&ip));
    order.turn_on(|ip| !first.contains(&ip));
    order.turn_off();
    // A source that is no longer admitted may also have been denied: the denial stays in force until the
    // permission is gone.
    let (permissions, others): (Entries, Entries) =
        extra.into_iter().partition(|entry| order.admits_to_closed(*entry));
    order.delete_entries(permissions);
    order.changes.extend(losses.into_iter().map(Change::WriteRules));
    order.delete_entries(others);
    order.shrink_sets(shrinking);
    order.delete_sets();
    Changes(order.changes)
}

type Entries = Vec<(SetName, SetEntry)>;

struct Order<'a, W> {
    differences: &'a Differences<'a>,
    wanted: &'a W,
    changes: Vec<Change>,
}

/// The result of preparing the sets.
struct Prepared {
    /// The actual rules without those that had to be removed with sets.
    rules: Chains,
    /// Sets that are recreated with all their entries.
    recreated: BTreeSet<SetName>,
    /// Sets that get their wanted kind after entries were deleted.
    shrinking: Vec<SetName>,
}

impl<W: Wanted> Order<'_, W> {
    fn settings(&mut self) {
        let Differences { sysctls, timeouts, devices, .. } = self.differences;
        self.changes.extend(sysctls.iter().map(|(key, value)| Change::SetSysctl((*key).clone(), *value)));
        if !timeouts.is_empty() {
            self.changes.push(Change::SetTimeouts(timeouts.clone()));
        }
        let missing = devices.iter().filter(|(_, pair)| pair.actual.is_none());
        self.changes.extend(missing.map(|(device, _)| Change::CreateDevice(*device)));
    }

    /// Creates sets, and enlarges those that are too small. A set of another type or family cannot be exchanged
    /// while rules refer to it, so these rules are removed first and written again with the others.
    fn sets(&mut self, waits: impl Fn(SetName) -> bool) -> Prepared {
        let mut rules = self.differences.rules.as_ref().map(|(_, actual)| actual.clone()).unwrap_or_default();
        let (mut created, mut grown, mut unusable) = (Vec::new(), Vec::new(), Vec::new());
        let mut shrinking = Vec::new();
        for (name, kind, actual) in self.existing_or_wanted() {
            let Some(actual) = actual else {
                created.push(Change::CreateSet(name, kind.clone()));
                continue;
            };
            if !actual.swaps_with(&kind) {
                unusable.push((name, kind));
                continue;
            }
            let during = self.kind_during(name, &kind, &actual);
            if during != actual {
                grown.push(Change::ReplaceSet(name, during.clone(), self.actual_entries(name)));
            }
            if during != kind {
                shrinking.push(name);
            }
        }
        // A set that is not tried now keeps its rules.
        let tried = unusable.iter().filter(|(name, _)| !waits(*name));
        let names: BTreeSet<String> = tried.map(|(name, _)| name.to_string()).collect();
        if !names.is_empty() {
            let whole = rules.clone();
            for list in rules.values_mut() {
                list.retain(|rule| !rule.sets().any(|set| names.contains(set)));
            }
            self.changes.extend(rules::compare(&rules, &whole).into_iter().map(Change::WriteRules));
        }
        let mut recreated = BTreeSet::new();
        for (name, kind) in unusable {
            recreated.insert(name);
            self.changes.push(Change::DestroySet(name));
            self.changes.push(Change::CreateSet(name, kind));
            let entries = self.wanted.entries_of(name);
            self.changes.extend(entries.into_iter().map(|entry| Change::AddEntry(name, entry)));
        }
        self.changes.extend(created);
        self.changes.extend(grown);
        Prepared { rules, recreated, shrinking }
    }

    /// The wanted sets that differ or get entries, with their wanted and actual kinds.
    fn existing_or_wanted(&self) -> Vec<(SetName, SetKind, Option<SetKind>)> {
        let differ =
            self.differences.sets.iter().filter_map(|(name, pair)| Some((*name, pair.desired?, pair.actual)));
        let mut sets: Vec<_> =
            differ.map(|(name, kind, actual)| (name, kind.clone(), actual.cloned())).collect();
        let mut filled: Vec<SetName> = self.differences.missing.iter().map(|(name, _)| *name).collect();
        filled.dedup();
        filled.retain(|name| !self.differences.sets.iter().any(|(other, _)| other == name));
        let same = filled.into_iter().filter_map(|name| Some((name, self.wanted.kind_of(name)?)));
        sets.extend(same.map(|(name, kind)| (name, kind.clone(), Some(kind.clone()))));
        sets
    }

    /// The kind that a set needs during the changes: new entries are added before old ones are deleted, so both
    /// need room.
    fn kind_during(&self, name: SetName, wanted: &SetKind, actual: &SetKind) -> SetKind {
        let extra = self.differences.extra.iter().filter(|(of, _)| *of == name).count();
        let needed = self.wanted.count(name) + extra;
        match (wanted, actual) {
            // Already large enough, or about to shrink.
            (SetKind::Hash { .. }, SetKind::Hash { max_elements, .. })
                if needed <= *max_elements as usize =>
            {
                actual.clone()
            }
            (SetKind::Hash { set_type, family, max_elements }, _) => {
                let max_elements = room(needed, *max_elements);
                SetKind::Hash { set_type: *set_type, family: *family, max_elements }
            }
            (SetKind::Bitmap | SetKind::Foreign(_), _) => wanted.clone(),
        }
    }

    /// The actual entries of a set.
    fn actual_entries(&self, name: SetName) -> Vec<SetEntry> {
        let of = |list: &[(SetName, SetEntry)]| -> BTreeSet<SetEntry> {
            list.iter().filter(|(of, _)| *of == name).map(|(_, entry)| *entry).collect()
        };
        let missing = of(&self.differences.missing);
        let wanted = self.wanted.entries_of(name).into_iter().filter(|entry| !missing.contains(entry));
        wanted.chain(of(&self.differences.extra)).collect()
    }

    fn shrink_sets(&mut self, names: Vec<SetName>) {
        for name in names {
            if let Some(kind) = self.wanted.kind_of(name).cloned() {
                self.changes.push(Change::ReplaceSet(name, kind, self.wanted.entries_of(name)));
            }
        }
    }

    /// Adds entries. Returns those that admit sources to a VIP that is already closed: they are added after
    /// everything else that closes it, including the rules.
    fn add_entries(&mut self, recreated: &BTreeSet<SetName>) -> Vec<Change> {
        let mut missing: Vec<_> = self.differences.missing.iter().collect();
        missing.retain(|(name, _)| !recreated.contains(name));
        missing.sort_by_key(|(name, _)| (name.set.row().step, *name));
        let is_late = |(name, entry): &&(SetName, SetEntry)| {
            name.set.row().step == Step::Admits && self.is_closed_already(*name, *entry)
        };
        let (late, missing): (Vec<_>, Vec<_>) = missing.into_iter().partition(is_late);
        let add = |(name, entry): &(SetName, SetEntry)| Change::AddEntry(*name, *entry);
        self.changes.extend(missing.into_iter().map(add));
        late.into_iter().map(add).collect()
    }

    /// Whether the VIP to which an entry admits sources is already closed to all other sources.
    fn is_closed_already(&self, name: SetName, entry: SetEntry) -> bool {
        name.companion(entry).is_some_and(|closing| self.differences.missing.binary_search(&closing).is_err())
    }

    /// The entries to delete, in order, without those of sets that are destroyed or recreated.
    fn extra_entries(&self, recreated: &BTreeSet<SetName>) -> Entries {
        let going = self.differences.sets.iter().filter(|(_, pair)| pair.desired.is_none());
        let going: BTreeSet<SetName> = going.map(|(name, _)| *name).collect();
        let mut extra = self.differences.extra.clone();
        extra.retain(|(name, _)| !going.contains(name) && !recreated.contains(name));
        extra.sort_by_key(|(name, _)| (Reverse(name.set.row().step), *name));
        extra
    }

    /// Separates, from the entries to delete, those that admit sources to a closed VIP to which another filter starts
    /// to admit sources.
    fn permissions_beside(&self, added: &[Change], extra: Entries) -> (Entries, Entries) {
        let mut growing: BTreeMap<SetEntry, BTreeSet<SetName>> = BTreeMap::new();
        for change in added {
            if let Change::AddEntry(name, entry) = change
                && let Some((filter, vip)) = name.companion(*entry)
            {
                growing.entry(vip).or_default().insert(filter);
            }
        }
        let is_beside = |(name, entry): &(SetName, SetEntry)| {
            let Some((filter, vip)) = name.companion(*entry) else { return false };
            growing.get(&vip).is_some_and(|filters| filters.iter().any(|other| *other != filter))
        };
        extra.into_iter().partition(|entry| is_beside(entry) && self.admits_to_closed(*entry))
    }

    /// Whether an entry admits sources to a VIP that stays closed to all other sources.
    fn admits_to_closed(&self, (name, entry): (SetName, SetEntry)) -> bool {
        name.set.row().step == Step::Admits
            && name.companion(entry).is_some_and(|(set, vip)| self.wanted.has_entry(set, vip))
    }

    fn delete_entries(&mut self, extra: Entries) {
        self.changes.extend(extra.into_iter().map(|(name, entry)| Change::DeleteEntry(name, entry)));
    }

    fn turn_on(&mut self, chosen: impl Fn(IpAddr) -> bool) {
        for (server, pair) in self.differences.servers.iter().filter(|(s, _)| chosen(s.address.ip())) {
            if let Some(desired) = pair.desired {
                self.serve(*server, desired, pair.actual);
            }
        }
        for (ip, pair) in self.differences.addresses.iter().filter(|(ip, _)| chosen(*ip)) {
            if pair.desired.is_some() && pair.actual.is_none() {
                self.changes.push(Change::AddAddress(*ip));
            }
        }
    }

    fn serve(&mut self, server: VirtualServer, desired: &Server, actual: Option<&Server>) {
        match actual.map(|actual| &actual.scheduling) {
            None => self.changes.push(Change::CreateVirtualServer(server, desired.scheduling.clone())),
            Some(old) if *old == desired.scheduling => {}
            Some(_) => self.changes.push(Change::UpdateVirtualServer(server, desired.scheduling.clone())),
        }
        // Quiescing comes last: until then, these may be the only real servers that take connections.
        for quiesced in [false, true] {
            for (real, weight) in desired.real_servers().filter(|(_, w)| (*w == Weight::QUIESCED) == quiesced)
            {
                match actual.and_then(|actual| actual.real_servers.get(&real)) {
                    None => self.changes.push(Change::AddRealServer(server, real, weight)),
                    Some(old) if *old == weight => {}
                    Some(_) => self.changes.push(Change::SetWeight(server, real, weight)),
                }
            }
        }
    }

    fn turn_off(&mut self) {
        let Differences { devices, addresses, servers, .. } = self.differences;
        let extra = devices.iter().filter(|(_, pair)| pair.desired.is_none());
        let extra: Vec<Change> = extra.map(|(device, _)| Change::DeleteDevice(*device)).collect();
        if extra.is_empty() {
            let extra = addresses.iter().filter(|(_, pair)| pair.desired.is_none() && pair.actual.is_some());
            self.changes.extend(extra.map(|(ip, _)| Change::DeleteAddress(*ip)));
        }
        self.changes.extend(extra);
        for (server, pair) in servers {
            let Pair { desired: Some(desired), actual: Some(actual) } = pair else { continue };
            let extra = actual.real_servers.keys().filter(|real| !desired.real_servers.contains_key(real));
            self.changes.extend(extra.map(|real| Change::DeleteRealServer(*server, *real)));
        }
        let extra = servers.iter().filter(|(_, pair)| pair.desired.is_none() && pair.actual.is_some());
        self.changes.extend(extra.map(|(server, _)| Change::DeleteVirtualServer(*server)));
    }

    fn delete_sets(&mut self) {
        let extra = self.differences.sets.iter().filter(|(_, pair)| pair.desired.is_none());
        self.changes.extend(extra.map(|(name, _)| Change::DestroySet(*name)));
    }
}
