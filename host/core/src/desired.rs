//! The union of all fragments, and who wins where two services want the same thing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::decision::Drain;
use crate::net::{Family, PerFamily};
use crate::node::NodeView;
use crate::objects::{ObjectName, Service};
use crate::plan::{Fragment, SNAT_SLOTS, Totals, plan_node};
use crate::report::{Reason, Report};
use crate::set::{Set, SetEntry, SetName};
use crate::state::{KernelState, VirtualServer};

/// How old a service is. The older one keeps a virtual server that two services want; without timestamps
/// (manifests that were never in a cluster) the name decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    created: i64,
    name: ObjectName,
}

impl Seniority {
    /// The seniority of a service.
    pub fn of(service: &Service) -> Seniority {
        Seniority { created: service.created.unwrap_or(i64::MAX), name: service.name.clone() }
    }
}

/// What all services and the node want together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The wanted state.
    pub state: KernelState,
    /// How connections end, for virtual servers where that is not kube-proxy's way.
    pub drains: BTreeMap<VirtualServer, Drain>,
    /// A report for each virtual server or source address that a service could not have.
    pub reports: Vec<Report>,
}

/// The wanted state, fragment by fragment. The order in which fragments were put in does not matter.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    fragments: BTreeMap<Seniority, Fragment>,
    seniority: BTreeMap<ObjectName, Seniority>,
}

impl Desired {
    /// Puts the fragment of a service in the place of its last one.
    pub fn replace(&mut self, service: &Service, fragment: Fragment) {
        self.remove(&service.name);
        let seniority = Seniority::of(service);
        self.seniority.insert(service.name.clone(), seniority.clone());
        self.fragments.insert(seniority, fragment);
    }

    /// Takes the fragment of a service out.
    pub fn remove(&mut self, name: &ObjectName) {
        if let Some(seniority) = self.seniority.remove(name) {
            self.fragments.remove(&seniority);
        }
    }

    /// What all fragments and the node's own want together.
    pub fn wanted(&self, node: &NodeView) -> Wanted {
        let mut union = Union::default();
        for (seniority, fragment) in &self.fragments {
            union.add(&seniority.name, fragment);
        }
        let snat = union.assign_addresses();
        let Union { mut state, drains, reports, .. } = union;
        let own = plan_node(node, &Totals { snat, ..Totals::of(&state) });
        merge(&mut state, own);
        Wanted { state, drains, reports }
    }
}

#[derive(Default)]
struct Union<'a> {
    state: KernelState,
    owners: BTreeMap<VirtualServer, &'a ObjectName>,
    /// Which address replaces sources, oldest service first.
    snat: Vec<(&'a ObjectName, VirtualServer, IpAddr)>,
    drains: BTreeMap<VirtualServer, Drain>,
    reports: Vec<Report>,
}

impl<'a> Union<'a> {
    /// Adds a fragment, but for what belongs to virtual servers that an older service has.
    fn add(&mut self, name: &'a ObjectName, fragment: &Fragment) {
        let mut lost = BTreeSet::new();
        for server in fragment.state.virtual_servers.keys() {
            match self.owners.get(server) {
                None => {
                    self.owners.insert(*server, name);
                }
                Some(owner) => {
                    lost.insert(*server);
                    self.reports.push(Report {
                        service: name.clone(),
                        reason: Reason::VirtualServerConflict,
                        message: format!(
                            "{server} belongs to {owner}, which is older; give one of them another address or port"
                        ),
                    });
                }
            }
        }
        let mut state = fragment.state.clone();
        if !lost.is_empty() {
            withdraw(&mut state, &lost);
        }
        merge(&mut self.state, state);
        let kept = fragment.snat.iter().filter(|(server, _)| !lost.contains(server));
        self.snat.extend(kept.map(|(server, address)| (name, *server, *address)));
        if fragment.drain != Drain::UntilIdle {
            let kept = fragment.state.virtual_servers.keys().filter(|server| !lost.contains(server));
            self.drains.extend(kept.map(|server| (*server, fragment.drain)));
        }
    }

