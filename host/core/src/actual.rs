//! The kernel's state, stored as its differences from the desired state.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::desired::Desired;
use crate::diff::{Change, Differences, Pair, Wanted, record_rules, record_server};
use crate::kernel::Fact;
use crate::net::Family;
use crate::retry::Subject;
use crate::rule::{ChainKey, Chains, Ownership, Rule};
use crate::set::{SetEntry, SetKind, SetName};
use crate::state::{Device, KernelState, Server, Sysctl, Timeout, VirtualServer, is_excluded};

/// The keys whose value in the kernel differs from the desired state, with the kernel's value; `None` = absent. As
/// the result of [`Desired::take_touched`], it has the changed keys with their previously wanted values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    pub(crate) sysctls: BTreeMap<Sysctl, Option<i64>>,
    pub(crate) timeouts: BTreeMap<Timeout, Option<u32>>,
    pub(crate) devices: BTreeMap<Device, Option<()>>,
    pub(crate) sets: BTreeMap<SetName, Option<SetKind>>,
    pub(crate) entries: BTreeMap<(SetName, SetEntry), Option<()>>,
    pub(crate) chains: BTreeMap<ChainKey, Option<Vec<Rule>>>,
    pub(crate) addresses: BTreeMap<IpAddr, Option<()>>,
    pub(crate) servers: BTreeMap<VirtualServer, Option<Server>>,
}

impl Actual {
    /// Whether the kernel's state equals the desired state.
    pub fn is_as_wanted(&self) -> bool {
        *self == Actual::default()
    }

    /// Records that the desired state of the node itself has changed.
    pub(crate) fn note_changed(&mut self, before: &KernelState, now: &KernelState) {
        note(&mut self.sysctls, &before.sysctls, &now.sysctls);
        note(&mut self.timeouts, &before.timeouts, &now.timeouts);
        note(&mut self.devices, &before.devices, &now.devices);
        note(&mut self.sets, &before.sets, &now.sets);
        note_chains(&mut self.chains, &before.rules, &now.rules);
    }

    /// Adds keys whose wanted value changed. The kernel is assumed to hold the previously wanted value, unless it
    /// is known to hold another one.
    pub(crate) fn absorb(&mut self, touched: Actual, desired: &Desired) {
        let Actual { sysctls, timeouts, devices, sets, entries, chains, addresses, servers } = touched;
        let own = desired.own();
        absorb(&mut self.sysctls, sysctls, |key| own.sysctls.get(key).copied());
        absorb(&mut self.timeouts, timeouts, |key| own.timeouts.get(key).copied());
        // A sysctl that is no longer wanted keeps its value: weir has no opinion on it.
        self.sysctls.retain(|key, _| own.sysctls.contains_key(key));
        self.timeouts.retain(|key, _| own.timeouts.contains_key(key));
        absorb(&mut self.devices, devices, |key| own.devices.get(key).copied());
        absorb(&mut self.sets, sets, |key| own.sets.get(key).cloned());
        absorb(&mut self.entries, entries, |(name, entry)| desired.member(*name, *entry));
        absorb(&mut self.chains, chains, |key| own.rules.get(key).cloned());
        absorb(&mut self.addresses, addresses, |ip| desired.has_address(*ip).then_some(()));
        for (server, before) in servers {
            let wanted = desired.server(server).map(|want| &want.server);
            let actual = self.servers.entry(server).or_insert(before);
            // Excluded virtual servers that are not wanted belong to other programs.
            if actual.as_ref() == wanted || (wanted.is_none() && is_excluded(desired.excluded(), server)) {
                self.servers.remove(&server);
            }
        }
    }

