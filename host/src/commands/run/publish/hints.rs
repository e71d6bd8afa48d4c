//! Which reports about objects are told, and when: each once for a service and a cause.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weir_core::objects::ObjectName;
use weir_core::report::{Reason, Report};

/// How long a Service and its EndpointSlices may disagree before it is told: a controller follows a Service that changes
/// a moment later.
const PATIENCE: Duration = Duration::from_secs(5);

type Cause = (ObjectName, Reason);

/// What was told, and what is not told yet.
#[derive(Debug, Default)]
pub(super) struct Hints {
    told: BTreeSet<Cause>,
    since: BTreeMap<Cause, Instant>,
    /// Whether there was a plan: what the first one says is nothing that just changed.
    settled: bool,
}

impl Hints {
    /// Those of a plan's reports that are to be told now. All that are no hints are left to others.
    pub(super) fn due<'r>(&mut self, reports: &'r [Report], now: Instant) -> Vec<&'r Report> {
        let standing = reports.iter().filter(|report| report.reason.is_hint());
        let standing: BTreeMap<Cause, &Report> =
            standing.map(|report| ((report.service.clone(), report.reason), report)).collect();
        self.since.retain(|cause, _| standing.contains_key(cause));
        let settled = std::mem::replace(&mut self.settled, true);
        let mut due = Vec::new();
        for (cause, report) in standing {
            if self.told.contains(&cause) {
                continue;
            }
            let since = *self.since.entry(cause.clone()).or_insert(now);
            let waits = settled && report.reason.is_about_endpoints();
            if !waits || now.saturating_duration_since(since) >= PATIENCE {
                self.since.remove(&cause);
                self.told.insert(cause);
                due.push(report);
            }
        }
        due
    }

    /// A service is gone: one of the same name is another.
    pub(super) fn forget(&mut self, service: &ObjectName) {
        self.told.retain(|(name, _)| name != service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(service: &str, reason: Reason, message: &str) -> Report {
        Report { service: ObjectName::new("default", service), reason, message: message.to_owned() }
    }

    fn told(hints: &mut Hints, reports: &[Report], now: Instant) -> Vec<String> {
        hints.due(reports, now).into_iter().map(|report| report.message.clone()).collect()
    }

    #[test]
    fn a_cause_is_told_once_for_a_service() {
        let (mut hints, now) = (Hints::default(), Instant::now());
        let first = [
            report("a", Reason::EndpointsUnmatched, "1"),
            report("a", Reason::AddressUnusable, "2"),
            report("b", Reason::EndpointsUnmatched, "3"),
            report("b", Reason::VirtualServerConflict, "no hint"),
        ];
        assert_eq!(told(&mut hints, &first, now), ["2", "1", "3"]);
        assert_eq!(told(&mut hints, &[], now), [""; 0]);
        let again = report("a", Reason::EndpointsUnmatched, "in other words");
        assert_eq!(told(&mut hints, std::slice::from_ref(&again), now + PATIENCE * 2), [""; 0]);
        hints.forget(&again.service);
        assert_eq!(told(&mut hints, std::slice::from_ref(&again), now + PATIENCE * 3), [""; 0]);
        assert_eq!(told(&mut hints, &[again], now + PATIENCE * 4), ["in other words"]);
    }

    #[test]
    fn what_a_controller_mends_in_a_moment_is_not_told() {
        let (mut hints, now) = (Hints::default(), Instant::now());
        assert_eq!(told(&mut hints, &[], now), [""; 0]);
        let renamed = [report("a", Reason::EndpointsUnmatched, "1"), report("a", Reason::NodeAddress, "2")];
        assert_eq!(told(&mut hints, &renamed, now), ["2"], "addresses do not wait");
        assert_eq!(told(&mut hints, &[], now + PATIENCE / 2), [""; 0]);
        assert_eq!(told(&mut hints, &renamed, now + PATIENCE), [""; 0], "it begins anew");
        assert_eq!(told(&mut hints, &renamed, now + PATIENCE * 2), ["1"]);
    }
}
