//! Other nodes' addresses, which must be known before a VIP that may be one of them is bound.

use std::time::Duration;

use weir_core::node::OtherNodes;

use crate::warning::Warning;

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
    /// The number of nodes, if there are more than are followed.
    too_many: Option<usize>,
    /// Whether VIPs may be the addresses of nodes that are not listed.
    unchecked: bool,
}

impl Others {
    /// Whether nodes are followed because VIPs may be their addresses.
    pub(crate) fn are_followed(&self) -> bool {
        self.too_many.is_none()
    }

    /// Sets the number of nodes, if nodes are followed only for this.
    pub(crate) fn count(&mut self, nodes: usize) {
        self.too_many = self.too_many.or((nodes > MOST).then_some(nodes));
    }

    /// What a plan may rely on. `needed`: a VIP may be a node's address; `listed`: all nodes are known.
    pub(crate) fn judge(&mut self, needed: bool, listed: bool, now: Duration) -> OtherNodes {
        self.unchecked = needed && !listed;
        if !self.unchecked || !self.are_followed() {
            (self.asked, self.given_up) = (None, false);
            return OtherNodes::Known;
        }
        let since = *self.asked.get_or_insert(now);
        self.given_up |= now.saturating_sub(since) >= WAIT;
        if self.given_up { OtherNodes::Known } else { OtherNodes::Awaited }
    }

    /// Stops waiting for the nodes.
    pub(crate) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// Why VIPs are bound although they may be other nodes' addresses.
    pub(crate) fn warning(&self) -> Option<Warning> {
        let many = self.too_many.map(|nodes| Warning::ManyNodes { nodes, most: MOST });
        many.or(self.given_up.then_some(Warning::NodesUnlisted)).filter(|_| self.unchecked)
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

    #[test]
    fn vips_wait_for_the_list_of_nodes_but_not_for_ever() {
        let mut others = Others::default();
        assert_eq!(others.judge(false, false, START), OtherNodes::Known, "nothing depends on it");
        assert_eq!(others.judge(true, false, START), OtherNodes::Awaited);
        assert_eq!(others.deadline(), Some(START + WAIT));
        assert_eq!(others.judge(true, true, START + WAIT / 2), OtherNodes::Known);
        assert_eq!(others.judge(true, false, START + WAIT), OtherNodes::Awaited, "asked again");
        assert_eq!(others.warning(), None);
        assert_eq!(others.judge(true, false, START + WAIT * 2), OtherNodes::Known, "it takes too long");
        assert_eq!(others.warning(), Some(Warning::NodesUnlisted));
        assert_eq!(others.deadline(), None);
        assert_eq!(others.judge(true, true, START + WAIT * 3), OtherNodes::Known);
        assert_eq!(others.warning(), None, "they are listed at last");
    }

    #[test]
    fn the_nodes_of_a_large_cluster_are_not_followed() {
        let mut others = Others::default();
        others.count(MOST);
        assert!(others.are_followed());
        others.count(MOST + 1);
        others.count(1);
        assert!(!others.are_followed());
        let vip_needs_a_check = others.judge(true, false, START);
        assert_eq!(vip_needs_a_check, OtherNodes::Known, "VIPs do not wait for what does not come");
        assert_eq!(others.warning(), Some(Warning::ManyNodes { nodes: MOST + 1, most: MOST }));
        others.judge(false, false, START);
        assert_eq!(others.warning(), None, "no VIP needs a check");
        others.judge(true, true, START);
        assert_eq!(others.warning(), None, "a plugin reads all nodes");
    }

    #[test]
    fn what_was_given_up_at_the_start_is_not_waited_for_again() {
        let mut others = Others::default();
        others.give_up();
        assert_eq!(others.judge(true, false, START), OtherNodes::Known);
        assert_eq!(others.warning(), Some(Warning::NodesUnlisted));
    }
}
