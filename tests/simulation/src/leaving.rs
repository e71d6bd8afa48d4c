//! Laws about departing real servers: connections are kept as long as the policy says, and no longer.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::decision::Drain;
use weir_core::desired::Desired;
use weir_core::diff::Change;
use weir_core::net::Protocol;
use weir_core::state::{KernelState, RealServer, VirtualServer, Weight};

/// How much later than its deadline a real server may be removed: news are gathered, and a round takes time.
const SLACK: Duration = Duration::from_secs(1);

type Leaving = (VirtualServer, RealServer);

/// Connections, and the departing real servers, with the time they were first seen departing and their deadline.
#[derive(Debug, Default)]
pub(crate) struct Leavers {
    connections: BTreeMap<Leaving, u32>,
    leaving: BTreeMap<Leaving, (Duration, Option<Duration>)>,
}

impl Leavers {
    pub(crate) fn connect(&mut self, key: Leaving, count: u32) {
        self.connections.insert(key, count);
    }

    pub(crate) fn disconnect(&mut self) {
        self.connections.clear();
    }

    /// An event makes it unknown how long anything takes.
    pub(crate) fn forget(&mut self) {
        self.leaving.clear();
    }

    /// Returns a real server that should be gone by now.
    pub(crate) fn late(&self, now: Duration, state: &KernelState) -> Option<String> {
        let late = self.leaving.iter().find(|((server, real), (_, until))| {
            until.is_some_and(|until| now > until) && state.weight(*server, *real).is_some()
        });
        late.map(|((server, real), _)| format!("{server} -> {real} drains beyond its deadline"))
    }

    /// Returns real servers that were deleted although their connections should have been waited for.
    pub(crate) fn cut(&self, made: &[(Change, KernelState)], desired: &mut Desired) -> Vec<String> {
        let mut wrong = Vec::new();
        for (change, _) in made {
            let Change::DeleteRealServer(server, real) = change else { continue };
            let busy = self.connections.get(&(*server, *real)).is_some_and(|count| *count > 0);
            if server.protocol == Protocol::Tcp && busy && desired.drain(*server) == Drain::UntilIdle {
                wrong.push(format!("{server} -> {real} is deleted despite its connections"));
            }
        }
        wrong
    }

    /// Checks a kernel after a round without failures.
    pub(crate) fn note(
        &mut self,
        state: &KernelState,
        wanted: &KernelState,
        desired: &mut Desired,
        now: Duration,
        pause: Duration,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut rest = state.clone();
        let mut leaving = BTreeMap::new();
        for (server, behind) in &mut rest.virtual_servers {
            let Some(want) = wanted.virtual_servers.get(server) else { continue };
            behind.real_servers.retain(|real, weight| {
                let goes = server.protocol == Protocol::Tcp
                    && *weight == Weight::QUIESCED
                    && !want.real_servers.contains_key(real);
                if goes {
                    let since = self.leaving.get(&(*server, *real)).map_or(now, |(since, _)| *since);
                    let until = match desired.drain(*server) {
                        Drain::UntilIdle => None,
                        Drain::UntilDeadline(time) => Some(since + time + pause + SLACK),
                        Drain::AtOnce => {
                            wrong.push(format!("{server} -> {real} drains instead of being deleted at once"));
                            None
                        }
                    };
                    leaving.insert((*server, *real), (since, until));
                }
                !goes
            });
        }
        self.leaving = leaving;
        let differences = rest.differences(wanted);
        if !differences.is_empty() {
            wrong.push(format!("differs although nothing failed: {differences:?}"));
        }
        wrong
    }
}

/// Returns UDP virtual servers that lost real servers without their flows being forgotten.
pub(crate) fn flows_kept(made: &[(Change, KernelState)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, (change, _)) in made.iter().enumerate() {
        let (Change::DeleteRealServer(server, _) | Change::DeleteVirtualServer(server)) = change else {
            continue;
        };
        let forgets = |(change, _): &(Change, KernelState)| matches!(change, Change::ForgetFlows(of, _) if of == server);
        if server.protocol == Protocol::Udp && !made[index..].iter().any(forgets) {
            wrong.push(format!("after `{change}` flows to {server} are not forgotten"));
        }
    }
    wrong
}
