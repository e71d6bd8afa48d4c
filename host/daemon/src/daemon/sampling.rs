//! Reading the kernel's counters for plugins, in small parts between rounds.

use std::time::Duration;

use crate::host::Host;
use crate::message::Output;

use super::Daemon;

/// The most services that are read in one go, and for how long at most: a change must not wait for it.
const PART: usize = 32;
const PART_TIME: Duration = Duration::from_millis(5);

/// The pause between two parts, so that a plugin that asks for everything each second leaves time for everything else.
const PAUSE: Duration = Duration::from_millis(50);

impl<H: Host> Daemon<H> {
    /// When the next part is due; `None` if nothing is sampled, or it is not known what the kernel holds.
    pub(super) fn next_sampling(&self) -> Option<Duration> {
        let due = self.planner.sampler().next().filter(|_| self.syncer.is_certain())?;
        let due = due.saturating_sub(Duration::from_secs(self.setup.epoch));
        Some(self.sampled.map_or(due, |last| due.max(last + PAUSE)))
    }

    /// Reads what is due, a part of it if that is much, and asks for a round if plugins may see something else now.
    pub(super) fn sample(&mut self, begin: Duration) {
        if self.next_sampling().is_none_or(|due| begin < due) {
            return;
        }
        // The same clock that policies are told the time by.
        let now = Duration::from_secs(self.setup.epoch) + begin;
        let (mut read, mut failed, mut news) = (0, 0, false);
        for due in self.planner.due_samples(now, PART) {
            if self.host().time() - begin > PART_TIME {
                break;
            }
            let host = self.syncer.kernel();
            let sampled = self.planner.sample(due, now, |server| host.sample(server));
            *(if sampled.unread.is_none() { &mut read } else { &mut failed }) += 1;
            news |= sampled.news;
        }
        let end = self.host().time();
        self.tell(Output::Sampled { read, failed, took: end - begin });
        self.sampled = Some(end);
        if news {
            self.agenda.request(end);
        }
    }
}
