//! Differences between the wanted and the actual state, key by key.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::rule::Chains;
use crate::set::{Fill, SETS, SetEntry, SetKind, SetName, Step};
use crate::state::{Device, KernelState, Server, Sysctl, Timeout, VirtualServer};

/// The wanted and the actual value of a key; `None` = absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<V> {
    /// The wanted value.
    pub desired: Option<V>,
    /// The actual value.
    pub actual: Option<V>,
}

/// The keys whose values differ, or may differ: a pair of equal values causes no change. Each list is sorted by
/// key.
#[derive(Clone, Debug, Default)]
pub struct Differences<'a> {
    /// Sysctls, with the wanted value.
    pub sysctls: Vec<(&'a Sysctl, i64)>,
    /// IPVS timeouts, with the wanted seconds.
    pub timeouts: BTreeMap<Timeout, u32>,
    /// Devices.
    pub devices: Vec<(Device, Pair<()>)>,
    /// Sets.
    pub sets: Vec<(SetName, Pair<&'a SetKind>)>,
    /// Wanted members that are missing from their set.
    pub missing: Vec<(SetName, SetEntry)>,
    /// Actual members that are not wanted in their set.
    pub extra: Vec<(SetName, SetEntry)>,
    /// All wanted and all actual chains, if any chain or set differs.
    pub rules: Option<(&'a Chains, Chains)>,
    /// Addresses of the dummy device.
    pub addresses: Vec<(IpAddr, Pair<()>)>,
    /// Virtual servers.
    pub servers: Vec<(VirtualServer, Pair<&'a Server>)>,
}

/// The parts of the desired state that are needed, beyond the differences, to order changes and to hold them back.
pub trait Wanted {
    /// All members of a set.
    fn entries_of(&self, name: SetName) -> Vec<SetEntry>;

    /// How many members a set has.
    fn count(&self, name: SetName) -> usize;

    /// The wanted kind of a set.
    fn kind_of(&self, name: SetName) -> Option<&SetKind>;

    /// Whether a set has a member.
    fn has_entry(&self, name: SetName, entry: SetEntry) -> bool;

    /// Whether the kernel is known to have a virtual server at an address already.
    fn is_served(&self, ip: IpAddr) -> bool;

    /// The entries without which a virtual server would be open to sources that must be kept out.
    fn closing(&self, server: VirtualServer) -> Vec<(SetName, SetEntry)>;
}

impl Wanted for KernelState {
    fn entries_of(&self, name: SetName) -> Vec<SetEntry> {
        KernelState::entries_of(self, name).collect()
    }

    fn count(&self, name: SetName) -> usize {
        KernelState::entries_of(self, name).count()
    }

    fn kind_of(&self, name: SetName) -> Option<&SetKind> {
        self.sets.get(&name)
    }

    fn has_entry(&self, name: SetName, entry: SetEntry) -> bool {
        self.entries.contains_key(&(name, entry))
    }

    fn is_served(&self, _: IpAddr) -> bool {
        false
    }

    fn closing(&self, server: VirtualServer) -> Vec<(SetName, SetEntry)> {
        let vip = SetEntry::of_vip(server);
        let mut found = Vec::new();
        for row in SETS.iter().filter(|row| row.step == Step::Closes) {
            let name = SetName::new(server.family(), row.set);
            if let Fill::Sources(_) = row.fill {
                let first = SetEntry::IpPortNet(
                    server.address.ip(),
                    server.protocol,
                    server.address.port(),
                    IpNet::default(),
                );
                let of_set = self.entries.range((name, first)..).map(|(key, ())| *key);
                found.extend(of_set.take_while(|(of, entry)| *of == name && entry.without_source() == vip));
            } else if self.has_entry(name, vip) {
                found.push((name, vip));
            }
        }
        found
    }
}

impl<'a> Differences<'a> {
    /// The differences between two states. Sysctls and timeouts not named in `desired` do not count.
    pub fn between(desired: &'a KernelState, actual: &'a KernelState) -> Differences<'a> {
        let sets = pairs(&desired.sets, &actual.sets);
        let differ = !sets.is_empty() || desired.rules != actual.rules;
        let missing = desired.entries.keys().filter(|key| !actual.entries.contains_key(key));
        let extra = actual.entries.keys().filter(|key| !desired.entries.contains_key(key));
        let sysctls = desired.sysctls.iter().filter(|(key, value)| actual.sysctls.get(key) != Some(value));
        let timeouts = desired.timeouts.iter().filter(|(key, value)| actual.timeouts.get(key) != Some(value));
        Differences {
            sysctls: sysctls.map(|(key, value)| (key, *value)).collect(),
            timeouts: timeouts.map(|(key, value)| (*key, *value)).collect(),
            devices: without_values(pairs(&desired.devices, &actual.devices)),
            sets,
            missing: missing.copied().collect(),
            extra: extra.copied().collect(),
            rules: differ.then(|| (&desired.rules, actual.rules.clone())),
            addresses: without_values(pairs(&desired.addresses, &actual.addresses)),
            servers: pairs(&desired.virtual_servers, &actual.virtual_servers),
        }
    }
}

fn without_values<K>(pairs: Vec<(K, Pair<&()>)>) -> Vec<(K, Pair<()>)> {
    let owned = |(key, pair): (K, Pair<&()>)| {
        (key, Pair { desired: pair.desired.copied(), actual: pair.actual.copied() })
    };
    pairs.into_iter().map(owned).collect()
}

/// The keys whose values differ, in order.
fn pairs<'a, K: Ord + Copy, V: PartialEq>(
    desired: &'a BTreeMap<K, V>,
    actual: &'a BTreeMap<K, V>,
) -> Vec<(K, Pair<&'a V>)> {
    let wanted =
        desired.iter().map(|(key, value)| (*key, Pair { desired: Some(value), actual: actual.get(key) }));
    let unwanted = actual.iter().filter(|(key, _)| !desired.contains_key(key));
    let unwanted = unwanted.map(|(key, value)| (*key, Pair { desired: None, actual: Some(value) }));
    let mut pairs: Vec<_> = wanted.filter(|(_, pair)| pair.desired != pair.actual).chain(unwanted).collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs
}
