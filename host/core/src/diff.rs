//! What must change, in an order that is safe at every step.
//!
//! Turned on: sets and static rules first (masquerading must work before anything answers), then virtual servers
//! with their real servers, and only then the address that makes traffic arrive. Turned off: the reverse.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::net::Family;
use crate::set::{Set, SetEntry, SetKind, SetName};
use crate::state::{
    DUMMY_DEVICE, Device, KernelState, RealServer, Scheduling, Sysctl, Timeout, VirtualServer, Weight,
};

mod prerequisite;
mod record;
mod rules;

pub use prerequisite::Failures;
pub use record::record;
pub use rules::{Direction, RulesChange, TableChange};

/// One change of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a value below `/proc/sys`.
    SetSysctl(Sysctl, i64),
    /// Set IPVS timeouts, in seconds; those not named stay.
    SetTimeouts(BTreeMap<Timeout, u32>),
    /// Create a device.
    CreateDevice(Device),
    /// Delete a device, with its addresses.
    DeleteDevice(Device),
    /// Create a set.
    CreateSet(SetName, SetKind),
    /// Put a set of another kind and content in the place of a set, without a moment in between.
    ReplaceSet(SetName, SetKind, Vec<SetEntry>),
    /// Destroy a set; no rule may name it.
    DestroySet(SetName),
    /// Add a member to a set.
    AddEntry(SetName, SetEntry),
    /// Remove a member of a set.
    DeleteEntry(SetName, SetEntry),
    /// Write iptables rules of one family, all or nothing.
    WriteRules(RulesChange),
    /// Add an address to the dummy device.
    AddAddress(IpAddr),
    /// Remove an address from the dummy device.
    DeleteAddress(IpAddr),
    /// Create a virtual server.
    CreateVirtualServer(VirtualServer, Scheduling),
    /// Change how a virtual server schedules; its connections stay.
    UpdateVirtualServer(VirtualServer, Scheduling),
    /// Delete a virtual server and its real servers.
    DeleteVirtualServer(VirtualServer),
    /// Add a real server.
    AddRealServer(VirtualServer, RealServer, Weight),
    /// Change the weight of a real server.
    SetWeight(VirtualServer, RealServer, Weight),
    /// Delete a real server.
    DeleteRealServer(VirtualServer, RealServer),
    /// Make the connection tracker forget UDP flows to a virtual server that were not answered by one of these
    /// real servers: nobody will answer them, and a client that keeps its port would never be asked again.
    ForgetFlows(VirtualServer, BTreeSet<RealServer>),
}

impl Change {
    /// What is done to what, as one word: a label.
    pub fn kind(&self) -> &'static str {
        match self {
            Change::SetSysctl(..) => "set-sysctl",
            Change::SetTimeouts(_) => "set-timeouts",
            Change::CreateDevice(_) => "create-device",
            Change::DeleteDevice(_) => "delete-device",
            Change::CreateSet(..) => "create-set",
            Change::ReplaceSet(..) => "replace-set",
            Change::DestroySet(_) => "destroy-set",
            Change::AddEntry(..) => "add-entry",
            Change::DeleteEntry(..) => "delete-entry",
            Change::WriteRules(_) => "write-rules",
            Change::AddAddress(_) => "add-address",
            Change::DeleteAddress(_) => "delete-address",
            Change::CreateVirtualServer(..) => "create-virtual-server",
            Change::UpdateVirtualServer(..) => "update-virtual-server",
            Change::DeleteVirtualServer(_) => "delete-virtual-server",
            Change::AddRealServer(..) => "add-real-server",
            Change::SetWeight(..) => "set-weight",
            Change::DeleteRealServer(..) => "delete-real-server",
            Change::ForgetFlows(..) => "forget-flows",
        }
    }
}

