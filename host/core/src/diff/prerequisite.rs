//! Which changes must not be made because another change failed.
//!
//! Only a few pairs of changes matter: without the first change, the second would open a filtered VIP, bring up a VIP
//! before it can work, or fail with a less helpful error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Change, Direction, TableChange, Wanted};
use crate::kernel::{Failure, FailureKind, Outcome};
use crate::net::Family;
use crate::rule::{Chain, Rule, Table};
use crate::set::{Fill, SetEntry, SetName, Step};
use crate::state::{Device, VirtualServer};

/// The failures so far in one round.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    devices: BTreeSet<Device>,
    /// Sets that could not be created or destroyed.
    sets: BTreeSet<SetName>,
    /// Sets that could not be enlarged.
    small: BTreeSet<SetName>,
    /// Sets from which some entries could not be deleted.
    crowded: BTreeSet<SetName>,
    /// Missing entries that would close a VIP to sources, or close the host's own ports on an address.
    entries: BTreeSet<(SetName, SetEntry)>,
    /// Families whose new filter rules are not in force.
    rules: BTreeSet<Family>,
    /// Families in which the host's own ports would answer on every new address.
    open: BTreeSet<Family>,
    not_created: BTreeSet<VirtualServer>,
    /// For each address, whether any virtual server was created.
    started: BTreeMap<IpAddr, Started>,
    /// Virtual servers that still exist, as members of a set of VIPs.
    not_deleted: BTreeSet<SetEntry>,
    still_bound: BTreeSet<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Started {
    Some,
    None,
}

impl Failures {
    /// Records the outcome of a change, and corrects its reason: a real server whose virtual server could not be
    /// created failed because of that.
    pub fn judge(&mut self, change: &Change, outcome: Outcome) -> Outcome {
        match outcome {
            Ok(()) => {
                if let Change::CreateVirtualServer(server, _) = change {
                    self.started.insert(server.address.ip(), Started::Some);
                }
                Ok(())
            }
            Err(failure) => {
                self.note_failed(change);
                if let Change::AddRealServer(server, ..) = change
                    && self.not_created.contains(server)
                {
                    let message = format!("{change}: its virtual server could not be created");
                    return Err(Failure { kind: FailureKind::Prerequisite, message });
                }
                Err(failure)
            }
        }
    }

    /// Records a change that failed or was not tried.
    pub fn note_failed(&mut self, change: &Change) {
        match change {
            Change::CreateDevice(device) => drop(self.devices.insert(*device)),
            Change::CreateSet(name, _) | Change::DestroySet(name) => drop(self.sets.insert(*name)),
            Change::ReplaceSet(name, ..) => drop(self.small.insert(*name)),
            Change::DeleteEntry(name, _) => drop(self.crowded.insert(*name)),
            Change::AddEntry(name, entry) => {
                if matches!(name.set.row().step, Step::Closes | Step::Guards) {
                    self.entries.insert((*name, *entry));
                }
            }
            Change::WriteRules(rules) => {
                if rules.direction == Direction::Adds
                    && let Some(filter) = rules.tables.get(&Table::Filter)
                {
                    self.rules.insert(rules.family);
                    if closes_host_ports(filter) {
                        self.open.insert(rules.family);
                    }
                }
            }
            Change::CreateVirtualServer(server, _) => {
                self.not_created.insert(*server);
                self.started.entry(server.address.ip()).or_insert(Started::None);
            }
            Change::DeleteVirtualServer(server) => {
                self.not_deleted.insert(SetEntry::of_vip(*server));
            }
            Change::DeleteAddress(ip) => drop(self.still_bound.insert(*ip)),
            Change::SetSysctl(..)
            | Change::SetTimeouts(_)
            | Change::DeleteDevice(_)
            | Change::AddAddress(_)
            | Change::UpdateVirtualServer(..)
            | Change::AddRealServer(..)
            | Change::SetWeight(..)
            | Change::DeleteRealServer(..)
            | Change::ForgetFlows(..) => {}
        }
    }