    /// Whether a key with a difference belongs to the subject of a change.
    pub(crate) fn concerns(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Sysctl(key) => self.sysctls.contains_key(key),
            Subject::Timeouts => !self.timeouts.is_empty(),
            Subject::Device(device) => self.devices.contains_key(device),
            Subject::Set(name) => self.sets.contains_key(name),
            Subject::Entry(name, entry) => self.entries.contains_key(&(*name, *entry)),
            Subject::Rules(family, _, tables) => {
                self.chains.keys().any(|(of, table, _)| of == family && tables.contains(table))
            }
            Subject::Address(ip) => self.addresses.contains_key(ip),
            Subject::VirtualServer(server) | Subject::RealServer(server, _) | Subject::Flows(server) => {
                self.servers.contains_key(server)
            }
        }
    }

    /// Whether the kernel has a virtual server at an address.
    pub(crate) fn serves(&self, ip: IpAddr, desired: &Desired) -> bool {
        let wanted = desired.servers_at(ip);
        let there = |server: &VirtualServer| self.server(*server, desired).is_some();
        wanted.iter().any(there)
            || self.servers.iter().any(|(server, actual)| server.address.ip() == ip && actual.is_some())
    }

    /// The differences, without the virtual servers for which `asleep` returns true.
    pub(crate) fn differences<'a>(
        &'a self,
        desired: &'a Desired,
        asleep: impl Fn(VirtualServer) -> bool,
    ) -> Differences<'a> {
        let own = desired.own();
        let sysctls = self.sysctls.keys().filter_map(|key| Some((key, *own.sysctls.get(key)?)));
        let timeouts = self.timeouts.keys().filter_map(|key| Some((*key, *own.timeouts.get(key)?)));
        let (mut missing, mut extra) = (Vec::new(), Vec::new());
        for (key, actual) in &self.entries {
            if actual.is_some() { extra.push(*key) } else { missing.push(*key) }
        }
        let device = |(key, actual): (&Device, &Option<()>)| {
            (*key, Pair { desired: own.devices.get(key).copied(), actual: *actual })
        };
        let address = |(ip, actual): (&IpAddr, &Option<()>)| {
            (*ip, Pair { desired: desired.has_address(*ip).then_some(()), actual: *actual })
        };
        let set = |(name, actual): (&SetName, &'a Option<SetKind>)| {
            (*name, Pair { desired: own.sets.get(name), actual: actual.as_ref() })
        };
        let server = |(server, actual): (&VirtualServer, &'a Option<Server>)| {
            let wanted = desired.server(*server).map(|want| &want.server);
            (*server, Pair { desired: wanted, actual: actual.as_ref() })
        };
        Differences {
            sysctls: sysctls.collect(),
            timeouts: timeouts.collect(),
            devices: self.devices.iter().map(device).collect(),
            sets: self.sets.iter().map(set).collect(),
            missing,
            extra,
            rules: (!self.chains.is_empty() || !self.sets.is_empty())
                .then(|| (&own.rules, self.rules(desired))),
            addresses: self.addresses.iter().map(address).collect(),
            servers: self.servers.iter().filter(|(of, _)| !asleep(**of)).map(server).collect(),
        }
    }

    /// All chains in the kernel.
    fn rules(&self, desired: &Desired) -> Chains {
        let mut chains = desired.own().rules.clone();
        for (key, rules) in &self.chains {
            match rules {
                Some(rules) => drop(chains.insert(*key, rules.clone())),
                None => drop(chains.remove(key)),
            }
        }
        chains
    }

    /// A virtual server as the kernel holds it.
    pub(crate) fn server<'a>(&'a self, server: VirtualServer, desired: &'a Desired) -> Option<&'a Server> {
        match self.servers.get(&server) {
            Some(actual) => actual.as_ref(),
            None => desired.server(server).map(|want| &want.server),
        }
    }

    /// Records a change that was made.
    pub(crate) fn record(&mut self, change: &Change, desired: &Desired) {
        let own = desired.own();
        match change {
            Change::SetSysctl(key, value) => {
                set(&mut self.sysctls, key.clone(), Some(*value), own.sysctls.get(key).copied());
            }
            Change::SetTimeouts(timeouts) => {
                for (key, seconds) in timeouts {
                    set(&mut self.timeouts, *key, Some(*seconds), own.timeouts.get(key).copied());
                }
            }
            Change::CreateDevice(device) => {
                set(&mut self.devices, *device, Some(()), own.devices.get(device).copied());
            }
            Change::DeleteDevice(device) => {
                set(&mut self.devices, *device, None, own.devices.get(device).copied());
                self.addresses = desired.addresses().map(|ip| (ip, None)).collect();
            }
            Change::CreateSet(name, kind) => {
                set(&mut self.sets, *name, Some(kind.clone()), own.sets.get(name).cloned());
            }
            Change::ReplaceSet(name, kind, entries) => {
                set(&mut self.sets, *name, Some(kind.clone()), own.sets.get(name).cloned());
                self.empty(*name, desired);
                entries.iter().for_each(|entry| self.set_entry((*name, *entry), Some(()), desired));
            }
            Change::DestroySet(name) => {
                set(&mut self.sets, *name, None, own.sets.get(name).cloned());
                self.empty(*name, desired);
            }
            Change::AddEntry(name, entry) => self.set_entry((*name, *entry), Some(()), desired),
            Change::DeleteEntry(name, entry) => self.set_entry((*name, *entry), None, desired),
            Change::WriteRules(rules) => {
                let mut chains = self.rules(desired);
                record_rules(&mut chains, rules);
                self.set_chains(rules.family, chains, desired);
            }
            Change::AddAddress(ip) => {
                set(&mut self.addresses, *ip, Some(()), desired.has_address(*ip).then_some(()));
            }
            Change::DeleteAddress(ip) => {
                set(&mut self.addresses, *ip, None, desired.has_address(*ip).then_some(()));
            }
            Change::CreateVirtualServer(server, scheduling) => {
                // `prune` compares it with the wanted state once all changes are recorded.
                self.servers.insert(*server, Some(Server::new(scheduling.clone())));
            }
            Change::UpdateVirtualServer(server, _)
            | Change::DeleteVirtualServer(server)
            | Change::AddRealServer(server, ..)
            | Change::SetWeight(server, ..)
            | Change::DeleteRealServer(server, _) => {
                if let Some(place) = self.servers.get_mut(server)
                    && let Some(actual) = place
                    && !record_server(actual, change)
                {
                    *place = None;
                }
            }
            // Flows are not compared.
            Change::ForgetFlows(..) => {}
        }
    }

    fn set_entry(&mut self, key: (SetName, SetEntry), actual: Option<()>, desired: &Desired) {
        set(&mut self.entries, key, actual, desired.member(key.0, key.1));
    }

    /// Records that a set has no more members.
    fn empty(&mut self, name: SetName, desired: &Desired) {
        self.entries.retain(|(of, _), _| *of != name);
        self.entries.extend(desired.entries_of(name).into_iter().map(|entry| ((name, entry), None)));
    }

    fn set_chains(&mut self, family: Family, actual: Chains, desired: &Desired) {
        let of_family = |key: &ChainKey| key.0 == family;
        self.chains.retain(|key, _| !of_family(key));
        let mut now = BTreeMap::new();
        note_chains(&mut now, &actual, &desired.own().rules);
        self.chains.extend(now.into_iter().filter(|(key, _)| of_family(key)));
    }

    /// Drops virtual servers that are now as wanted.
    pub(crate) fn prune(&mut self, desired: &Desired) {
        self.servers
            .retain(|server, actual| actual.as_ref() != desired.server(*server).map(|want| &want.server));
    }
}

