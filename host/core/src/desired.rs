//! The desired state of all services and the node, and which service wins if two require the same virtual server.
//!
//! Replacing a service touches only the keys that differ; [`Desired::take_touched`] returns them with their
//! previously wanted values. The order in which services arrive does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::actual::Actual;
use crate::decision::Treatment;
use crate::net::{Family, PerFamily, Protocol};
use crate::node::NodeView;
use crate::objects::{ObjectName, Service};
use crate::plan::{SNAT_SLOTS, Totals, plan_node};
use crate::set::{SetEntry, SetName};
use crate::state::{KernelState, VirtualServer};
use crate::wants::{Want, Wants};

mod members;
mod questions;

use members::{Counted, Members};

/// The age of a service. If two services want a virtual server, the older one keeps it; without timestamps
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

/// The wants of a service, and its age.
#[derive(Debug)]
struct Planned {
    seniority: Arc<Seniority>,
    wants: Wants,
}

/// The services that want a virtual server.
#[derive(Debug)]
struct Claims {
    /// The oldest, which gets it.
    first: Arc<Seniority>,
    /// The other services, oldest first; rarely any.
    others: Vec<Arc<Seniority>>,
    /// The number of the last comparison that found the virtual server in the kernel.
    seen: u32,
}

/// The desired state, by service and in total.
#[derive(Debug, Default)]
pub struct Desired {
    services: BTreeMap<ObjectName, Planned>,
    claims: BTreeMap<VirtualServer, Claims>,
    /// Virtual servers that more than one service wants.
    contested: BTreeSet<VirtualServer>,
    members: Members,
    addresses: Counted<IpAddr>,
    /// Virtual servers whose clients' source is replaced by an address of the node. Only [`SNAT_SLOTS`] different
    /// addresses per family fit.
    translated: BTreeMap<(Arc<Seniority>, VirtualServer), IpAddr>,
    slots: PerFamily<Vec<IpAddr>>,
    totals: Totals,
    /// The parts of the totals that have changed since the node's own part was planned.
    stale: Stale,
    node: Option<NodeView>,
    /// The node's own part.
    own: KernelState,
    /// The number of comparisons with a kernel.
    comparisons: u32,
    /// Addresses that are turned on before all others.
    first: BTreeSet<IpAddr>,
    /// The previously wanted values of changed keys; `None` while changes are not recorded.
    touched: Option<Actual>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stale {
    totals: bool,
    slots: bool,
}

impl Desired {
    /// Replaces the wants of a service.
    pub fn replace(&mut self, service: &Service, wants: Wants) {
        let seniority = Seniority::of(service);
        let old = self.services.remove(&service.name);
        let (seniority, mut old) = match old {
            Some(old) if *old.seniority == seniority => (old.seniority, old.wants),
            old => {
                old.into_iter().for_each(|old| self.withdraw_all(&old));
                (Arc::new(seniority), Wants::default())
            }
        };
        let old_drain = old.drain;
        for (server, want) in &wants.servers {
            match old.servers.remove(server) {
                Some(before) if before == *want => {}
                Some(before) => self.amend(*server, &seniority, &before, want),
                None => self.claim(*server, &seniority, want),
            }
        }
        for (server, before) in &old.servers {
            self.withdraw(*server, &seniority, before);
        }
        if old_drain != wants.drain {
            // Touched although nothing else changed, so that draining real servers are checked again at once.
            for (server, want) in &wants.servers {
                if self.claims.get(server).is_some_and(|claims| claims.first == seniority) {
                    self.touch_server(*server, Some(want));
                }
            }
        }
        self.exchange(&old, &wants);
        self.services.insert(service.name.clone(), Planned { seniority, wants });
    }

    /// Removes the wants of a service.
    pub fn remove(&mut self, name: &ObjectName) {
        if let Some(old) = self.services.remove(name) {
            self.withdraw_all(&old);
        }
    }

    fn withdraw_all(&mut self, old: &Planned) {
        for (server, want) in &old.wants.servers {
            self.withdraw(*server, &old.seniority, want);
        }
        self.exchange(&old.wants, &Wants::default());
    }

