//! Other nodes' addresses: known before a VIP that may be one of them is bound.

use std::time::{Duration, Instant};

use tracing::warn;
use weir_core::node::OtherNodes;
use weir_core::policy::Reads;

use super::{Daemon, Objects};

/// The objects of all nodes.
pub(super) const NODES: Reads = Reads { nodes: true, namespaces: false, ready_since: false };

/// How long VIPs are held back while the nodes are listed.
const WAIT: Duration = super::NODE_WAIT;

/// The largest cluster whose nodes are followed for this. What each node hears grows with their number, so that the
/// API server's work grows with the square of it.
const MOST: usize = 1000;

/// How far other nodes are known, as long as it matters.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Since when VIPs are held back.
    asked: Option<Instant>,
    /// Whether that was long enough.
    given_up: bool,
    /// Whether there are more than are followed.
    too_many: bool,
}

impl Others {
    /// Whether nodes are followed for the sake of VIPs that may be their addresses.
    pub(super) fn are_followed(&self) -> bool {
        !self.too_many
    }

    /// There are so many nodes, which only this asks for.
    pub(super) fn count(&mut self, nodes: usize) {
        if nodes > MOST && !std::mem::replace(&mut self.too_many, true) {
            warn!(
                "the cluster has {nodes} nodes, and more than {MOST} are not followed: load-balancer and external IPs are \
                 bound without knowing whether they are addresses of other nodes"
            );
        }
    }

    /// What a plan may rely on. `needed` says whether a VIP may be a node's address, `listed` whether all nodes are known.
    pub(super) fn judge(&mut self, needed: bool, listed: bool, now: Instant) -> OtherNodes {
        if !needed || listed || self.too_many {
            (self.asked, self.given_up) = (None, false);
            return OtherNodes::Known;
        }
        let since = *self.asked.get_or_insert(now);
        if !self.given_up && now.saturating_duration_since(since) < WAIT {
            return OtherNodes::Awaited;
        }
        self.give_up();
        OtherNodes::Known
    }

    /// The nodes were waited for long enough.
    pub(super) fn give_up(&mut self) {
        if !std::mem::replace(&mut self.given_up, true) {
            warn!(
                "the API server did not list the nodes (may this account list and watch them?): load-balancer and \
                 external IPs are bound without knowing whether they are addresses of other nodes"
            );
        }
    }

    /// When VIPs are not held back any more.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asked.filter(|_| !self.given_up).map(|since| since + WAIT)
    }
}

impl Daemon {
    /// What is followed: what policies read, and the nodes while a VIP may be the address of one.
    pub(super) fn reads(&self) -> Reads {
        let reads = self.policy.reads(&self.planner);
        let asked = self.planner.asks_for_nodes() && self.others.are_followed();
        Reads { nodes: reads.nodes || asked, ..reads }
    }

    /// Follows what is to be known, and has VIPs wait for it.
    pub(super) fn follow(&mut self, now: Instant) {
        if matches!(self.objects, Objects::ApiServer { .. }) && !self.policy.reads(&self.planner).nodes {
            self.others.count(self.planner.surroundings(0).nodes.len());
        }
        self.objects.follow(self.reads());
        let needed = self.planner.asks_for_nodes();
        let others = self.others.judge(needed, self.objects.are_complete(NODES), now);
        self.planner.set_other_nodes(others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vips_wait_for_the_list_of_nodes_but_not_for_ever() {
        let (mut others, start) = (Others::default(), Instant::now());
        assert_eq!(others.judge(false, false, start), OtherNodes::Known, "nothing depends on it");
        assert_eq!(others.judge(true, false, start), OtherNodes::Awaited);
        assert_eq!(others.deadline(), Some(start + WAIT));
        assert_eq!(others.judge(true, true, start + WAIT / 2), OtherNodes::Known);
        assert_eq!(others.judge(true, false, start + WAIT), OtherNodes::Awaited, "asked anew");
        assert_eq!(others.judge(true, false, start + WAIT * 2), OtherNodes::Known, "it takes too long");
        assert_eq!(others.judge(true, false, start + WAIT * 2), OtherNodes::Known);
        assert_eq!(others.deadline(), None);
    }

    #[test]
    fn the_nodes_of_a_large_cluster_are_not_followed() {
        let (mut others, now) = (Others::default(), Instant::now());
        others.count(MOST);
        assert!(others.are_followed());
        others.count(MOST + 1);
        assert!(!others.are_followed());
        assert_eq!(
            others.judge(true, false, now),
            OtherNodes::Known,
            "VIPs do not wait for what does not come"
        );
    }

    #[test]
    fn what_was_given_up_at_the_start_is_not_waited_for_again() {
        let mut others = Others::default();
        others.give_up();
        assert_eq!(others.judge(true, false, Instant::now()), OtherNodes::Known);
    }
}