/// Changes in the order in which they are to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub Vec<Change>);

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Brings forward what turns these addresses on, before all other virtual servers.
    pub fn with_first(mut self, first: &BTreeSet<IpAddr>) -> Changes {
        let on = |change: &Change| turned_on(change).is_some();
        if let (Some(start), Some(end)) = (self.0.iter().position(on), self.0.iter().rposition(on)) {
            self.0[start..=end].sort_by_key(|change| match turned_on(change) {
                Some((ip, step)) => (!first.contains(&ip), step),
                None => (true, u8::MAX),
            });
        }
        self
    }
}

/// The address that a change turns on, and its step: servers before the address.
fn turned_on(change: &Change) -> Option<(IpAddr, u8)> {
    match change {
        Change::CreateVirtualServer(server, _)
        | Change::UpdateVirtualServer(server, _)
        | Change::AddRealServer(server, ..)
        | Change::SetWeight(server, ..) => Some((server.address.ip(), 0)),
        Change::AddAddress(ip) => Some((*ip, 1)),
        _ => None,
    }
}

/// The changes that lead from `actual` to `desired`. Sysctls and timeouts that `desired` does not name stay.
pub fn diff(desired: &KernelState, actual: &KernelState) -> Changes {
    let mut diff = Diff { desired, actual, changes: Vec::new() };
    diff.settings();
    let detached = diff.sets();
    diff.add_entries(&detached.recreated);
    let rules = rules::compare(&desired.rules, &detached.rules);
    // Rules that go can only be missed by what goes with them, so they go last.
    let (gains, losses): (Vec<_>, Vec<_>) =
        rules.into_iter().partition(|rules| rules.direction == Direction::Adds);
    for mut rules in gains {
        rules.filtered = diff.filtered(rules.family);
        diff.changes.push(Change::WriteRules(rules));
    }
    diff.turn_on();
    diff.turn_off();
    // Who is no longer admitted may have been denied until now: that stays in force until the permission is gone.
    let (permissions, others): (Vec<_>, Vec<_>) =
        diff.extra_entries(&detached.recreated).into_iter().partition(|entry| diff.admits_to_closed(*entry));
    diff.delete_entries(permissions);
    diff.changes.extend(losses.into_iter().map(Change::WriteRules));
    diff.delete_entries(others);
    diff.delete_sets();
    Changes(diff.changes)
}

struct Diff<'a> {
    desired: &'a KernelState,
    actual: &'a KernelState,
    changes: Vec<Change>,
}

type Chains = BTreeMap<(Family, crate::rule::Table, crate::rule::Chain), Vec<crate::rule::Rule>>;

/// What is left of the actual rules and sets after sets of an unusable kind were made anew.
struct Detached {
    rules: Chains,
    recreated: BTreeSet<SetName>,
}