    /// Replaces the entries that belong to no virtual server.
    fn exchange(&mut self, old: &Wants, new: &Wants) {
        if (&old.hairpins, &old.health_ports) != (&new.hairpins, &new.health_ports) {
            new.other_entries().for_each(|key| self.add(key));
            old.other_entries().for_each(|key| self.drop(key));
        }
    }

    fn claim(&mut self, server: VirtualServer, by: &Arc<Seniority>, want: &Want) {
        let Some(claims) = self.claims.get_mut(&server) else {
            self.claims.insert(server, Claims { first: by.clone(), others: Vec::new(), seen: 0 });
            self.contribute(server, by, want);
            return;
        };
        self.contested.insert(server);
        if *by > claims.first {
            let place = claims.others.partition_point(|other| other < by);
            claims.others.insert(place, by.clone());
            return;
        }
        let before = std::mem::replace(&mut claims.first, by.clone());
        claims.others.insert(0, before.clone());
        if let Some(lost) = self.want_of(&before, server).cloned() {
            self.retract(server, &before, &lost);
        }
        self.contribute(server, by, want);
    }

    fn withdraw(&mut self, server: VirtualServer, by: &Arc<Seniority>, want: &Want) {
        let Some(claims) = self.claims.get_mut(&server) else { return };
        if claims.first != *by {
            claims.others.retain(|other| other != by);
            if claims.others.is_empty() {
                self.contested.remove(&server);
            }
            return;
        }
        if claims.others.is_empty() {
            self.claims.remove(&server);
            self.retract(server, by, want);
            return;
        }
        let heir = claims.others.remove(0);
        claims.first = heir.clone();
        if claims.others.is_empty() {
            self.contested.remove(&server);
        }
        self.retract(server, by, want);
        if let Some(want) = self.want_of(&heir, server).cloned() {
            self.contribute(server, &heir, &want);
        }
    }

    /// Updates a virtual server if it belongs to this service.
    fn amend(&mut self, server: VirtualServer, by: &Arc<Seniority>, before: &Want, want: &Want) {
        if self.claims.get(&server).is_none_or(|claims| claims.first != *by) {
            return;
        }
        if before.has_same_entries(want) {
            self.touch_server(server, Some(before));
        } else {
            self.retract(server, by, before);
            self.contribute(server, by, want);
        }
    }

    fn want_of(&self, owner: &Seniority, server: VirtualServer) -> Option<&Want> {
        self.services.get(&owner.name)?.wants.servers.get(&server)
    }

    /// Adds the wants of a virtual server, for the service that gets it.
    fn contribute(&mut self, server: VirtualServer, by: &Arc<Seniority>, want: &Want) {
        self.touch_server(server, None);
        if let Treatment::Address(address) = want.treatment {
            self.translated.insert((by.clone(), server), address);
            self.stale.slots = true;
        }
        self.entries(server, want).into_iter().for_each(|key| self.add(key));
        if want.bound && self.addresses.add(server.address.ip()) {
            self.touch_address(server.address.ip(), None);
        }
        if want.is_closed_to_node() {
            self.totals.closed_to_node.insert(closed(server));
            self.stale.totals = true;
        }
    }

    /// Removes the wants of a virtual server.
    fn retract(&mut self, server: VirtualServer, by: &Arc<Seniority>, want: &Want) {
        self.touch_server(server, Some(want));
        self.entries(server, want).into_iter().for_each(|key| self.drop(key));
        if want.bound && self.addresses.drop(&server.address.ip()) {
            self.touch_address(server.address.ip(), Some(()));
        }
        if let Treatment::Address(_) = want.treatment {
            self.translated.remove(&(by.clone(), server));
            self.stale.slots = true;
        }
        if want.is_closed_to_node() {
            self.totals.closed_to_node.remove(&closed(server));
            self.stale.totals = true;
        }
    }

