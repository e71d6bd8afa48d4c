//! Which reports about objects are published, and when: once per service and cause.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_core::objects::ObjectName;
use weir_core::report::{Reason, Report};

/// How long a Service and its EndpointSlices may disagree before it is reported: controllers follow a changed Service
/// a moment later.
const PATIENCE: Duration = Duration::from_secs(5);

type Cause = (ObjectName, Reason);

/// Published and pending reports.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    told: BTreeSet<Cause>,
    /// Each with the time from which it is published if it still applies.
    waiting: BTreeMap<Cause, (Duration, Report)>,
    /// Whether there has been a plan: reports of the first one are not about recent changes.
    settled: bool,
}

impl Hints {
    /// Records the current and previous reports of one source. Reports that are not hints are ignored.
    pub(crate) fn note(&mut self, before: &[Report], after: &[Report], now: Duration) {
        let cause = |report: &Report| (report.service.clone(), report.reason);
        let causes: BTreeSet<Cause> = after.iter().map(cause).collect();
        for gone in before.iter().map(cause).filter(|cause| !causes.contains(cause)) {
            self.waiting.remove(&gone);
        }
        for report in after.iter().filter(|report| report.reason.is_hint()) {
            let cause = cause(report);
            if !self.told.contains(&cause) {
                let patience = self.settled && report.reason.is_about_endpoints();
                let due = now + if patience { PATIENCE } else { Duration::ZERO };
                self.waiting.entry(cause).or_insert((due, report.clone()));
            }
        }
    }

    /// The reports to publish now, after all of a plan's reports were recorded.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<Report> {
        self.settled = true;
        let due: Vec<Report> =
            self.waiting.extract_if(.., |_, (at, _)| *at <= now).map(|(_, (_, report))| report).collect();
        self.told.extend(due.iter().map(|report| (report.service.clone(), report.reason)));
        due
    }

    /// Forgets a deleted service: a new one of the same name is a different service.
    pub(crate) fn forget(&mut self, service: &ObjectName) {
        let all = || (service.clone(), Reason::FIRST)..=(service.clone(), Reason::LAST);
        self.told.extract_if(all(), |_| true).for_each(drop);
        self.waiting.extract_if(all(), |_, _| true).for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn report(service: &str, reason: Reason, message: &str) -> Report {
        Report { service: ObjectName::new("default", service), reason, message: message.to_owned() }
    }

    /// One source of changing reports.
    #[derive(Default)]
    struct Source {
        hints: Hints,
        reports: Vec<Report>,
    }

    impl Source {
        fn told(&mut self, reports: &[Report], now: Duration) -> Vec<String> {
            let before = std::mem::replace(&mut self.reports, reports.to_vec());
            self.hints.note(&before, reports, now);
            self.hints.due(now).into_iter().map(|report| report.message).collect()
        }
    }

    #[test]
    fn a_cause_is_reported_once_for_a_service() {
        let mut source = Source::default();
        let first = [
            report("a", Reason::EndpointsUnmatched, "1"),
            report("a", Reason::AddressUnusable, "2"),
            report("b", Reason::EndpointsUnmatched, "3"),
            report("b", Reason::VirtualServerConflict, "not a hint"),
        ];
        assert_eq!(source.told(&first, NOW), ["2", "1", "3"]);
        assert_eq!(source.told(&[], NOW), [""; 0]);
        let again = report("a", Reason::EndpointsUnmatched, "in other words");
        assert_eq!(source.told(std::slice::from_ref(&again), NOW + PATIENCE * 2), [""; 0]);
        source.hints.forget(&again.service);
        assert_eq!(source.told(std::slice::from_ref(&again), NOW + PATIENCE * 3), [""; 0]);
        assert_eq!(source.told(&[again], NOW + PATIENCE * 4), ["in other words"]);
    }

    #[test]
    fn what_a_controller_mends_in_a_moment_is_not_reported() {
        let mut source = Source::default();
        assert_eq!(source.told(&[], NOW), [""; 0]);
        let renamed = [report("a", Reason::EndpointsUnmatched, "1"), report("a", Reason::NodeAddress, "2")];
        assert_eq!(source.told(&renamed, NOW), ["2"], "addresses do not wait");
        assert_eq!(source.told(&[], NOW + PATIENCE / 2), [""; 0]);
        assert_eq!(source.told(&renamed, NOW + PATIENCE), [""; 0], "it starts again");
        assert_eq!(source.told(&renamed, NOW + PATIENCE * 2), ["1"]);
    }
}
