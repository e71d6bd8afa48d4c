//! Queries of the desired state.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Desired;
use crate::decision::{Drain, Treatment};
use crate::diff::Wanted;
use crate::net::{Family, Protocol};
use crate::objects::ObjectName;
use crate::plan::SNAT_SLOTS;
use crate::report::{Reason, Report};
use crate::set::{SetEntry, SetKind, SetName, Step, Vip};
use crate::state::{KernelState, VirtualServer};
use crate::wants::Want;

impl Desired {
    /// The desired state of a virtual server, from the service that owns it.
    pub fn server(&self, server: VirtualServer) -> Option<&Want> {
        self.want_of(&self.claims.get(&server)?.first, server)
    }

    /// The virtual servers that a service owns, with their desired state.
    pub fn servers_of(&self, name: &ObjectName) -> impl Iterator<Item = (VirtualServer, &Want)> {
        let planned = self.services.get(name).into_iter();
        planned.flat_map(|planned| {
            let got =
                |server| self.claims.get(server).is_some_and(|claims| claims.first == planned.seniority);
            let wanted = planned.wants.servers.iter();
            wanted.filter(move |(server, _)| got(server)).map(|(server, want)| (*server, want))
        })
    }

    /// The virtual servers at an address.
    pub fn servers_at(&self, ip: IpAddr) -> Vec<VirtualServer> {
        let at = |protocol, port| VirtualServer::new(protocol, ip, port);
        let of = |protocol| self.claims.range(at(protocol, 0)..=at(protocol, u16::MAX));
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter();
        protocols.flat_map(of).map(|(server, _)| *server).collect()
    }

    /// How connections to a virtual server are drained.
    pub fn drain(&self, server: VirtualServer) -> Drain {
        let owner = self.claims.get(&server).and_then(|claims| self.services.get(&claims.first.name));
        owner.map(|planned| planned.wants.drain).unwrap_or_default()
    }

    /// Whether an address is wanted on the dummy device.
    pub fn has_address(&self, ip: IpAddr) -> bool {
        self.addresses.has(&ip)
    }

    /// The addresses that are wanted on the dummy device, sorted.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.keys().copied()
    }

    /// `Some` if a set should have a member.
    pub(crate) fn member(&self, name: SetName, entry: SetEntry) -> Option<()> {
        self.members.has(name, entry).then_some(())
    }

    /// The desired state of the node itself.
    pub fn own(&self) -> &KernelState {
        &self.own
    }

    /// The virtual servers, sorted.
    pub fn servers(&self) -> impl Iterator<Item = (VirtualServer, &Want)> {
        self.claims
            .iter()
            .filter_map(|(server, claims)| Some((*server, self.want_of(&claims.first, *server)?)))
    }

    /// The addresses that are turned on before all others.
    pub fn first(&self) -> &BTreeSet<IpAddr> {
        &self.first
    }

    /// Networks in which unwanted virtual servers belong to other programs.
    pub fn excluded(&self) -> &[IpNet] {
        self.node.as_ref().map(|node| node.config.exclude_cidrs.as_slice()).unwrap_or_default()
    }

    /// The complete wanted state.
    pub fn state(&self) -> KernelState {
        let mut state = self.own.clone();
        state.entries = self.members.all().map(|key| (key, ())).collect();
        state.addresses = self.addresses().map(|ip| (ip, ())).collect();
        state.virtual_servers = self.servers().map(|(server, want)| (server, want.server.clone())).collect();
        state
    }

    /// The desired state of one virtual server and of the node: enough to trace a packet to it.
    pub fn excerpt(&self, server: VirtualServer) -> KernelState {
        let mut state = self.own.clone();
        let owner = self.claims.get(&server).and_then(|claims| self.services.get(&claims.first.name));
        let want = owner.and_then(|planned| Some((planned, planned.wants.servers.get(&server)?)));
        if let Some((planned, want)) = want {
            let others = planned.wants.other_entries();
            state.entries =
                self.entries(server, want).into_iter().chain(others).map(|key| (key, ())).collect();
            state.addresses.extend(want.bound.then_some((server.address.ip(), ())));
            state.virtual_servers.insert(server, want.server.clone());
        }
        state
    }

    /// A report for each virtual server or source address that a service could not have.
    pub fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        for server in &self.contested {
            let Some(claims) = self.claims.get(server) else { continue };
            let owner = &claims.first.name;
            reports.extend(claims.others.iter().map(|loser| Report {
                service: loser.name.clone(),
                reason: Reason::VirtualServerConflict,
                message: format!(
                    "virtual server {server} already belongs to the older Service {owner}; change the address or port \
                     of one of the two Services"
                ),
            }));
        }
        let full = Family::BOTH.iter().any(|family| self.slots.get(*family).len() >= SNAT_SLOTS);
        for ((owner, server), address) in self.translated.iter().filter(|_| full) {
            let places = self.slots.get(Family::of(*address));
            if !places.contains(address) {
                reports.push(Report {
                    service: owner.name.clone(),
                    reason: Reason::DecisionClamped,
                    message: format!(
                        "virtual server {server}: the source address cannot be {address}: a node supports {SNAT_SLOTS} \
                         chosen source addresses per family, and older services already use {}; the kernel picks an \
                         address",
                        places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
                    ),
                });
            }
        }
        reports
    }

    /// Load-balancer VIPs that this node may not use, each with its service.
    pub fn closed_to_node(&self) -> impl Iterator<Item = (VirtualServer, &ObjectName)> {
        self.totals.closed_to_node.iter().filter_map(|(ip, protocol, port)| {
            let server = VirtualServer::new(*protocol, *ip, *port);
            Some((server, &self.claims.get(&server)?.first.name))
        })
    }
}

