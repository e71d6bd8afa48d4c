//! UDP flows in the connection tracker.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_core::diff::Change;
use weir_core::kernel::{Failure, FailureKind, Outcome};
use weir_core::net::{Family, Protocol};
use weir_core::state::{RealServer, VirtualServer};
use weir_netlink::conntrack::{Client, Flow};
use weir_netlink::{Counters, Errno, NetlinkError, TransportProtocol};

use super::netlink_family;
use super::session::Session;
use crate::refusals;

/// How often a dump disturbed by a concurrent change is repeated; flows change all the time.
const DUMP_TRIES: u32 = 5;

/// The connection tracker.
#[derive(Default)]
pub(super) struct Flows {
    session: Session<Client>,
    forgotten: Vec<Forgotten>,
}

/// One search for stale UDP flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The family that was searched.
    pub family: Family,
    /// How long the search and the deletions took.
    pub took: Duration,
    /// How many flows were deleted.
    pub flows: u64,
}

type Kept<'a> = BTreeMap<VirtualServer, &'a BTreeSet<RealServer>>;

impl Flows {
    pub(super) fn counters(&self) -> Counters {
        self.session.counters()
    }

    /// The searches since the last call.
    pub(super) fn take_forgotten(&mut self) -> Vec<Forgotten> {
        std::mem::take(&mut self.forgotten)
    }

    /// Deletes the flows of all these virtual servers with one dump per family.
    pub(super) fn forget(&mut self, changes: &[Change]) -> Vec<Outcome> {
        let mut failed: BTreeMap<Family, Failure> = BTreeMap::new();
        for family in Family::BOTH {
            let kept: Kept<'_> = changes
                .iter()
                .filter_map(|change| {
                    let Change::ForgetFlows(server, kept) = change else { return None };
                    Some((*server, kept))
                })
                .filter(|(server, _)| server.family() == family)
                .collect();
            if kept.is_empty() {
                continue;
            }
            let start = Instant::now();
            match self.forget_family(family, &kept) {
                Ok(flows) => self.forgotten.push(Forgotten { family, took: start.elapsed(), flows }),
                Err(error) => {
                    let mut failure = refusals::failure(&error, &format!("delete {family} UDP flows"));
                    // A failure here does not affect the virtual servers.
                    failure.kind = FailureKind::Busy;
                    failed.insert(family, failure);
                }
            }
        }
        let of_family = |change: &Change| {
            let Change::ForgetFlows(server, _) = change else { return None };
            failed.get(&server.family()).cloned()
        };
        changes.iter().map(|change| of_family(change).map_or(Ok(()), Err)).collect()
    }

    /// Deletes a family's stale flows and returns their number.
    fn forget_family(&mut self, family: Family, kept: &Kept<'_>) -> Result<u64, NetlinkError> {
        let mut flows = self.dump(family);
        for _ in 1..DUMP_TRIES {
            if flows.is_ok() {
                break;
            }
            flows = self.dump(family);
        }
        let stale: Vec<Flow> = flows?.into_iter().filter(|flow| is_stale(flow, kept)).collect();
        if stale.is_empty() {
            return Ok(0);
        }
        let mut forgotten = 0;
        for result in self.session.batch(|client| client.delete(&stale))? {
            match result {
                Ok(()) => forgotten += 1,
                // A flow that ended by itself is as wanted.
                Err(error) if error.refused_with() == Some(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(forgotten)
    }

    fn dump(&mut self, family: Family) -> Result<Vec<Flow>, NetlinkError> {
        self.session.call(|client| client.flows(netlink_family(family), Some(TransportProtocol::UDP)))
    }
}

/// Whether a flow goes to one of these virtual servers and is not answered by a real server that is kept.
fn is_stale(flow: &Flow, kept: &Kept<'_>) -> bool {
    let Some(protocol) = Protocol::from_number(flow.original.protocol.0) else { return false };
    let server = VirtualServer::new(protocol, flow.original.destination, flow.original.destination_port);
    let answered_by = RealServer(SocketAddr::new(flow.reply.source, flow.reply.source_port));
    kept.get(&server).is_some_and(|kept| !kept.contains(&answered_by))
}
