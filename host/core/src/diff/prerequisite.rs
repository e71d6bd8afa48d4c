//! Which changes must not be made because another change of the same batch failed.
//!
//! Few pairs count: those where the second change without the first would let packets pass that a filter should
//! stop, bring up a VIP before it can work, or fail anyway with a less telling error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Change, Direction, RulesChange, TableChange};
use crate::net::Family;
use crate::rule::{Chain, Rule, Table};
use crate::set::{Set, SetEntry, SetName};
use crate::state::{Device, VirtualServer};

/// What failed so far in one batch.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    devices: BTreeSet<Device>,
    sets: BTreeSet<SetName>,
    /// VIPs whose source ranges are not in force.
    unfiltered: BTreeSet<VirtualServer>,
    /// Addresses on which the host's own ports would answer.
    unguarded: BTreeSet<IpAddr>,
    /// Families in which that holds for every address.
    open: BTreeSet<Family>,
    not_created: BTreeSet<VirtualServer>,
    /// Whether any virtual server was created at an address.
    started: BTreeMap<IpAddr, Started>,
    not_deleted: BTreeSet<VirtualServer>,
    still_bound: BTreeSet<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Started {
    Some,
    None,
}

impl Failures {
    /// Takes note of a change that was made.
    pub fn note_made(&mut self, change: &Change) {
        if let Change::CreateVirtualServer(server, _) = change {
            self.started.insert(server.address.ip(), Started::Some);
        }
    }

    /// Takes note of a change that failed or was not tried.
    pub fn note_failed(&mut self, change: &Change) {
        match change {
            Change::CreateDevice(device) => {
                self.devices.insert(*device);
            }
            Change::CreateSet(name, _) | Change::DestroySet(name) => {
                self.sets.insert(*name);
            }
            Change::AddEntry(name, entry) => self.note_entry(*name, *entry),
            Change::WriteRules(rules) if rules.direction == Direction::Adds => {
                self.unfiltered.extend(&rules.filtered);
                if rules.tables.get(&Table::Filter).is_some_and(closes_host_ports) {
                    self.open.insert(rules.family);
                }
            }
            Change::CreateVirtualServer(server, _) => {
                self.not_created.insert(*server);
                self.started.entry(server.address.ip()).or_insert(Started::None);
            }
            Change::DeleteVirtualServer(server) => {
                self.not_deleted.insert(*server);
            }
            Change::DeleteAddress(ip) => {
                self.still_bound.insert(*ip);
            }
            _ => {}
        }
    }

    fn note_entry(&mut self, name: SetName, entry: SetEntry) {
        self.unfiltered.extend(super::closes(name.set, entry));
        if let (Set::IpvsIps, SetEntry::Ip(ip)) = (name.set, entry) {
            self.unguarded.insert(ip);
        }
    }

