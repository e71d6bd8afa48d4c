//! A pod: workers that sleep, and a queue in front of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_lab::traffic::Group;

/// Nanoseconds since the start of the warm-up.
pub(crate) type Moment = u64;

/// Computes when a pod finishes its requests. It uses the intended times, not the times at which a busy machine
/// woke it up, so delays do not add up.
#[derive(Debug)]
pub(crate) struct Pod {
    behaviour: Group,
    /// When each worker becomes free.
    free: BinaryHeap<Reverse<Moment>>,
}

impl Pod {
    /// An idle pod.
    pub(crate) fn new(behaviour: &Group) -> Pod {
        let free = (0..behaviour.workers).map(|_| Reverse(0)).collect();
        Pod { behaviour: behaviour.clone(), free }
    }

    /// When a connection with this much work that arrives now is done, first come, first served.
    pub(crate) fn done(&mut self, now: Moment, work: f64) -> Moment {
        let free = self.free.pop().map_or(0, |Reverse(free)| free);
        let start = free.max(now);
        let end = start + self.behaviour.time_of(work, self.speed(start));
        self.free.push(Reverse(end));
        end
    }

    fn speed(&self, at: Moment) -> f64 {
        last(&self.behaviour, at, |change| change.speed).unwrap_or(1.0)
    }
}

/// Whether a pod with this behaviour refuses connections at a time.
pub(crate) fn refuses(behaviour: &Group, at: Moment) -> bool {
    last(behaviour, at, |change| change.refuses).unwrap_or(behaviour.refuses)
}

/// The value set by the last change before a time.
fn last<T>(
    behaviour: &Group,
    at: Moment,
    said: impl Fn(&weir_lab::traffic::Change) -> Option<T>,
) -> Option<T> {
    let before = behaviour.changes.iter().filter(|change| change.at.as_nanos() <= u128::from(at));
    before
        .filter_map(|change| Some((change.at, said(change)?)))
        .max_by_key(|(at, _)| *at)
        .map(|(_, said)| said)
}

#[cfg(test)]
mod tests {
    use weir_lab::traffic::Traffic;

    use super::*;

    const MS: u64 = 1_000_000;

    fn group(text: &str) -> Group {
        let text = format!("services: [{{service: a/b, loads: [1/s], endpoints: [{{{text}}}]}}]");
        Traffic::parse(&text).unwrap().services.remove(0).endpoints.remove(0)
    }

    #[test]
    fn the_first_worker_that_is_free_takes_the_next() {
        let mut pod = Pod::new(&group("time: 100ms, workers: 2"));
        assert_eq!(pod.done(10 * MS, 1.0), 110 * MS);
        assert_eq!(pod.done(20 * MS, 0.2), 40 * MS);
        // Both are busy until 40 ms.
        assert_eq!(pod.done(30 * MS, 1.0), 140 * MS);
        assert_eq!(pod.done(30 * MS, 1.0), 210 * MS);
        assert_eq!(pod.done(500 * MS, 1.0), 600 * MS);
    }

    #[test]
    fn the_speed_is_that_of_the_moment_at_which_a_worker_begins() {
        let mut pod = Pod::new(&group(
            "time: 100ms, distribution: constant, changes: [{at: 150ms, speed: 0.5}, {at: 1s, speed: 1}]",
        ));
        assert_eq!(pod.done(0, 7.0), 100 * MS);
        assert_eq!(pod.done(0, 7.0), 200 * MS);
        assert_eq!(pod.done(0, 7.0), 400 * MS);
        assert_eq!(pod.done(2000 * MS, 7.0), 2100 * MS);
    }

    #[test]
    fn refusing_has_a_beginning_and_an_end() {
        let group = group(
            "time: 1s, changes: [{at: 1s, refuses: true}, {at: 2s, refuses: false}, {at: 3s, speed: 2}]",
        );
        let at = |second: u64| refuses(&group, second * 1000 * MS);
        assert_eq!([0, 1, 2, 3].map(at), [false, true, false, false]);
    }
}