    /// Gives the chosen addresses their places, and the virtual servers their entries. The oldest services choose
    /// first; what they chose is sorted, so that the order of events does not matter.
    fn assign_addresses(&mut self) -> PerFamily<Vec<IpAddr>> {
        let mut chosen: PerFamily<Vec<IpAddr>> = PerFamily::default();
        for (_, _, address) in &self.snat {
            let places = chosen.get_mut(Family::of(*address));
            if places.len() < SNAT_SLOTS && !places.contains(address) {
                places.push(*address);
            }
        }
        Family::BOTH.into_iter().for_each(|family| chosen.get_mut(family).sort());
        for (name, server, address) in std::mem::take(&mut self.snat) {
            let family = Family::of(address);
            let places = chosen.get(family);
            let set = match places.iter().position(|place| *place == address) {
                Some(0) => Set::Snat1,
                Some(_) => Set::Snat2,
                None => {
                    self.reports.push(Report {
                        service: name.clone(),
                        reason: Reason::DecisionClamped,
                        message: format!(
                            "{server}: the source cannot become {address}, because older services have taken the \
                             {SNAT_SLOTS} places with {}; an address that the kernel picks is used",
                            places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
                        ),
                    });
                    Set::MasqueradeAlways
                }
            };
            let vip = SetEntry::IpPort(server.address.ip(), server.protocol, server.address.port());
            self.state.entries.insert((SetName::new(family, set), vip), ());
        }
        chosen
    }
}

/// Takes everything that belongs to these virtual servers out of a fragment.
fn withdraw(fragment: &mut KernelState, lost: &BTreeSet<VirtualServer>) {
    fragment.virtual_servers.retain(|server, _| !lost.contains(server));
    fragment.real_servers.retain(|(server, _), _| !lost.contains(server));
    fragment
        .entries
        .retain(|(name, entry), ()| !virtual_server_of(*name, *entry).is_some_and(|s| lost.contains(&s)));
    let kept: BTreeSet<_> = fragment.virtual_servers.keys().map(|server| server.address.ip()).collect();
    fragment.addresses.retain(|ip, ()| kept.contains(ip));
    fragment.entries.retain(|(name, entry), ()| match entry {
        SetEntry::Ip(ip) if name.set == Set::IpvsIps => kept.contains(ip),
        _ => true,
    });
}

/// The virtual server that an entry of a VIP set is about.
fn virtual_server_of(name: SetName, entry: SetEntry) -> Option<VirtualServer> {
    match entry {
        // These are endpoints, not VIPs.
        _ if name.set == Set::LoopBack => None,
        SetEntry::IpPort(ip, protocol, port)
        | SetEntry::IpPortIp(ip, protocol, port, _)
        | SetEntry::IpPortNet(ip, protocol, port, _) => Some(VirtualServer::new(protocol, ip, port)),
        SetEntry::Ip(_) | SetEntry::Port(_) => None,
    }
}

/// Adds `other` to `state`. Where both have a key their values are equal, or `state` keeps its own.
pub fn merge(state: &mut KernelState, other: KernelState) {
    // Destructured so that a new field cannot be forgotten here.
    let KernelState {
        sysctls,
        timeouts,
        devices,
        sets,
        entries,
        rules,
        addresses,
        virtual_servers,
        real_servers,
    } = other;
    merge_map(&mut state.sysctls, sysctls);
    merge_map(&mut state.timeouts, timeouts);
    merge_map(&mut state.devices, devices);
    merge_map(&mut state.sets, sets);
    merge_map(&mut state.entries, entries);
    merge_map(&mut state.rules, rules);
    merge_map(&mut state.addresses, addresses);
    merge_map(&mut state.virtual_servers, virtual_servers);
    merge_map(&mut state.real_servers, real_servers);
}

fn merge_map<K: Ord, V>(map: &mut BTreeMap<K, V>, other: BTreeMap<K, V>) {
    if map.is_empty() {
        *map = other;
        return;
    }
    for (key, value) in other {
        map.entry(key).or_insert(value);
    }
}

#[cfg(test)]
mod tests;