    /// Why a change must not be made now; `None` if it may.
    pub fn forbid(&self, change: &Change, wanted: &impl Wanted) -> Option<&'static str> {
        match change {
            // A set is created again only after the old one was destroyed.
            Change::CreateSet(name, _) if self.sets.contains(name) => {
                Some("the old set of this name could not be destroyed")
            }
            Change::AddEntry(name, _) if self.sets.contains(name) => Some("its set could not be created"),
            Change::AddEntry(name, _) if self.small.contains(name) => Some("its set could not be enlarged"),
            Change::AddEntry(name, entry) if name.set.row().step == Step::Admits => {
                self.forbid_admission(*name, *entry)
            }
            Change::ReplaceSet(name, ..) if self.crowded.contains(name) => {
                Some("the new set would lack entries that could not be deleted yet")
            }
            Change::CreateVirtualServer(server, _) => self.forbid_server(*server, wanted),
            Change::AddRealServer(server, ..) if self.not_created.contains(server) => {
                Some("its virtual server could not be created")
            }
            Change::AddAddress(ip) => self.forbid_address(*ip, wanted),
            Change::DeleteEntry(name, entry) => self.forbid_delete_entry(*name, *entry),
            Change::WriteRules(rules) if rules.direction == Direction::Removes => {
                self.forbid_losses(rules.family)
            }
            Change::CreateSet(..)
            | Change::AddEntry(..)
            | Change::AddRealServer(..)
            | Change::WriteRules(_)
            | Change::SetSysctl(..)
            | Change::SetTimeouts(_)
            | Change::CreateDevice(_)
            | Change::DeleteDevice(_)
            | Change::ReplaceSet(..)
            | Change::DestroySet(_)
            | Change::DeleteAddress(_)
            | Change::UpdateVirtualServer(..)
            | Change::DeleteVirtualServer(_)
            | Change::SetWeight(..)
            | Change::DeleteRealServer(..)
            | Change::ForgetFlows(..) => None,
        }
    }

    /// Whether an entry that should exist does not.
    fn misses(&self, key: &(SetName, SetEntry)) -> bool {
        self.entries.contains(key) || self.sets.contains(&key.0)
    }

    fn forbid_server(&self, server: VirtualServer, wanted: &impl Wanted) -> Option<&'static str> {
        let all_well =
            self.entries.is_empty() && self.sets.is_empty() && !self.rules.contains(&server.family());
        if all_well {
            return None;
        }
        let closing = wanted.closing(server);
        let open = self.rules.contains(&server.family()) || closing.iter().any(|key| self.misses(key));
        (!closing.is_empty() && open).then_some("its source ranges could not be applied")
    }

    /// If a VIP is already closed, sources are admitted to it after all other changes that close it, and only if
    /// these succeeded.
    fn forbid_admission(&self, name: SetName, entry: SetEntry) -> Option<&'static str> {
        let vip = entry.without_source();
        let open = self.rules.contains(&name.family)
            || self.entries.iter().any(|(_, failed)| failed.without_source() == vip);
        open.then_some("its VIP could not be closed to other sources")
    }

    fn forbid_address(&self, ip: IpAddr, wanted: &impl Wanted) -> Option<&'static str> {
        if self.devices.contains(&Device::KubeIpvs0) {
            return Some("its device could not be created");
        }
        let guards = crate::set::SETS.iter().filter(|row| matches!(row.fill, Fill::Address(_)));
        let mut guards = guards.map(|row| (SetName::new(Family::of(ip), row.set), SetEntry::Ip(ip)));
        if guards.any(|key| self.misses(&key)) || self.open.contains(&Family::of(ip)) {
            return Some("the host's own ports on it could not be closed");
        }
        // An address is worth binding if some of its virtual servers exist.
        let none = self.started.get(&ip) == Some(&Started::None) && !wanted.is_served(ip);
        none.then_some("none of its virtual servers could be created")
    }

    fn forbid_delete_entry(&self, name: SetName, entry: SetEntry) -> Option<&'static str> {
        let needed = if let SetEntry::Ip(ip) = entry {
            name.set.row().step == Step::Guards && self.still_bound.contains(&ip)
        } else {
            self.not_deleted.contains(&entry.without_source())
        };
        needed.then_some("the VIP that it filters could not be removed")
    }

    fn forbid_losses(&self, family: Family) -> Option<&'static str> {
        let left = self.not_deleted.iter().any(|vip| vip.families().any(|of| of == family))
            || self.still_bound.iter().any(|ip| Family::of(*ip) == family);
        left.then_some("a VIP that they filter could not be removed")
    }
}