impl Diff<'_> {
    fn settings(&mut self) {
        for (key, value) in &self.desired.sysctls {
            if self.actual.sysctls.get(key) != Some(value) {
                self.changes.push(Change::SetSysctl(key.clone(), *value));
            }
        }
        let timeouts: BTreeMap<Timeout, u32> = self
            .desired
            .timeouts
            .iter()
            .filter(|(key, value)| self.actual.timeouts.get(key) != Some(value))
            .map(|(key, value)| (*key, *value))
            .collect();
        if !timeouts.is_empty() {
            self.changes.push(Change::SetTimeouts(timeouts));
        }
        for device in self.desired.devices.keys().filter(|d| !self.actual.devices.contains_key(d)) {
            self.changes.push(Change::CreateDevice(*device));
        }
    }

    /// Creates and replaces sets. A set of another type or family cannot be replaced while rules name it, so
    /// these rules are taken out first and come back with the others.
    fn sets(&mut self) -> Detached {
        let mut recreated = BTreeSet::new();
        let mut replaced = Vec::new();
        let mut created = Vec::new();
        let mut unusable = Vec::new();
        for (name, kind) in &self.desired.sets {
            match self.actual.sets.get(name) {
                None => created.push(Change::CreateSet(*name, kind.clone())),
                Some(old) if old == kind => {}
                Some(old) if old.swaps_with(kind) => {
                    recreated.insert(*name);
                    let entries = self.desired.entries_of(*name).collect();
                    replaced.push(Change::ReplaceSet(*name, kind.clone(), entries));
                }
                Some(_) => unusable.push((*name, kind)),
            }
        }
        let mut rules = self.actual.rules.clone();
        if !unusable.is_empty() {
            let names: BTreeSet<String> = unusable.iter().map(|(name, _)| name.to_string()).collect();
            for list in rules.values_mut() {
                list.retain(|rule| !rule.sets().any(|set| names.contains(set)));
            }
            let detach = rules::compare(&rules, &self.actual.rules);
            self.changes.extend(detach.into_iter().map(Change::WriteRules));
        }
        for (name, kind) in unusable {
            recreated.insert(name);
            self.changes.push(Change::DestroySet(name));
            self.changes.push(Change::CreateSet(name, kind.clone()));
            let entries = self.desired.entries_of(name).map(|entry| Change::AddEntry(name, entry));
            self.changes.extend(entries);
        }
        self.changes.extend(created);
        self.changes.extend(replaced);
        Detached { rules, recreated }
    }

    /// The virtual servers of a family that have source ranges.
    fn filtered(&self, family: Family) -> BTreeSet<VirtualServer> {
        self.desired
            .entries
            .keys()
            .filter(|(name, _)| name.family == family)
            .filter_map(|(name, entry)| closes(name.set, *entry))
            .collect()
    }

    fn add_entries(&mut self, recreated: &BTreeSet<SetName>) {
        let mut missing: Vec<(SetName, SetEntry)> = self
            .desired
            .entries
            .keys()
            .filter(|(name, _)| !recreated.contains(name))
            .filter(|key| !self.actual.entries.contains_key(key))
            .copied()
            .collect();
        missing.sort_by_key(|(name, _)| (entry_step(name.set), *name));
        self.changes.extend(missing.into_iter().map(|(name, entry)| Change::AddEntry(name, entry)));
    }

    /// The entries that go, in the order in which they do.
    fn extra_entries(&self, recreated: &BTreeSet<SetName>) -> Vec<(SetName, SetEntry)> {
        let mut extra: Vec<(SetName, SetEntry)> = self
            .actual
            .entries
            .keys()
            .filter(|(name, _)| self.desired.sets.contains_key(name) && !recreated.contains(name))
            .filter(|key| !self.desired.entries.contains_key(key))
            .copied()
            .collect();
        extra.sort_by_key(|(name, _)| (std::cmp::Reverse(entry_step(name.set)), *name));
        extra
    }

    /// Whether an entry admits sources to a VIP that stays closed to others.
    fn admits_to_closed(&self, (name, entry): (SetName, SetEntry)) -> bool {
        let closed = match name.set {
            Set::SourceAllow => Set::SourceLimited,
            Set::LoadBalancerSourceCidr | Set::LoadBalancerSourceIp => Set::LoadBalancerFw,
            _ => return false,
        };
        let (SetEntry::IpPortNet(ip, protocol, port, _) | SetEntry::IpPortIp(ip, protocol, port, _)) = entry
        else {
            return false;
        };
        let vip = SetEntry::IpPort(ip, protocol, port);
        self.desired.entries.contains_key(&(SetName::new(name.family, closed), vip))
    }

    fn delete_entries(&mut self, extra: Vec<(SetName, SetEntry)>) {
        self.changes.extend(extra.into_iter().map(|(name, entry)| Change::DeleteEntry(name, entry)));
    }

    fn turn_on(&mut self) {
        for (server, scheduling) in &self.desired.virtual_servers {
            match self.actual.virtual_servers.get(server) {
                None => self.changes.push(Change::CreateVirtualServer(*server, scheduling.clone())),
                Some(old) if old == scheduling => {}
                Some(_) => self.changes.push(Change::UpdateVirtualServer(*server, scheduling.clone())),
            }
            // Those that are quiesced come last: the others may be the only ones that take connections then.
            let (takers, quiesced): (Vec<_>, Vec<_>) =
                self.desired.real_servers_of(*server).partition(|(_, weight)| *weight != Weight::QUIESCED);
            for (real, weight) in takers.into_iter().chain(quiesced) {
                match self.actual.real_servers.get(&(*server, real)) {
                    None => self.changes.push(Change::AddRealServer(*server, real, weight)),
                    Some(old) if *old == weight => {}
                    Some(_) => self.changes.push(Change::SetWeight(*server, real, weight)),
                }
            }
        }
        for ip in self.desired.addresses.keys().filter(|ip| !self.actual.addresses.contains_key(ip)) {
            self.changes.push(Change::AddAddress(*ip));
        }
    }

    fn turn_off(&mut self) {
        let extra_devices: Vec<Device> =
            self.actual.devices.keys().filter(|d| !self.desired.devices.contains_key(d)).copied().collect();
        if extra_devices.is_empty() {
            let extra = self.actual.addresses.keys().filter(|ip| !self.desired.addresses.contains_key(ip));
            self.changes.extend(extra.map(|ip| Change::DeleteAddress(*ip)));
        }
        self.changes.extend(extra_devices.into_iter().map(Change::DeleteDevice));
        for key @ (server, real) in self.actual.real_servers.keys() {
            let kept = self.desired.virtual_servers.contains_key(server);
            if kept && !self.desired.real_servers.contains_key(key) {
                self.changes.push(Change::DeleteRealServer(*server, *real));
            }
        }
        let extra = self.actual.virtual_servers.keys();
        let extra = extra.filter(|server| !self.desired.virtual_servers.contains_key(server));
        self.changes.extend(extra.map(|server| Change::DeleteVirtualServer(*server)));
    }

    fn delete_sets(&mut self) {
        for name in self.actual.sets.keys().filter(|name| !self.desired.sets.contains_key(name)) {
            self.changes.push(Change::DestroySet(*name));
        }
    }
}

