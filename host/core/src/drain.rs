//! What happens to connections when real servers are removed.
//!
//! A TCP real server with connections is quiesced (weight 0) until it is idle. UDP and SCTP real servers are
//! removed at once, and the connection tracker forgets UDP flows that would get no reply. None of this is
//! remembered between runs: a quiesced real server is in the actual state and not in the desired one, so the next
//! comparison finds it again.
//!
//! A policy may choose otherwise for a service: removal at once, or a deadline. Deadlines count from when this
//! process first saw the real server leave, so a restart starts them again.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::decision::Drain;
use crate::diff::{Change, Changes, Differences};
use crate::kernel::Connections;
use crate::net::Protocol;
use crate::state::{RealServer, Server, VirtualServer, Weight};

/// A real server behind a virtual server.
pub type Leaving = (VirtualServer, RealServer);

/// The first pause between two checks of a real server; it doubles while the number of connections is unchanged.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Aligns checks of real servers that started to drain at different moments to the same beats, so that many
/// draining real servers take at most one round per second, not one each.
fn next_beat(time: Duration) -> Duration {
    let whole = Duration::from_secs(time.as_secs());
    if whole == time { time } else { whole + FIRST_PAUSE }
}

/// A real server to be removed, and what is known about it.
#[derive(Clone, Copy, Debug)]
struct Look {
    since: Duration,
    next: Duration,
    pause: Duration,
    connections: Option<u32>,
}

impl Look {
    /// When the real server is removed even if it has connections; `None` = never.
    fn deadline(&self, how: Drain) -> Option<Duration> {
        match how {
            Drain::UntilIdle => None,
            Drain::AtOnce => Some(self.since),
            Drain::UntilDeadline(time) => Some(self.since + time),
        }
    }

    /// Schedules the next check, after a longer pause while nothing changes.
    fn postpone(&mut self, connections: Option<u32>, now: Duration) {
        let same = self.connections == connections && self.pause > Duration::ZERO;
        self.pause = if same { (self.pause * 2).min(LONGEST_PAUSE) } else { FIRST_PAUSE };
        self.connections = connections;
        self.next = next_beat(now + self.pause);
    }
}

/// The real servers to be removed that still have connections. Times are counted from any fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    looks: BTreeMap<Leaving, Look>,
    /// Virtual servers that differ only in draining real servers, and when to check them again.
    asleep: BTreeMap<VirtualServer, Duration>,
}

impl Drains {
    /// Whether a virtual server needs nothing until some later time.
    pub(crate) fn is_asleep(&self, server: VirtualServer, now: Duration) -> bool {
        self.asleep.get(&server).is_some_and(|until| *until > now)
    }