fn note<K: Ord + Clone, V: PartialEq + Clone>(
    into: &mut BTreeMap<K, Option<V>>,
    before: &BTreeMap<K, V>,
    now: &BTreeMap<K, V>,
) {
    for (key, value) in before {
        if now.get(key) != Some(value) {
            into.entry(key.clone()).or_insert_with(|| Some(value.clone()));
        }
    }
    for key in now.keys().filter(|key| !before.contains_key(key)) {
        into.entry(key.clone()).or_insert(None);
    }
}

/// Like [`note`], but for built-in chains only the presence of jumps counts: their position among other rules is
/// not ours to decide.
fn note_chains(into: &mut BTreeMap<ChainKey, Option<Vec<Rule>>>, before: &Chains, now: &Chains) {
    let mut changed = BTreeMap::new();
    note(&mut changed, before, now);
    changed.retain(|key, _| {
        let none = Vec::new();
        let [a, b] = [before, now].map(|chains| chains.get(key).unwrap_or(&none));
        let same = a.iter().all(|rule| b.contains(rule)) && b.iter().all(|rule| a.contains(rule));
        !(key.2.ownership() == Ownership::BuiltIn && same)
    });
    for (key, before) in changed {
        into.entry(key).or_insert(before);
    }
}

fn absorb<K: Ord, V: PartialEq>(
    into: &mut BTreeMap<K, Option<V>>,
    touched: BTreeMap<K, Option<V>>,
    wanted: impl Fn(&K) -> Option<V>,
) {
    for (key, before) in touched {
        let wanted = wanted(&key);
        match into.get(&key) {
            Some(actual) if *actual == wanted => drop(into.remove(&key)),
            None if before != wanted => drop(into.insert(key, before)),
            Some(_) | None => {}
        }
    }
}

