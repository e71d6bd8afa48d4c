//! Lists that policies need and that have not arrived.

use std::time::Duration;

use weir_core::policy::Reads;

use crate::message::Listed;

/// How long a list may take before its absence is a warning.
const WAIT: Duration = crate::daemon::NODE_WAIT;

/// Since when lists that policies need have been missing.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    nodes: Option<Duration>,
    namespaces: Option<Duration>,
}

impl Missing {
    /// Notes what policies read, and what is listed, at `now`.
    pub(crate) fn note(&mut self, reads: Reads, listed: Listed, now: Duration) {
        let since = |before: Option<Duration>, is_missing: bool| is_missing.then(|| before.unwrap_or(now));
        self.nodes = since(self.nodes, reads.nodes && !listed.nodes);
        self.namespaces = since(self.namespaces, reads.namespaces && !listed.namespaces);
    }

    /// The lists among these that are overdue at `now`.
    pub(crate) fn overdue(&self, reads: Reads, now: Duration) -> Option<&'static str> {
        let is_due = |since: Option<Duration>| since.is_some_and(|since| since + WAIT <= now);
        match (reads.nodes && is_due(self.nodes), reads.namespaces && is_due(self.namespaces)) {
            (true, true) => Some("nodes and namespaces"),
            (true, false) => Some("nodes"),
            (false, true) => Some("namespaces"),
            (false, false) => None,
        }
    }

    /// When missing lists are overdue.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Duration> {
        [self.nodes, self.namespaces].into_iter().flatten().map(|since| since + WAIT)
    }
}