    /// The set entries of a virtual server.
    fn entries(&self, server: VirtualServer, want: &Want) -> Vec<(SetName, SetEntry)> {
        let mut entries = Vec::with_capacity(4);
        let family = server.family();
        let vip = want.vip(server, self.slots.get(family));
        vip.entries(|set, entry| entries.push((SetName::new(family, set), entry)));
        entries
    }

    fn add(&mut self, (name, entry): (SetName, SetEntry)) {
        if self.members.add(name, entry) {
            self.touch_entry(name, entry, None);
        }
    }

    fn drop(&mut self, (name, entry): (SetName, SetEntry)) {
        if self.members.drop(name, entry) {
            self.touch_entry(name, entry, Some(()));
        }
    }

    fn touch_entry(&mut self, name: SetName, entry: SetEntry, was: Option<()>) {
        if let Some(touched) = &mut self.touched {
            touched.entries.entry((name, entry)).or_insert(was);
        }
        self.stale.totals |= self.members.room_changed(name);
    }

    fn touch_address(&mut self, ip: IpAddr, was: Option<()>) {
        if let Some(touched) = &mut self.touched {
            touched.addresses.entry(ip).or_insert(was);
        }
    }

    fn touch_server(&mut self, server: VirtualServer, was: Option<&Want>) {
        if let Some(touched) = &mut self.touched {
            touched.servers.entry(server).or_insert_with(|| was.map(|want| want.server.clone()));
        }
    }

    /// Plans the node's own part again if the node or the services' totals have changed.
    pub fn settle(&mut self, node: &NodeView) {
        let slots_moved = self.stale.slots && self.assign_addresses();
        let moved = self.node.as_ref() != Some(node);
        if moved {
            self.members.set_usual_room(node.config.set_size);
        }
        let stale = std::mem::take(&mut self.stale);
        if !moved && !stale.totals && !slots_moved {
            return;
        }
        self.totals.sets = self.members.rooms();
        self.totals.snat = self.slots.clone();
        let own = plan_node(node, &self.totals);
        let before = std::mem::replace(&mut self.own, own);
        if let Some(touched) = &mut self.touched {
            touched.note_changed(&before, &self.own);
        }
        if moved {
            self.node = Some(node.clone());
        }
    }

    /// Assigns the slots of each family to addresses that replace sources. The oldest services choose first. The
    /// chosen addresses are sorted, so that the order of events does not matter. Returns whether any slot changed.
    fn assign_addresses(&mut self) -> bool {
        let mut slots: PerFamily<Vec<IpAddr>> = PerFamily::default();
        for address in self.translated.values() {
            let places = slots.get_mut(Family::of(*address));
            if places.len() < SNAT_SLOTS && !places.contains(address) {
                places.push(*address);
            }
        }
        Family::BOTH.into_iter().for_each(|family| slots.get_mut(family).sort());
        if slots == self.slots {
            return false;
        }
        let wants: Vec<(VirtualServer, Want)> = self
            .translated
            .keys()
            .filter_map(|(owner, server)| Some((*server, self.want_of(owner, *server)?.clone())))
            .collect();
        for (server, want) in &wants {
            self.entries(*server, want).into_iter().for_each(|key| self.drop(key));
        }
        self.slots = slots;
        for (server, want) in &wants {
            self.entries(*server, want).into_iter().for_each(|key| self.add(key));
        }
        true
    }

    /// Sets the addresses that are turned on before all others.
    pub fn set_first(&mut self, first: BTreeSet<IpAddr>) {
        self.first = first;
    }

    /// Starts recording changes for [`Desired::take_touched`].
    pub fn follow(&mut self) {
        self.touched = Some(Actual::default());
    }

    /// Returns each key that changed since the last call, with its previously wanted value. `None` means that
    /// changes were not recorded, so anything may have changed.
    pub fn take_touched(&mut self) -> Option<Actual> {
        self.touched.as_mut().map(std::mem::take)
    }
}

fn closed(server: VirtualServer) -> (IpAddr, Protocol, u16) {
    (server.address.ip(), server.protocol, server.address.port())
}

#[cfg(test)]
mod tests;
