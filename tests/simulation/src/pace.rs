//! Laws about time: the earliest and latest time for a round.

use std::time::Duration;

use weir_core::node::OtherNodes;
use weir_daemon::{Daemon, Output, Overview, Warning};

use crate::machine::Machine;

/// The longest time the daemon gathers news.
const GATHER_AT_MOST: Duration = Duration::from_millis(200);

/// How long VIPs wait for the list of nodes.
const NODES_WAIT: Duration = Duration::from_secs(30);

/// Time limit for the round itself.
const SLACK: Duration = Duration::from_secs(1);

/// When something last happened to one daemon.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    started: Duration,
    shortest: Duration,
    /// When news arrived that no round has processed.
    asked: Option<Duration>,
    last_end: Option<Duration>,
    /// Since when VIPs are held back.
    awaited: Option<Duration>,
    /// Whether the daemon knows that it must read addresses.
    pub(crate) addresses_asked: bool,
}

/// The state before a step.
pub(crate) struct Before {
    now: Duration,
    next: Duration,
    complete: bool,
    news: bool,
    wrong: Option<String>,
}

impl Pace {
    pub(crate) fn new(started: Duration, shortest: Duration) -> Pace {
        Pace { started, shortest, ..Pace::default() }
    }

    /// Checks a daemon before a step. `news` says whether the step brings any.
    pub(crate) fn before(&mut self, daemon: &Daemon<Machine>, now: Duration, news: bool) -> Before {
        if news {
            self.asked.get_or_insert(now);
        }
        let late = self.awaited.is_some_and(|since| now > since + NODES_WAIT + self.shortest + SLACK);
        let wrong = late
            .then(|| "VIPs are still held back although the wait for the list of nodes has ended".to_owned());
        Before { now, next: daemon.next(), complete: daemon.is_complete(), news, wrong }
    }

    /// Checks the same daemon after the step, and returns what is wrong.
    pub(crate) fn after(
        &mut self,
        daemon: &Daemon<Machine>,
        before: &Before,
        outputs: &[Output],
        now: Duration,
    ) -> Vec<String> {
        let mut wrong: Vec<String> = before.wrong.iter().cloned().collect();
        let round = outputs.iter().any(|output| matches!(output, Output::Round(_)));
        let unread = outputs.iter().any(|output| matches!(output, Output::Unread(_)));
        let due = if round || unread { before.now } else { daemon.next() };
        if let Some(end) = self.last_end
            && before.news
            && due < before.next.min(end + self.shortest)
        {
            wrong.push(format!(
                "an event makes a round due at {due:?}, {:?} after the end of the last round",
                due - end
            ));
        }
        if round || unread {
            (self.asked, self.last_end) = (None, Some(now));
        }
        if let Some(asked) = self.asked
            && before.complete
        {
            let latest = (asked + GATHER_AT_MOST).max(self.last_end.unwrap_or_default() + self.shortest);
            if daemon.next() > latest {
                wrong.push(format!("an event at {asked:?} waits for a round until {:?}", daemon.next()));
            }
        }
        let awaits = daemon.planner().node().others == OtherNodes::Awaited && !unread;
        self.awaited = if awaits { self.awaited.or(Some(now)) } else { None };
        let failed = |overview: &Overview| {
            overview.warnings.iter().any(|warning| matches!(warning, Warning::Addresses { .. }))
        };
        self.addresses_asked |=
            outputs.iter().any(|output| matches!(output, Output::Overview(overview) if failed(overview)));
        if !before.complete && daemon.is_complete() {
            self.asked = None;
        }
        wrong
    }

    /// How long the daemon has run.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.started)
    }

    /// How long the daemon may take to notice what it was told.
    pub(crate) fn patience(&self) -> Duration {
        self.shortest + Duration::from_secs(3)
    }
}