    /// Why a change must not be made now, if it must not.
    pub fn forbid(&self, change: &Change) -> Option<&'static str> {
        match change {
            Change::CreateSet(name, _) | Change::AddEntry(name, _) if self.sets.contains(name) => {
                Some("its set could not be made")
            }
            Change::CreateVirtualServer(server, _) => self.forbid_server(*server),
            Change::AddRealServer(server, ..) if self.not_created.contains(server) => {
                Some("its virtual server could not be made")
            }
            Change::AddAddress(ip) => self.forbid_address(*ip),
            Change::DeleteEntry(name, entry) => self.forbid_delete_entry(*name, *entry),
            Change::WriteRules(rules) if rules.direction == Direction::Removes => self.forbid_losses(rules),
            _ => None,
        }
    }

    fn forbid_server(&self, server: VirtualServer) -> Option<&'static str> {
        if self.unfiltered.contains(&server) {
            return Some("its source ranges could not be put in force");
        }
        None
    }

    fn forbid_address(&self, ip: IpAddr) -> Option<&'static str> {
        if self.devices.contains(&Device::KubeIpvs0) {
            return Some("its device could not be made");
        }
        if self.unguarded.contains(&ip) || self.open.contains(&Family::of(ip)) {
            return Some("the host's own ports on it could not be closed");
        }
        // Where some of its virtual servers are there, those are worth having.
        (self.started.get(&ip) == Some(&Started::None)).then_some("none of its virtual servers could be made")
    }

    fn forbid_delete_entry(&self, name: SetName, entry: SetEntry) -> Option<&'static str> {
        let needed = match entry {
            SetEntry::Ip(ip) => name.set == Set::IpvsIps && self.still_bound.contains(&ip),
            // These are about endpoints.
            SetEntry::IpPortIp(..) if name.set == Set::LoopBack => false,
            SetEntry::IpPort(ip, protocol, port)
            | SetEntry::IpPortIp(ip, protocol, port, _)
            | SetEntry::IpPortNet(ip, protocol, port, _) => {
                self.not_deleted.contains(&VirtualServer::new(protocol, ip, port))
            }
            SetEntry::Port(_) => false,
        };
        needed.then_some("what it filters could not be removed")
    }

    fn forbid_losses(&self, rules: &RulesChange) -> Option<&'static str> {
        let left = self.not_deleted.iter().any(|server| server.family() == rules.family)
            || self.still_bound.iter().any(|ip| Family::of(*ip) == rules.family);
        left.then_some("what they filter could not be removed")
    }
}

/// Whether a change makes the rules that refuse what is for the host and not for a service, or leads packets to them.
fn closes_host_ports(change: &TableChange) -> bool {
    let leads_there = |(_, rule): &(Chain, Rule)| rule.jump() == Some(Chain::KubeIpvsFilter);
    change.write.contains_key(&Chain::KubeIpvsFilter) || change.insert.iter().any(leads_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Protocol;

    /// A node whose rules cannot be written must not answer on VIPs with its own ports; one whose rules are there already,
    /// and only cannot be changed elsewhere, goes on.
    #[test]
    fn no_address_comes_up_before_the_rules_that_close_it() {
        let writes = |table, chain| {
            let change =
                TableChange { write: BTreeMap::from([(chain, Vec::new())]), ..TableChange::default() };
            let tables = BTreeMap::from([(table, change)]);
            let filtered = BTreeSet::new();
            Change::WriteRules(RulesChange {
                family: Family::V6,
                direction: Direction::Adds,
                tables,
                filtered,
            })
        };
        let forbidden = |failed: Change| {
            let mut failures = Failures::default();
            failures.note_failed(&failed);
            ["10.96.0.10", "fd00:96::10"]
                .map(|ip| failures.forbid(&Change::AddAddress(ip.parse().unwrap())).is_some())
        };
        assert_eq!(forbidden(writes(Table::Filter, Chain::KubeIpvsFilter)), [false, true]);
        assert_eq!(forbidden(writes(Table::Filter, Chain::KubeForward)), [false, false]);
        assert_eq!(forbidden(writes(Table::Nat, Chain::KubeServices)), [false, false]);
    }

    /// What a laws' script of random faults seldom hits: the removal of a filter while what it filters stays.
    #[test]
    fn filters_stay_while_their_vip_stays() {
        let removes = |family| {
            let direction = Direction::Removes;
            let (tables, filtered) = Default::default();
            Change::WriteRules(RulesChange { family, direction, tables, filtered })
        };
        let vip = VirtualServer::new(Protocol::Tcp, "203.0.113.1".parse().unwrap(), 443);
        for failed in [Change::DeleteVirtualServer(vip), Change::DeleteAddress(vip.address.ip())] {
            let mut failures = Failures::default();
            assert!(failures.forbid(&removes(Family::V4)).is_none());
            failures.note_failed(&failed);
            assert!(failures.forbid(&removes(Family::V4)).is_some());
            assert!(failures.forbid(&removes(Family::V6)).is_none());
        }
    }
}