/// The virtual server that an entry closes to some sources: it must not be reachable without the entry.
fn closes(set: Set, entry: SetEntry) -> Option<VirtualServer> {
    match (set, entry) {
        (Set::LoadBalancerFw | Set::SourceLimited, SetEntry::IpPort(ip, protocol, port))
        | (Set::SourceDeny, SetEntry::IpPortNet(ip, protocol, port, _)) => {
            Some(VirtualServer::new(protocol, ip, port))
        }
        _ => None,
    }
}

/// The order in which entries are added. A VIP must not be filtered before its exceptions are there, nor
/// refused (the addresses' set) before it is known as a VIP. Entries are removed in the reverse order.
fn entry_step(set: Set) -> u8 {
    match set {
        Set::LoadBalancerSourceCidr | Set::LoadBalancerSourceIp | Set::SourceAllow => 0,
        Set::LoadBalancerFw | Set::SourceLimited | Set::SourceDeny => 1,
        Set::LoadBalancerLocal
        | Set::ExternalIpLocal
        | Set::NodePortLocalTcp
        | Set::NodePortLocalUdp
        | Set::NodePortLocalSctp
        | Set::MasqueradeExcept
        | Set::MasqueradeAlways
        | Set::MasqueradeOffCluster
        | Set::MasqueradeRemote
        | Set::Snat1
        | Set::Snat2 => 2,
        Set::LoopBack
        | Set::ClusterIp
        | Set::ExternalIp
        | Set::LoadBalancer
        | Set::NodePortTcp
        | Set::NodePortUdp
        | Set::NodePortSctp
        | Set::HealthCheckNodePort
        | Set::Masquerade => 3,
        Set::IpvsIps => 4,
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::SetSysctl(key, value) => write!(f, "set sysctl {} = {value}", key.0),
            Change::SetTimeouts(timeouts) => {
                f.write_str("set timeouts")?;
                timeouts.iter().try_for_each(|(timeout, seconds)| write!(f, " {timeout} {seconds}"))
            }
            Change::CreateDevice(Device::KubeIpvs0) => write!(f, "create device {DUMMY_DEVICE}"),
            Change::DeleteDevice(Device::KubeIpvs0) => write!(f, "delete device {DUMMY_DEVICE}"),
            Change::CreateSet(name, kind) => write!(f, "create set {name} {kind}"),
            Change::ReplaceSet(name, kind, entries) => {
                write!(f, "replace set {name} {kind} ({} entries)", entries.len())
            }
            Change::DestroySet(name) => write!(f, "destroy set {name}"),
            Change::AddEntry(name, entry) => write!(f, "add entry {name} {entry}"),
            Change::DeleteEntry(name, entry) => write!(f, "delete entry {name} {entry}"),
            Change::WriteRules(rules) => write!(f, "write {rules}"),
            Change::AddAddress(ip) => write!(f, "add address {ip}"),
            Change::DeleteAddress(ip) => write!(f, "delete address {ip}"),
            Change::CreateVirtualServer(server, how) => write!(f, "create virtual {server} {how}"),
            Change::UpdateVirtualServer(server, how) => write!(f, "update virtual {server} {how}"),
            Change::DeleteVirtualServer(server) => write!(f, "delete virtual {server}"),
            Change::AddRealServer(server, real, weight) => {
                write!(f, "add real {server} -> {real} weight {}", weight.0)
            }
            Change::SetWeight(server, real, weight) => {
                write!(f, "set weight of {server} -> {real} to {}", weight.0)
            }
            Change::DeleteRealServer(server, real) => write!(f, "delete real {server} -> {real}"),
            Change::ForgetFlows(server, kept) => {
                write!(f, "forget flows to {server} but to {} real servers", kept.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(desired: &str, actual: &str) -> Vec<String> {
        let [desired, actual] = [desired, actual].map(|text| text.parse::<KernelState>().unwrap());
        diff(&desired, &actual).0.iter().map(Change::to_string).collect()
    }

    #[test]
    fn a_real_server_is_quiesced_when_its_successor_takes_connections() {
        let state = |a: u16, b: u16| {
            format!(
                "virtual tcp 10.96.0.2:53 wrr
real tcp 10.96.0.2:53 -> 10.244.0.1:53 weight {a}
real tcp 10.96.0.2:53 -> 10.244.0.2:53 weight {b}
"
            )
        };
        assert_eq!(
            changes(&state(0, 1), &state(1, 0)),
            [
                "set weight of tcp 10.96.0.2:53 -> 10.244.0.2:53 to 1",
                "set weight of tcp 10.96.0.2:53 -> 10.244.0.1:53 to 0",
            ]
        );
    }

    /// A source that was denied, and is not admitted any more, gets in at no moment.
    #[test]
    fn permissions_go_before_what_denied_the_same_source() {
        let closed = "\
set WEIR-SOURCE-LIMITED hash:ip,port family inet maxelem 65536
set WEIR-SOURCE-ALLOW hash:ip,port,net family inet maxelem 65536
set WEIR-SOURCE-DENY hash:ip,port,net family inet maxelem 65536
entry WEIR-SOURCE-LIMITED 10.96.0.2,tcp:53
chain ip filter KUBE-PROXY-FIREWALL
";
        let actual = format!(
            "{closed}\
entry WEIR-SOURCE-ALLOW 10.96.0.2,tcp:53,10.0.0.0/8
entry WEIR-SOURCE-DENY 10.96.0.2,tcp:53,10.0.0.0/8
rule ip filter KUBE-PROXY-FIREWALL -m set --match-set WEIR-SOURCE-DENY dst,dst,src -j DROP
"
        );
        assert_eq!(
            changes(closed, &actual),
            [
                "delete entry WEIR-SOURCE-ALLOW 10.96.0.2,tcp:53,10.0.0.0/8",
                "write IPv4 rules (1 chains, 0 jumps)",
                "delete entry WEIR-SOURCE-DENY 10.96.0.2,tcp:53,10.0.0.0/8",
            ]
        );
    }
}
