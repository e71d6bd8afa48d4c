//! Values of weir-core as JSON.

use serde_json::{Value, json};
use weir_core::report::Report;
use weir_core::state::KernelState;

/// A kernel state: one list per kind of item.
pub(crate) fn state(state: &KernelState) -> Value {
    let sysctls: serde_json::Map<String, Value> =
        state.sysctls.iter().map(|(key, value)| (key.0.clone(), json!(value))).collect();
    let timeouts: serde_json::Map<String, Value> =
        state.timeouts.iter().map(|(key, seconds)| (key.to_string(), json!(seconds))).collect();
    let sets: Vec<Value> = state
        .sets
        .iter()
        .map(|(name, kind)| {
            let entries: Vec<String> = state.entries_of(*name).map(|entry| entry.to_string()).collect();
            json!({"name": name.to_string(), "kind": kind.to_string(), "entries": entries})
        })
        .collect();
    let chains: Vec<Value> = state
        .rules
        .iter()
        .map(|((family, table, chain), rules)| {
            let rules: Vec<String> = rules.iter().map(|rule| rule.to_string()).collect();
            json!({
                "family": family.to_string(),
                "table": table.to_string(),
                "chain": chain.to_string(),
                "rules": rules,
            })
        })
        .collect();
    let addresses: Vec<String> = state.addresses.keys().map(|ip| ip.to_string()).collect();
    json!({
        "sysctls": sysctls,
        "timeouts": timeouts,
        "sets": sets,
        "chains": chains,
        "addresses": addresses,
        "virtualServers": virtual_servers(state),
    })
}

fn virtual_servers(state: &KernelState) -> Vec<Value> {
    state
        .virtual_servers
        .iter()
        .map(|(server, behind)| {
            let how = &behind.scheduling;
            let reals: Vec<Value> = behind
                .real_servers()
                .map(|(real, weight)| json!({"address": real.to_string(), "weight": weight.0}))
                .collect();
            json!({
                "protocol": server.protocol.to_string(),
                "address": server.address.to_string(),
                "scheduler": how.scheduler,
                "flags": how.flags.0,
                "persistence": how.persistence.map(|p| json!({"seconds": p.timeout, "prefix": p.prefix})),
                "realServers": reals,
            })
        })
        .collect()
}

/// Reports.
pub(crate) fn reports(reports: &[Report]) -> Vec<Value> {
    reports
        .iter()
        .map(|report| {
            json!({
                "service": report.service.to_string(),
                "reason": report.reason.to_string(),
                "message": report.message,
            })
        })
        .collect()
}
