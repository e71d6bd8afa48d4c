//! What becomes of connections when real servers go.
//!
//! A TCP real server with connections is quiesced (weight 0) until it is idle; UDP and SCTP ones go at once, and
//! the connection tracker forgets UDP flows that nobody will answer. For that nothing is remembered between runs: a
//! quiesced real server is in the actual state and not in the desired one, so the next comparison asks again.
//!
//! A policy may want it otherwise for a service: at once, or with a deadline. Deadlines are counted from when this
//! process first saw the real server leave, so that a restart starts them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::decision::Drain;
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

/// How long connections may stay, where that is not kube-proxy's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// Since when real servers with a deadline drain, in time since any fixed moment.
    since: BTreeMap<(VirtualServer, RealServer), Duration>,
}

impl Deadlines {
    /// Whether a real server that is to go may not wait any longer.
    fn is_over(&mut self, key: (VirtualServer, RealServer), how: Drain, now: Duration) -> bool {
        match how {
            Drain::UntilIdle => false,
            Drain::AtOnce => true,
            Drain::UntilDeadline(time) => now >= *self.since.entry(key).or_insert(now) + time,
        }
    }

    /// Forgets the real servers that do not leave any more. One whose deadline is over is not among those: where it
    /// could not be deleted, that is tried again and not put off.
    fn keep(&mut self, leaving: &[(VirtualServer, RealServer)]) {
        let leaving: BTreeSet<_> = leaving.iter().collect();
        self.since.retain(|key, _| leaving.contains(key));
    }

    /// When the first of those that wait must go.
    pub fn next(
        &self,
        waiting: &[(VirtualServer, RealServer)],
        drains: &BTreeMap<VirtualServer, Drain>,
    ) -> Option<Duration> {
        let deadline = |key: &(VirtualServer, RealServer)| match drains.get(&key.0) {
            Some(Drain::UntilDeadline(time)) => Some(*self.since.get(key)? + *time),
            _ => None,
        };
        waiting.iter().filter_map(deadline).min()
    }
}

/// What [`drain`] looks at beside the changes.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// How many connections real servers have.
    pub connections: &'a Connections,
    /// The wanted state.
    pub desired: &'a KernelState,
    /// The state as it is.
    pub actual: &'a KernelState,
    /// How connections end, where that is not kube-proxy's way.
    pub drains: &'a BTreeMap<VirtualServer, Drain>,
    /// The time since any fixed moment.
    pub now: Duration,
}