    /// Wakes virtual servers whose wanted state has changed.
    pub(crate) fn wake<'a>(&mut self, servers: impl Iterator<Item = &'a VirtualServer>) {
        if !self.asleep.is_empty() {
            servers.for_each(|server| {
                self.asleep.remove(server);
            });
        }
    }

    /// Wakes all virtual servers, after the kernel was read again.
    pub(crate) fn wake_all(&mut self) {
        self.asleep.clear();
    }

    /// The real servers known to have connections.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Leaving> {
        self.looks.keys().copied()
    }

    /// Like [`Drains::waiting`], with the time when each real server started to leave, and its deadline if `how`
    /// sets one.
    pub(crate) fn leaving(
        &self,
        how: impl Fn(VirtualServer) -> Drain,
    ) -> impl Iterator<Item = (Leaving, Duration, Option<Duration>)> {
        self.looks.iter().map(move |(key, look)| (*key, look.since, look.deadline(how(key.0))))
    }

    /// When to check again.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.looks.values().map(|look| look.next).min()
    }

    /// The real servers whose connections must be known for [`Drains::apply`].
    pub(crate) fn to_ask(
        &self,
        changes: &Changes,
        how: impl Fn(VirtualServer) -> Drain,
        now: Duration,
    ) -> Vec<Leaving> {
        let leaving = changes.0.iter().filter_map(leaving);
        let due = |key: &Leaving| self.looks.get(key).is_none_or(|look| look.next <= now);
        leaving.filter(|key| how(key.0) != Drain::AtOnce && due(key)).collect()
    }

    /// Quiesces real servers that have connections instead of deleting them. A real server that could not be
    /// queried counts as busy. `weight` returns the current weight of a real server.
    pub(crate) fn apply(
        &mut self,
        changes: Changes,
        connections: &Connections,
        how: impl Fn(VirtualServer) -> Drain,
        weight: impl Fn(&Leaving) -> Option<Weight>,
        now: Duration,
    ) -> Changes {
        let mut all: BTreeSet<Leaving> = BTreeSet::new();
        let mut changes = changes;
        changes.0.retain_mut(|change| {
            let Some(key) = leaving(change) else { return true };
            all.insert(key);
            if self.may_go(key, connections.get(&key).copied(), how(key.0), now) {
                return true;
            }
            *change = Change::SetWeight(key.0, key.1, Weight::QUIESCED);
            weight(&key) != Some(Weight::QUIESCED)
        });
        // A checked real server that is wanted again, or gone, starts over.
        self.looks.retain(|key, _| all.contains(key) || self.asleep.contains_key(&key.0));
        changes
    }

    /// Whether a real server need not wait any longer.
    fn may_go(&mut self, key: Leaving, connections: Option<u32>, how: Drain, now: Duration) -> bool {
        let first = Look { since: now, next: now, pause: Duration::ZERO, connections: None };
        let look = self.looks.entry(key).or_insert(first);
        let deadline = look.deadline(how);
        let due = look.next <= now;
        if due {
            look.postpone(connections, now);
        }
        if deadline.is_some_and(|deadline| deadline <= now) || (due && connections == Some(0)) {
            // The next check is already scheduled, in case the deletion fails.
            return true;
        }
        if let Some(deadline) = deadline {
            look.next = look.next.min(deadline);
        }
        false
    }

    /// Forgets real servers that are gone.
    pub(crate) fn note_gone<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) {
        if !self.looks.is_empty() {
            changes.filter_map(leaving).for_each(|key| {
                self.looks.remove(&key);
            });
        }
    }

    /// Skips virtual servers until the next check if only draining real servers are left to do there. `differing`
    /// returns the actual and the wanted state of a virtual server, if they differ.
    pub(crate) fn put_to_sleep<'a>(
        &mut self,
        differing: impl Fn(VirtualServer) -> Option<(&'a Server, &'a Server)>,
    ) {
        let mut looks = self.looks.iter().peekable();
        while let Some(((server, _), look)) = looks.next() {
            let mut next = look.next;
            while let Some((_, look)) = looks.next_if(|((of, _), _)| of == server) {
                next = next.min(look.next);
            }
            if differing(*server).is_some_and(|(actual, wanted)| self.covers(*server, actual, wanted)) {
                self.asleep.insert(*server, next);
            }
        }
    }

    /// Whether a virtual server is as wanted, apart from quiesced real servers that drain.
    fn covers(&self, server: VirtualServer, actual: &Server, wanted: &Server) -> bool {
        let mut there = wanted.real_servers();
        let mut extra = actual.real_servers().filter(|(real, _)| !wanted.real_servers.contains_key(real));
        actual.scheduling == wanted.scheduling
            && there.all(|(real, weight)| actual.real_servers.get(&real) == Some(&weight))
            && extra
                .all(|(real, weight)| weight == Weight::QUIESCED && self.looks.contains_key(&(server, real)))
    }
}

/// The real server that a change would delete, if it is one that drains (TCP).
fn leaving(change: &Change) -> Option<Leaving> {
    if let Change::DeleteRealServer(server, real) = change
        && server.protocol == Protocol::Tcp
    {
        return Some((*server, *real));
    }
    None
}

/// The UDP virtual servers that have no real servers yet and now get their first ones.
pub(crate) fn empty_udp_servers(differences: &Differences<'_>) -> BTreeSet<VirtualServer> {
    let udp = differences.servers.iter().filter(|(server, _)| server.protocol == Protocol::Udp);
    let empty = udp.filter(|(_, pair)| pair.actual.is_none_or(|actual| actual.real_servers.is_empty()));
    empty.map(|(server, _)| *server).collect()
}

