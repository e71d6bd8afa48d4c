//! Reads the kernel's counters for plugins, in small parts between rounds.

use std::time::Duration;

use crate::host::Host;
use crate::message::Output;

use super::Daemon;

/// The most services read in one part, and the longest time for one part: a change must not wait for sampling.
const PART: usize = 32;
const PART_TIME: Duration = Duration::from_millis(5);

/// The pause between two parts, so that a plugin that needs everything each second leaves time for other work.
const PAUSE: Duration = Duration::from_millis(50);

impl<H: Host> Daemon<H> {
    /// When the next part is due; `None` if nothing is sampled or the contents of the kernel are unknown.
    pub(super) fn next_sampling(&self) -> Option<Duration> {
        let due = self.planner.sampler().next().filter(|_| self.syncer.is_certain())?;
        let due = due.saturating_sub(Duration::from_secs(self.setup.epoch));
        Some(self.sampled.map_or(due, |last| due.max(last + PAUSE)))
    }

    /// Reads what is due, at most one part, and requests a round if plugins may see something new.
    pub(super) fn sample(&mut self, begin: Duration) {
        if self.next_sampling().is_none_or(|due| begin < due) {
            return;
        }
        // The same clock as the time given to policies.
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
