//! What becomes of connections when real servers go.
//!
//! A TCP real server with connections is quiesced (weight 0) until it is idle; UDP and SCTP ones go at once, and
//! the connection tracker forgets UDP flows that nobody will answer. Nothing is remembered between runs: a
//! quiesced real server is in the actual state and not in the desired one, so the next comparison asks again.

use std::collections::BTreeSet;

use crate::diff::{Change, Changes};
use crate::kernel::Connections;
use crate::net::Protocol;
use crate::state::{KernelState, RealServer, VirtualServer, Weight};

/// The real servers whose connections [`drain`] needs to know of.
pub fn candidates(changes: &Changes) -> Vec<(VirtualServer, RealServer)> {
    changes
        .0
        .iter()
        .filter_map(|change| match change {
            Change::DeleteRealServer(server, real) if server.protocol == Protocol::Tcp => {
                Some((*server, *real))
            }
            _ => None,
        })
        .collect()
}

/// Quiesces instead of deleting where there are connections, and returns the changes and the real servers that
/// wait. A real server that could not be asked counts as busy.
pub fn drain(
    changes: Changes,
    connections: &Connections,
    desired: &KernelState,
    actual: &KernelState,
) -> (Changes, Vec<(VirtualServer, RealServer)>) {
    let mut waiting = Vec::new();
    let mut drained = Vec::with_capacity(changes.0.len());
    let forgotten = forget_flows(&changes, desired, actual);
    for change in changes.0 {
        match change {
            Change::DeleteRealServer(server, real) if server.protocol == Protocol::Tcp => {
                if connections.get(&(server, real)) == Some(&0) {
                    drained.push(change);
                    continue;
                }
                waiting.push((server, real));
                if actual.real_servers.get(&(server, real)) != Some(&Weight::QUIESCED) {
                    drained.push(Change::SetWeight(server, real, Weight::QUIESCED));
                }
            }
            change => drained.push(change),
        }
    }
    drained.extend(forgotten);
    (Changes(drained), waiting)
}

/// One change per UDP virtual server that lost real servers, or got its first ones.
fn forget_flows(changes: &Changes, desired: &KernelState, actual: &KernelState) -> Vec<Change> {
    let mut touched = BTreeSet::new();
    for change in &changes.0 {
        let server = match change {
            Change::DeleteRealServer(server, _) | Change::DeleteVirtualServer(server) => server,
            Change::AddRealServer(server, ..) if actual.real_servers_of(*server).next().is_none() => server,
            _ => continue,
        };
        if server.protocol == Protocol::Udp {
            touched.insert(*server);
        }
    }
    touched
        .into_iter()
        .map(|server| {
            let kept = desired.real_servers_of(server).map(|(real, _)| real).collect();
            Change::ForgetFlows(server, kept)
        })
        .collect()
}
