//! Session affinity: a client keeps its server.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use weir_harness::lab::{Lab, Test, Vip, paths};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("affinity::a_client_keeps_its_server", a_client_keeps_its_server),
    ("affinity::without_it_clients_change_servers", without_it_clients_change_servers),
];

const CLIENTS: [&str; 4] = ["app", "web-1", "web-2", "node"];

fn a_client_keeps_its_server(lab: &mut Lab) -> Result<()> {
    let affinity = json!({"clientIP": {"timeoutSeconds": 600}});
    let service = lab
        .internal(30, &["web-1", "web-2", "far-1"])
        .with("sessionAffinity", json!("ClientIP"))
        .with("sessionAffinityConfig", affinity);
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        let target = lab.target(&service, Vip::Cluster, family);
        let mut servers = BTreeSet::new();
        for client in CLIENTS {
            let tally = lab.ask_often(client, protocol, target, 10)?;
            ensure!(tally.answers.len() == 1, "{client} asks {protocol} {target}: {tally:?}");
            servers.extend(tally.answers.into_keys());
        }
        // Round robin among clients.
        ensure!(servers.len() == 3, "{protocol} {target}: {servers:?} for {CLIENTS:?}");
    }
    Ok(())
}

fn without_it_clients_change_servers(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(31, &["web-1", "web-2"]);
    let affine = service.clone().with("sessionAffinity", json!("ClientIP"));
    for (services, servers) in [([&affine], 1), ([&service], 2)] {
        lab.serve(&services).context("affinity is disabled")?;
        for (family, protocol) in paths() {
            let target = lab.target(&service, Vip::Cluster, family);
            let tally = lab.ask_often("app", protocol, target, 4)?;
            ensure!(tally.answers.len() == servers, "{protocol} {target}: {tally:?}");
        }
    }
    Ok(())
}