/// Support for comparisons with the kernel: keys seen there are marked, so that no copy is made.
impl Desired {
    /// Starts a comparison and returns its number; marks of earlier comparisons become invalid.
    pub(crate) fn begin_comparison(&mut self) -> u32 {
        self.comparisons = self.comparisons.wrapping_add(1).max(1);
        self.comparisons
    }

    /// Marks an entry as seen in a comparison, and returns whether it is wanted.
    pub(crate) fn see_entry(&mut self, name: SetName, entry: SetEntry, comparison: u32) -> bool {
        self.members.see(name, entry, comparison)
    }

    /// Marks a virtual server as seen in a comparison, and returns its desired state.
    pub(crate) fn see_server(&mut self, server: VirtualServer, comparison: u32) -> Option<&Want> {
        let claims = self.claims.get_mut(&server)?;
        claims.seen = comparison;
        let owner = claims.first.clone();
        self.want_of(&owner, server)
    }

    /// Marks an address as seen in a comparison, and returns whether it is wanted.
    pub(crate) fn see_address(&mut self, ip: IpAddr, comparison: u32) -> bool {
        self.addresses.see(&ip, comparison)
    }

    /// Entries not seen in a comparison.
    pub(crate) fn unseen_entries(&self, comparison: u32) -> impl Iterator<Item = (SetName, SetEntry)> {
        self.members.unseen(comparison)
    }

    /// Addresses not seen in a comparison.
    pub(crate) fn unseen_addresses(&self, comparison: u32) -> impl Iterator<Item = IpAddr> {
        self.addresses.unseen(comparison).copied()
    }

    /// Virtual servers not seen in a comparison.
    pub(crate) fn unseen_servers(&self, comparison: u32) -> impl Iterator<Item = VirtualServer> {
        self.claims.iter().filter(move |(_, claims)| claims.seen != comparison).map(|(server, _)| *server)
    }
}

impl Wanted for Desired {
    fn entries_of(&self, name: SetName) -> Vec<SetEntry> {
        self.members.of(name).collect()
    }

    fn count(&self, name: SetName) -> usize {
        self.members.count(name)
    }

    fn kind_of(&self, name: SetName) -> Option<&SetKind> {
        self.own.sets.get(&name)
    }

    fn has_entry(&self, name: SetName, entry: SetEntry) -> bool {
        self.members.has(name, entry)
    }

    fn is_served(&self, _: IpAddr) -> bool {
        false
    }

    fn closing(&self, server: VirtualServer) -> Vec<(SetName, SetEntry)> {
        let Some(want) = self.server(server).filter(|want| want.limits.is_some()) else { return Vec::new() };
        let mut entries = self.entries(server, want);
        entries.retain(|(name, _)| name.set.row().step == Step::Closes);
        entries
    }
}

impl Want {
    /// The virtual server as used by the table of sets. `slots` are the addresses that have slots.
    pub(crate) fn vip(&self, server: VirtualServer, slots: &[IpAddr]) -> Vip<'_> {
        let slot = match self.treatment {
            Treatment::Address(address) => slots.iter().position(|place| *place == address),
            _ => None,
        };
        let treatment = match self.treatment {
            // Without a slot, the kernel picks the address.
            Treatment::Address(_) if slot.is_none() => Treatment::Always,
            treatment => treatment,
        };
        Vip { server, want: self, treatment, slot }
    }

    /// Whether both have the same set entries.
    pub(super) fn has_same_entries(&self, other: &Want) -> bool {
        // Destructured so that a new field cannot be forgotten here.
        let Want { kinds, external, server: _, bound, treatment, limits } = self;
        *kinds == other.kinds
            && *external == other.external
            && *bound == other.bound
            && *treatment == other.treatment
            && *limits == other.limits
    }
}