/// Whether a change creates the rules that reject packets meant for the host instead of a service, or leads
/// packets to them.
fn closes_host_ports(change: &TableChange) -> bool {
    let leads_there = |(_, rule): &(Chain, Rule)| rule.jump() == Some(Chain::KubeIpvsFilter);
    change.write.contains_key(&Chain::KubeIpvsFilter) || change.insert.iter().any(leads_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::RulesChange;
    use crate::net::Protocol;
    use crate::state::KernelState;

    /// A node whose rules cannot be written must not answer on VIPs with its own ports. A failed write of any other
    /// chain does not hold back VIPs.
    #[test]
    fn no_address_comes_up_before_the_rules_that_close_it() {
        let writes = |table, chain| {
            let change =
                TableChange { write: BTreeMap::from([(chain, Vec::new())]), ..TableChange::default() };
            let (direction, tables) = (Direction::Adds, BTreeMap::from([(table, change)]));
            Change::WriteRules(RulesChange { family: Family::V6, direction, tables })
        };
        let forbidden = |failed: Change| {
            let mut failures = Failures::default();
            failures.note_failed(&failed);
            let add = |ip: &str| Change::AddAddress(ip.parse().unwrap());
            ["10.96.0.10", "fd00:96::10"]
                .map(|ip| failures.forbid(&add(ip), &KernelState::default()).is_some())
        };
        assert_eq!(forbidden(writes(Table::Filter, Chain::KubeIpvsFilter)), [false, true]);
        assert_eq!(forbidden(writes(Table::Filter, Chain::KubeForward)), [false, false]);
        assert_eq!(forbidden(writes(Table::Nat, Chain::KubeServices)), [false, false]);
    }

    /// A case that the random faults of the law tests rarely hit: a filter is removed while its VIP stays.
    #[test]
    fn filters_stay_while_their_vip_stays() {
        let removes = |family| {
            let direction = Direction::Removes;
            Change::WriteRules(RulesChange { family, direction, tables: BTreeMap::new() })
        };
        let vip = VirtualServer::new(Protocol::Tcp, "203.0.113.1".parse().unwrap(), 443);
        let wanted = KernelState::default();
        for failed in [Change::DeleteVirtualServer(vip), Change::DeleteAddress(vip.address.ip())] {
            let mut failures = Failures::default();
            assert!(failures.forbid(&removes(Family::V4), &wanted).is_none());
            failures.note_failed(&failed);
            assert!(failures.forbid(&removes(Family::V4), &wanted).is_some());
            assert!(failures.forbid(&removes(Family::V6), &wanted).is_none());
        }
    }

    /// A policy may admit a network and deny a part of it in one step. If denying fails, nothing is admitted.
    #[test]
    fn sources_wait_for_what_denies_some_of_them() {
        let key = |text: &str| {
            let state: KernelState = text.parse().unwrap();
            *state.entries.keys().next().unwrap()
        };
        let (allow, other) = (
            key("entry WEIR-SOURCE-ALLOW 203.0.113.1,tcp:443,198.51.100.0/24\n"),
            key("entry WEIR-SOURCE-ALLOW 203.0.113.1,tcp:80,198.51.100.0/24\n"),
        );
        let deny = key("entry WEIR-SOURCE-DENY 203.0.113.1,tcp:443,198.51.100.7\n");
        let add = |(name, entry)| Change::AddEntry(name, entry);
        let mut failures = Failures::default();
        failures.note_failed(&add(deny));
        let wanted = KernelState::default();
        let forbidden = |failures: &Failures, key| failures.forbid(&add(key), &wanted).is_some();
        assert_eq!([allow, other].map(|key| forbidden(&failures, key)), [true, false]);
        let change = TableChange {
            write: BTreeMap::from([(Chain::KubeProxyFirewall, Vec::new())]),
            ..TableChange::default()
        };
        let rules = |family| RulesChange {
            family,
            direction: Direction::Adds,
            tables: BTreeMap::from([(Table::Filter, change.clone())]),
        };
        for (family, expected) in [(Family::V4, true), (Family::V6, false)] {
            let mut failures = Failures::default();
            failures.note_failed(&Change::WriteRules(rules(family)));
            assert_eq!([allow, other].map(|key| forbidden(&failures, key)), [expected; 2]);
        }
    }

    /// A set that could not grow lacks members that would have closed a VIP.
    #[test]
    fn a_virtual_server_waits_for_the_set_that_was_to_grow() {
        let wanted: KernelState = "\
set WEIR-SOURCE-DENY hash:ip,port,net family inet maxelem 131072
entry WEIR-SOURCE-DENY 203.0.113.1,tcp:443,198.51.100.0/24
virtual tcp 203.0.113.1:443 rr
virtual tcp 203.0.113.1:80 rr
"
        .parse()
        .unwrap();
        let name: SetName = "WEIR-SOURCE-DENY".parse().unwrap();
        let mut failures = Failures::default();
        failures.note_failed(&Change::ReplaceSet(name, wanted.sets[&name].clone(), Vec::new()));
        let add = Change::AddEntry(name, wanted.entries_of(name).next().unwrap());
        assert!(failures.forbid(&add, &wanted).is_some());
        failures.note_failed(&add);
        let create = |port| {
            let server = VirtualServer::new(Protocol::Tcp, "203.0.113.1".parse().unwrap(), port);
            Change::CreateVirtualServer(server, wanted.virtual_servers[&server].scheduling.clone())
        };
        assert!(failures.forbid(&create(443), &wanted).is_some());
        assert!(failures.forbid(&create(80), &wanted).is_none(), "nothing closes it");
    }
}
