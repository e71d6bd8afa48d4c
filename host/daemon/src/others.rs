//! Other nodes' addresses, which must be known before a VIP that may be one of them is bound.

use std::time::Duration;

use weir_core::node::OtherNodes;

use crate::remark::Remark;

/// How long VIPs are held back while the nodes are listed.
const WAIT: Duration = crate::daemon::NODE_WAIT;

/// The largest number of nodes that are followed for this. Each node receives all of them, so the load on the API
/// server grows with the square of their number.
const MOST: usize = 1000;

/// What is known about other nodes while VIPs may be their addresses.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Since when VIPs are held back.
    asked: Option<Duration>,
    /// Whether the wait is over.
    given_up: bool,
    /// Whether there are more nodes than are followed.
    too_many: bool,
}

impl Others {
    /// Whether nodes are followed because VIPs may be their addresses.
    pub(crate) fn are_followed(&self) -> bool {
        !self.too_many
    }

    /// Sets the number of nodes, if nodes are followed only for this.
    pub(crate) fn count(&mut self, nodes: usize) -> Option<Remark> {
        let news = nodes > MOST && !std::mem::replace(&mut self.too_many, true);
        news.then_some(Remark::ManyNodes { nodes, most: MOST })
    }

    /// What a plan may rely on. `needed`: a VIP may be a node's address; `listed`: all nodes are known.
    pub(crate) fn judge(
        &mut self,
        needed: bool,
        listed: bool,
        now: Duration,
    ) -> (OtherNodes, Option<Remark>) {
        if !needed || listed || self.too_many {
            (self.asked, self.given_up) = (None, false);
            return (OtherNodes::Known, None);
        }
        let since = *self.asked.get_or_insert(now);
        if !self.given_up && now.saturating_sub(since) < WAIT {
            return (OtherNodes::Awaited, None);
        }
        (OtherNodes::Known, self.give_up())
    }

    /// Stops waiting for the nodes.
    pub(crate) fn give_up(&mut self) -> Option<Remark> {
        (!std::mem::replace(&mut self.given_up, true)).then_some(Remark::NodesUnlisted)
    }

    /// When VIPs stop waiting.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.asked.filter(|_| !self.given_up).map(|since| since + WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(7);
    const KNOWN: (OtherNodes, Option<Remark>) = (OtherNodes::Known, None);
    const AWAITED: (OtherNodes, Option<Remark>) = (OtherNodes::Awaited, None);

    #[test]
    fn vips_wait_for_the_list_of_nodes_but_not_for_ever() {
        let mut others = Others::default();
        assert_eq!(others.judge(false, false, START), KNOWN, "nothing depends on it");
        assert_eq!(others.judge(true, false, START), AWAITED);
        assert_eq!(others.deadline(), Some(START + WAIT));
        assert_eq!(others.judge(true, true, START + WAIT / 2), KNOWN);
        assert_eq!(others.judge(true, false, START + WAIT), AWAITED, "asked again");
        let told = (OtherNodes::Known, Some(Remark::NodesUnlisted));
        assert_eq!(others.judge(true, false, START + WAIT * 2), told, "it takes too long");
        assert_eq!(others.judge(true, false, START + WAIT * 2), KNOWN, "told once");
        assert_eq!(others.deadline(), None);
    }

    #[test]
    fn the_nodes_of_a_large_cluster_are_not_followed() {
        let mut others = Others::default();
        assert_eq!(others.count(MOST), None);
        assert!(others.are_followed());
        assert_eq!(others.count(MOST + 1), Some(Remark::ManyNodes { nodes: MOST + 1, most: MOST }));
        assert_eq!(others.count(MOST + 1), None, "told once");
        assert!(!others.are_followed());
        assert_eq!(others.judge(true, false, START), KNOWN, "VIPs do not wait for what does not come");
    }

    #[test]
    fn what_was_given_up_at_the_start_is_not_waited_for_again() {
        let mut others = Others::default();
        assert_eq!(others.give_up(), Some(Remark::NodesUnlisted));
        assert_eq!(others.judge(true, false, START), KNOWN);
    }
}
