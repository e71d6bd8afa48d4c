//! Reading the kernel's counters for plugins, in small parts between rounds.

use std::time::{Duration, Instant};

use super::Daemon;

/// The most services that are read in one go, and for how long at most: a change must not wait for it.
const PART: usize = 32;
const PART_TIME: Duration = Duration::from_millis(5);

/// The pause between two parts, so that a plugin that asks for everything each second leaves time for everything else.
const PAUSE: Duration = Duration::from_millis(50);

/// When counters are read.
#[derive(Default)]
pub(super) struct Sampling {
    /// When the last part ended.
    last: Option<Instant>,
}

impl Daemon {
    /// When the next part is due; `None` if nothing is sampled, or the kernel was not brought to a plan yet.
    pub(super) fn next_sampling(&self) -> Option<Instant> {
        let due = self.planner.sampler().next().filter(|_| self.synchronised)?;
        let due = self.started + due.saturating_sub(Duration::from_secs(self.started_at));
        Some(self.sampling.last.map_or(due, |last| due.max(last + PAUSE)))
    }

    /// Reads what is due, a part of it if that is much, and asks for a round if plugins may see something else now.
    pub(super) fn sample(&mut self) {
        let begin = Instant::now();
        if self.next_sampling().is_none_or(|due| begin < due) {
            return;
        }
        // The same clock that policies are told the time by.
        let now = Duration::from_secs(self.started_at) + self.started.elapsed();
        let (mut read, mut failed, mut news) = (0, 0, false);
        for (service, servers) in self.planner.due_samples(now, PART) {
            if begin.elapsed() > PART_TIME {
                break;
            }
            let kernel = self.syncer.kernel();
            let readings: Vec<_> =
                servers.into_iter().map(|(port, server)| (port, server, kernel.sample(server))).collect();
            let complete = readings.iter().all(|(_, _, readings)| readings.is_some());
            *(if complete { &mut read } else { &mut failed }) += 1;
            news |= self.planner.sampled(&service, &readings, now);
        }
        self.publisher.sampled(read, failed, begin.elapsed());
        self.sampling.last = Some(Instant::now());
        if news {
            self.agenda.request(Instant::now());
        }
    }
}
