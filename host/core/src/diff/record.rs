//! What a state is after a change succeeded.

use super::{Change, RulesChange};
use crate::rule::Rule;
use crate::state::KernelState;

/// Takes a change that was made into account.
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
        Change::WriteRules(rules) => record_rules(state, rules),
        Change::AddAddress(ip) => {
            state.addresses.insert(*ip, ());
        }
        Change::DeleteAddress(ip) => {
            state.addresses.remove(ip);
        }
        Change::CreateVirtualServer(server, scheduling) | Change::UpdateVirtualServer(server, scheduling) => {
            state.virtual_servers.insert(*server, scheduling.clone());
        }
        Change::DeleteVirtualServer(server) => {
            state.virtual_servers.remove(server);
            state.real_servers.retain(|(of, _), _| of != server);
        }
        Change::AddRealServer(server, real, weight) | Change::SetWeight(server, real, weight) => {
            state.real_servers.insert((*server, *real), *weight);
        }
        Change::DeleteRealServer(server, real) => {
            state.real_servers.remove(&(*server, *real));
        }
        // Flows are not part of the state.
        Change::ForgetFlows(..) => {}
    }
}

fn record_rules(state: &mut KernelState, change: &RulesChange) {
    for (table, change_of_table) in &change.tables {
        let key = |chain| (change.family, *table, chain);
        for (chain, rules) in &change_of_table.write {
            state.rules.insert(key(*chain), rules.clone());
        }
        for chain in &change_of_table.delete {
            state.rules.remove(&key(*chain));
        }
        for (chain, rule) in &change_of_table.insert {
            state.rules.entry(key(*chain)).or_default().insert(0, rule.clone());
        }
        for (chain, rule) in &change_of_table.remove {
            let left: Option<&mut Vec<Rule>> = state.rules.get_mut(&key(*chain));
            if let Some(rules) = left {
                rules.retain(|r| r != rule);
                if rules.is_empty() {
                    state.rules.remove(&key(*chain));
                }
            }
        }
    }
}
