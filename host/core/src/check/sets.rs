//! Invariants of sets and their entries.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{Check, Violation};
use crate::set::{Fill, SetEntry, SetKind, SetName};
use crate::state::VirtualServer;

impl Check<'_> {
    pub(super) fn sets(&mut self) {
        for (name, kind) in &self.state.sets {
            if !name.kind().swaps_with(kind) {
                self.found.push(Violation::OddSet(*name, kind.clone()));
            }
            if let SetKind::Hash { max_elements, .. } = kind {
                let count = self.state.entries_of(*name).count();
                if count > *max_elements as usize {
                    self.found.push(Violation::FullSet(*name, count, *max_elements));
                }
            }
        }
    }

    pub(super) fn entries(&mut self) {
        for (name, entry) in self.state.entries.keys() {
            if !self.state.sets.contains_key(name) {
                self.found.push(Violation::NoSet(*name, *entry));
            }
            if !name.fits(*entry) {
                self.found.push(Violation::OddEntry(*name, *entry));
                continue;
            }
            if !self.is_served(*name, *entry) {
                self.found.push(Violation::Unserved(*name, *entry));
            }
            if let Some((beside, vip)) = name.companion(*entry)
                && !self.state.entries.contains_key(&(beside, vip))
            {
                self.found.push(Violation::Alone(*name, *entry, beside));
            }
        }
    }

    /// Whether a virtual server exists for the VIP or node port that an entry names.
    fn is_served(&self, name: SetName, entry: SetEntry) -> bool {
        match name.set.row().fill {
            Fill::Vip(_) | Fill::Sources(_) | Fill::Itself(_) => {
                let SetEntry::IpPort(ip, protocol, port) = entry.without_source() else { return false };
                self.state.virtual_servers.contains_key(&VirtualServer::new(protocol, ip, port))
            }
            Fill::Port(protocol, _) => {
                let SetEntry::Port(port) = entry else { return false };
                self.ports.contains(&(name.family, protocol, port))
            }
            // Endpoints and health check ports need no virtual server; addresses are checked with the device.
            Fill::Hairpin | Fill::HealthPort | Fill::Address(_) => true,
        }
    }
}