/// The UDP virtual servers with stale flows after the changes in `made`. UDP virtual servers that lost real servers,
/// or got their first ones, have flows that the remaining real servers would never answer. If the address of a
/// virtual server came up, flows that were established while it was missing still go elsewhere. The virtual servers
/// in `empty` had no real servers before, and `served` returns the virtual servers at an address.
pub(crate) fn with_stale_flows<'c>(
    made: impl Iterator<Item = &'c Change>,
    empty: &BTreeSet<VirtualServer>,
    served: impl Fn(IpAddr) -> Vec<VirtualServer>,
) -> BTreeSet<VirtualServer> {
    let mut stale = BTreeSet::new();
    for change in made {
        if let Change::DeleteRealServer(server, _) | Change::DeleteVirtualServer(server) = change {
            stale.insert(*server);
        } else if let Change::AddRealServer(server, ..) = change
            && empty.contains(server)
        {
            stale.insert(*server);
        } else if let Change::AddAddress(ip) = change {
            stale.extend(served(*ip));
        }
    }
    stale.retain(|server| server.protocol == Protocol::Udp);
    stale
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: u32 = 3;

    fn key() -> Leaving {
        let server = VirtualServer::new(Protocol::Tcp, "10.96.0.10".parse().unwrap(), 80);
        (server, RealServer("10.0.0.1:8080".parse().unwrap()))
    }

    fn quiesce() -> Change {
        Change::SetWeight(key().0, key().1, Weight::QUIESCED)
    }

    fn delete() -> Change {
        Change::DeleteRealServer(key().0, key().1)
    }

    #[derive(Default)]
    struct Node {
        drains: Drains,
        quiesced: bool,
        /// How often it was queried for connections.
        asked: u32,
    }

    impl Node {
        /// The changes left of the deletion, and the time of the next check, in seconds.
        fn at(&mut self, seconds: u64, connections: u32, how: Drain) -> (Vec<Change>, Option<u64>) {
            let now = Duration::from_secs(seconds);
            let changes = Changes(vec![delete()]);
            let asked = self.drains.to_ask(&changes, |_| how, now);
            self.asked += asked.len() as u32;
            let answers = asked.into_iter().map(|key| (key, connections)).collect();
            let weight = if self.quiesced { Weight::QUIESCED } else { Weight::DEFAULT };
            let changes = self.drains.apply(changes, &answers, |_| how, |_| Some(weight), now);
            self.quiesced |= changes.0.first() == Some(&quiesce());
            self.drains.note_gone(changes.0.iter());
            (changes.0, self.drains.next().map(|next| next.as_secs()))
        }
    }

    #[test]
    fn looks_come_seldom_while_nothing_changes_and_often_when_connections_end() {
        let mut node = Node::default();
        let how = Drain::UntilIdle;
        assert_eq!(node.at(0, BUSY, how), (vec![quiesce()], Some(1)));
        let mut now = 1;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let (changes, next) = node.at(now, BUSY, how);
            assert_eq!(changes, []);
            pauses.push(next.unwrap() - now);
            now = next.unwrap();
        }
        assert_eq!(pauses, [2, 4, 8, 15, 15, 15]);
        assert_eq!(node.at(now - 1, 0, how), (vec![], Some(now)), "it is not checked before");
        assert_eq!(node.asked, 7);
        assert_eq!(node.at(now, BUSY - 1, how), (vec![], Some(now + 1)));
        assert_eq!(node.at(now + 1, 0, how), (vec![delete()], None));
    }

    /// Fifty real servers whose services changed one after the other within a second would otherwise take fifty
    /// rounds per check.
    #[test]
    fn looks_at_many_real_servers_fall_together() {
        let mut drains = Drains::default();
        let keys = || {
            (0..50_u64).map(|i| {
                let (server, _) = key();
                let real = format!("10.0.0.{}:8080", i + 1).parse().unwrap();
                (Duration::from_millis(100 + 15 * i), (server, RealServer(real)))
            })
        };
        let mut look = |now: Duration| {
            let changes: Vec<Change> = keys()
                .filter(|(since, _)| *since <= now)
                .map(|(_, (server, real))| Change::DeleteRealServer(server, real))
                .collect();
            let changes = Changes(changes);
            let asked = drains.to_ask(&changes, |_| Drain::UntilIdle, now);
            let answers = asked.iter().map(|key| (*key, BUSY)).collect();
            drains.apply(changes, &answers, |_| Drain::UntilIdle, |_| None, now);
            (asked.len(), drains.next().unwrap())
        };
        let mut next = Duration::ZERO;
        for (since, _) in keys() {
            next = look(since).1;
        }
        let mut rounds = Vec::new();
        while next < Duration::from_secs(30) {
            let (asked, after) = look(next);
            rounds.push((next.as_secs(), asked));
            next = after;
        }
        assert_eq!(rounds, [(2, 50), (4, 50), (8, 50), (16, 50)]);
    }

    #[test]
    fn a_busy_real_server_waits_until_its_deadline() {
        let mut node = Node::default();
        let how = Drain::UntilDeadline(Duration::from_secs(2));
        assert_eq!(node.at(100, BUSY, how), (vec![quiesce()], Some(101)));
        assert_eq!(node.at(101, BUSY, how), (vec![], Some(102)));
        assert_eq!(node.at(102, BUSY, how), (vec![delete()], None));
    }

    #[test]
    fn one_that_comes_back_starts_anew() {
        let mut node = Node::default();
        let how = Drain::UntilDeadline(Duration::from_secs(30));
        node.at(0, BUSY, how);
        node.drains.wake([key().0].iter());
        node.drains.apply(Changes::default(), &Connections::new(), |_| how, |_| None, Duration::from_secs(1));
        assert_eq!(node.at(40, BUSY, how), (vec![], Some(41)));
        assert_eq!(node.at(69, BUSY, how).0, []);
        assert_eq!(node.at(70, BUSY, how).0, [delete()]);
    }

    /// A network daemon removed the address; meanwhile, a client that kept its port was sent elsewhere.
    #[test]
    fn flows_that_were_learnt_while_the_address_was_missing_are_forgotten() {
        let server = VirtualServer::new(Protocol::Udp, "10.96.0.10".parse().unwrap(), 53);
        let changes = Changes(vec![Change::AddAddress(server.address.ip())]);
        let served = |ip| if ip == server.address.ip() { vec![server] } else { Vec::new() };
        assert_eq!(with_stale_flows(changes.0.iter(), &BTreeSet::new(), served), [server].into());
    }

    #[test]
    fn without_a_deadline_it_waits_for_ever_and_at_once_it_does_not_wait() {
        let mut node = Node::default();
        node.at(0, BUSY, Drain::UntilIdle);
        assert_eq!(node.at(1_000_000, BUSY, Drain::UntilIdle).0, []);
        let mut node = Node::default();
        assert_eq!(node.at(0, BUSY, Drain::AtOnce), (vec![delete()], None));
        assert_eq!(node.asked, 0);
    }

    /// A round that is always due at once would keep a processor busy.
    #[test]
    fn one_that_cannot_be_deleted_is_looked_at_ever_more_seldom() {
        for how in [Drain::UntilIdle, Drain::AtOnce, Drain::UntilDeadline(Duration::ZERO)] {
            let mut drains = Drains::default();
            let idle = Connections::from([(key(), 0)]);
            let mut now = Duration::ZERO;
            let mut pauses = Vec::new();
            for _ in 0..6 {
                let changes = drains.apply(Changes(vec![delete()]), &idle, |_| how, |_| None, now);
                assert_eq!(changes.0, [delete()]);
                let next = drains.next().unwrap();
                pauses.push((next - now).as_secs());
                now = next;
            }
            assert_eq!(pauses, [1, 2, 4, 8, 15, 15], "{how:?}");
        }
    }
}
