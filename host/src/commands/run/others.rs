//! Other nodes' addresses: known before a VIP that may be one of them is bound.

use std::time::{Duration, Instant};

use tracing::warn;
use weir_core::node::OtherNodes;

/// How long VIPs are held back while the nodes are listed.
const WAIT: Duration = super::NODE_WAIT;

/// How far other nodes are known, as long as it matters.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Since when VIPs are held back.
    asked: Option<Instant>,
    /// Whether that was long enough.
    given_up: bool,
}

impl Others {
    /// What a plan may rely on. `needed` says whether a VIP may be a node's address, `listed` whether all nodes are known.
    pub(super) fn judge(&mut self, needed: bool, listed: bool, now: Instant) -> OtherNodes {
        if !needed || listed {
            *self = Others::default();
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
    fn what_was_given_up_at_the_start_is_not_waited_for_again() {
        let mut others = Others::default();
        others.give_up();
        assert_eq!(others.judge(true, false, Instant::now()), OtherNodes::Known);
    }
}