/// Quiesces instead of deleting where there are connections, and returns the changes and the real servers that
/// wait. A real server that could not be asked counts as busy.
pub fn drain(
    changes: Changes,
    situation: Situation<'_>,
    deadlines: &mut Deadlines,
) -> (Changes, Vec<(VirtualServer, RealServer)>) {
    let Situation { connections, desired, actual, drains, now } = situation;
    let mut waiting = Vec::new();
    let mut drained = Vec::with_capacity(changes.0.len());
    let forgotten = forget_flows(&changes, desired, actual);
    deadlines.keep(&candidates(&changes));
    for change in changes.0 {
        match change {
            Change::DeleteRealServer(server, real) if server.protocol == Protocol::Tcp => {
                let how = drains.get(&server).copied().unwrap_or_default();
                let idle = connections.get(&(server, real)) == Some(&0);
                if idle || deadlines.is_over((server, real), how, now) {
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

/// One change per UDP virtual server that lost real servers, or got its first ones, or whose address comes up: while that
/// was missing, its packets went elsewhere, and flows that the connection tracker learnt then go on going there.
fn forget_flows(changes: &Changes, desired: &KernelState, actual: &KernelState) -> Vec<Change> {
    let up: BTreeSet<IpAddr> = changes
        .0
        .iter()
        .filter_map(|change| match change {
            Change::AddAddress(ip) => Some(*ip),
            _ => None,
        })
        .collect();
    let at_up =
        |server: &&VirtualServer| server.protocol == Protocol::Udp && up.contains(&server.address.ip());
    let mut touched: BTreeSet<VirtualServer> = BTreeSet::new();
    if !up.is_empty() {
        touched.extend(desired.virtual_servers.keys().filter(at_up));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: u32 = 3;

    struct Leaving {
        server: VirtualServer,
        real: RealServer,
        actual: KernelState,
        deadlines: Deadlines,
    }

    fn leaving() -> Leaving {
        let server = VirtualServer::new(Protocol::Tcp, "10.96.0.10".parse().unwrap(), 80);
        let real = RealServer("10.0.0.1:8080".parse().unwrap());
        let mut actual = KernelState::default();
        actual.real_servers.insert((server, real), Weight::DEFAULT);
        Leaving { server, real, actual, deadlines: Deadlines::default() }
    }

    impl Leaving {
        /// The change that is left, and when to come back.
        fn at(&mut self, seconds: u64, how: Drain) -> (Vec<Change>, Option<Duration>) {
            let key = (self.server, self.real);
            let drains = BTreeMap::from([(self.server, how)]);
            let situation = Situation {
                connections: &Connections::from([(key, BUSY)]),
                desired: &KernelState::default(),
                actual: &self.actual,
                drains: &drains,
                now: Duration::from_secs(seconds),
            };
            let changes = Changes(vec![Change::DeleteRealServer(self.server, self.real)]);
            let (changes, waiting) = drain(changes, situation, &mut self.deadlines);
            if let Some(Change::SetWeight(.., weight)) = changes.0.first() {
                self.actual.real_servers.insert(key, *weight);
            }
            (changes.0, self.deadlines.next(&waiting, &drains))
        }

        /// It is wanted again.
        fn comes_back(&mut self) {
            self.deadlines.keep(&[]);
        }
    }

    #[test]
    fn a_busy_real_server_waits_until_its_deadline() {
        let mut leaving = leaving();
        let how = Drain::UntilDeadline(Duration::from_secs(30));
        let quiesce = Change::SetWeight(leaving.server, leaving.real, Weight::QUIESCED);
        let delete = Change::DeleteRealServer(leaving.server, leaving.real);
        assert_eq!(leaving.at(100, how), (vec![quiesce], Some(Duration::from_secs(130))));
        assert_eq!(leaving.at(129, how), (vec![], Some(Duration::from_secs(130))));
        assert_eq!(leaving.at(130, how), (vec![delete], None));
    }

    #[test]
    fn one_that_comes_back_starts_anew() {
        let mut leaving = leaving();
        let how = Drain::UntilDeadline(Duration::from_secs(30));
        leaving.at(0, how);
        leaving.comes_back();
        assert_eq!(leaving.at(40, how).1, Some(Duration::from_secs(70)));
    }

    #[test]
    fn a_deadline_that_is_over_stays_over_until_the_real_server_is_gone() {
        let mut leaving = leaving();
        let how = Drain::UntilDeadline(Duration::from_secs(30));
        let delete = Change::DeleteRealServer(leaving.server, leaving.real);
        leaving.at(0, how);
        for second in [30, 31] {
            assert_eq!(leaving.at(second, how), (vec![delete.clone()], None));
        }
    }

    /// A network daemon took the address away; a client that kept its port was sent elsewhere meanwhile.
    #[test]
    fn flows_that_were_learnt_while_the_address_was_missing_are_forgotten() {
        let desired: KernelState = "\
address 10.96.0.10
address fd00:96::10
virtual tcp 10.96.0.10:53 rr
virtual udp 10.96.0.10:53 rr
virtual udp 10.96.0.11:53 rr
virtual udp [fd00:96::10]:53 rr
real udp 10.96.0.10:53 -> 10.244.0.1:53 weight 1
"
        .parse()
        .unwrap();
        let forgotten = |address: &str| {
            let situation = Situation {
                connections: &Connections::new(),
                desired: &desired,
                actual: &desired,
                drains: &BTreeMap::new(),
                now: Duration::ZERO,
            };
            let changes = Changes(vec![Change::AddAddress(address.parse().unwrap())]);
            let (changes, _) = drain(changes, situation, &mut Deadlines::default());
            changes.0.iter().skip(1).map(Change::to_string).collect::<Vec<_>>()
        };
        assert_eq!(forgotten("10.96.0.10"), ["forget flows to udp 10.96.0.10:53 but to 1 real servers"]);
        assert_eq!(forgotten("fd00:96::10"), ["forget flows to udp [fd00:96::10]:53 but to 0 real servers"]);
    }

    #[test]
    fn without_a_deadline_it_waits_for_ever_and_at_once_it_does_not_wait() {
        let mut leaving = leaving();
        assert_eq!(leaving.at(0, Drain::UntilIdle).1, None);
        assert_eq!(leaving.at(1_000_000, Drain::UntilIdle).0, []);
        let delete = Change::DeleteRealServer(leaving.server, leaving.real);
        assert_eq!(leaving.at(0, Drain::AtOnce).0, [delete]);
    }
}
