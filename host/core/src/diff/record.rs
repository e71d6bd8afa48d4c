//! The state after a successful change.

use std::collections::btree_map::Entry;

use super::{Change, RulesChange};
use crate::rule::{Chains, Rule};
use crate::state::{KernelState, Server};

/// Records a change that was made.
pub fn record(state: &mut KernelState, change: &Change) {
    match change {
        Change::SetSysctl(key, value) => {
            state.sysctls.insert(key.clone(), *value);
        }
        Change::SetTimeouts(timeouts) => state.timeouts.extend(timeouts),
        Change::CreateDevice(device) => {
            state.devices.insert(*device, ());
        }
        Change::DeleteDevice(device) => {
            state.devices.remove(device);
            state.addresses.clear();
        }
        Change::CreateSet(name, kind) => {
            state.sets.insert(*name, kind.clone());
        }
        Change::ReplaceSet(name, kind, entries) => {
            state.sets.insert(*name, kind.clone());
            state.entries.retain(|(of, _), ()| of != name);
            state.entries.extend(entries.iter().map(|entry| ((*name, *entry), ())));
        }
        Change::DestroySet(name) => {
            state.sets.remove(name);
            state.entries.retain(|(of, _), ()| of != name);
        }
        Change::AddEntry(name, entry) => {
            state.entries.insert((*name, *entry), ());
        }
        Change::DeleteEntry(name, entry) => {
            state.entries.remove(&(*name, *entry));
        }
        Change::WriteRules(rules) => record_rules(&mut state.rules, rules),
        Change::AddAddress(ip) => {
            state.addresses.insert(*ip, ());
        }
        Change::DeleteAddress(ip) => {
            state.addresses.remove(ip);
        }
        Change::CreateVirtualServer(server, _)
        | Change::UpdateVirtualServer(server, _)
        | Change::DeleteVirtualServer(server)
        | Change::AddRealServer(server, ..)
        | Change::SetWeight(server, ..)
        | Change::DeleteRealServer(server, _) => match state.virtual_servers.entry(*server) {
            Entry::Occupied(mut place) => {
                if !record_server(place.get_mut(), change) {
                    place.remove();
                }
            }
            Entry::Vacant(place) => {
                if let Change::CreateVirtualServer(_, scheduling) = change {
                    place.insert(Server::new(scheduling.clone()));
                }
            }
        },
        // Flows are not part of the state.
        Change::ForgetFlows(..) => {}
    }
}

/// Records a change of a virtual server or its real servers, and returns whether the virtual server still exists.
pub(crate) fn record_server(server: &mut Server, change: &Change) -> bool {
    match change {
        Change::CreateVirtualServer(_, scheduling) | Change::UpdateVirtualServer(_, scheduling) => {
            server.scheduling.clone_from(scheduling);
        }
        Change::DeleteVirtualServer(_) => return false,
        Change::AddRealServer(_, real, weight) | Change::SetWeight(_, real, weight) => {
            server.real_servers.insert(*real, *weight);
        }
        Change::DeleteRealServer(_, real) => drop(server.real_servers.remove(real)),
        Change::SetSysctl(..)
        | Change::SetTimeouts(_)
        | Change::CreateDevice(_)
        | Change::DeleteDevice(_)
        | Change::CreateSet(..)
        | Change::ReplaceSet(..)
        | Change::DestroySet(_)
        | Change::AddEntry(..)
        | Change::DeleteEntry(..)
        | Change::WriteRules(_)
        | Change::AddAddress(_)
        | Change::DeleteAddress(_)
        | Change::ForgetFlows(..) => {}
    }
    true
}

/// Records written rules.
pub(crate) fn record_rules(chains: &mut Chains, change: &RulesChange) {
    for (table, change_of_table) in &change.tables {
        let key = |chain| (change.family, *table, chain);
        for (chain, rules) in &change_of_table.write {
            chains.insert(key(*chain), rules.clone());
        }
        for chain in &change_of_table.delete {
            chains.remove(&key(*chain));
        }
        for (chain, rule) in &change_of_table.insert {
            chains.entry(key(*chain)).or_default().insert(0, rule.clone());
        }
        for (chain, rule) in &change_of_table.remove {
            let left: Option<&mut Vec<Rule>> = chains.get_mut(&key(*chain));
            if let Some(rules) = left {
                rules.retain(|r| r != rule);
                if rules.is_empty() {
                    chains.remove(&key(*chain));
                }
            }
        }
    }
}