fn set<K: Ord, V: PartialEq>(
    into: &mut BTreeMap<K, Option<V>>,
    key: K,
    actual: Option<V>,
    wanted: Option<V>,
) {
    if actual == wanted {
        into.remove(&key);
    } else {
        into.insert(key, actual);
    }
}

/// Compares a kernel's state with the desired state while reading it, without making a copy.
pub(crate) struct Comparison<'a> {
    desired: &'a mut Desired,
    number: u32,
    found: Actual,
    /// The kernel's values of the node's own keys, which are few enough to copy.
    own: KernelState,
}

impl<'a> Comparison<'a> {
    /// A comparison that has seen nothing yet.
    pub(crate) fn new(desired: &'a mut Desired) -> Comparison<'a> {
        let (found, own) = (Actual::default(), KernelState::default());
        let number = desired.begin_comparison();
        Comparison { desired, number, found, own }
    }

    pub(crate) fn see(&mut self, fact: Fact<'_>) {
        match fact {
            Fact::Entry(name, entry) => {
                if !self.desired.see_entry(name, entry, self.number) {
                    self.found.entries.insert((name, entry), Some(()));
                }
            }
            Fact::Server(server, actual) => {
                let wanted = self.desired.see_server(server, self.number).map(|want| &want.server);
                let foreign = wanted.is_none();
                if wanted != Some(actual) && !(foreign && is_excluded(self.desired.excluded(), server)) {
                    self.found.servers.insert(server, Some(actual.clone()));
                }
            }
            Fact::Address(ip) => {
                if !self.desired.see_address(ip, self.number) {
                    self.found.addresses.insert(ip, Some(()));
                }
            }
            Fact::Sysctl(key, _) if !self.desired.own().sysctls.contains_key(key) => {}
            Fact::Timeout(key, _) if !self.desired.own().timeouts.contains_key(&key) => {}
            Fact::Sysctl(..) | Fact::Timeout(..) | Fact::Device(_) | Fact::Set(..) | Fact::Chain(..) => {
                self.own.note(fact);
            }
        }
    }

    /// The result, once everything was seen.
    pub(crate) fn end(self) -> Actual {
        let Comparison { desired, number, mut found, own } = self;
        found.entries.extend(desired.unseen_entries(number).map(|key| (key, None)));
        found.addresses.extend(desired.unseen_addresses(number).map(|ip| (ip, None)));
        found.servers.extend(desired.unseen_servers(number).map(|server| (server, None)));
        found.note_changed(&own, desired.own());
        found
    }
}
