//! Outputs about plans and rounds: only differences, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_core::net::Family;
use weir_core::report::Report;
use weir_core::standing::HealthCheck;

use crate::host::Host;
use crate::message::{Done, Output};

use super::{Daemon, upkeep};

impl<H: Host> Daemon<H> {
    pub(super) fn tell_of_round(&mut self, done: Done) {
        let round = &done.round;
        self.rules_failed = upkeep::rules_failed(round).unwrap_or(self.rules_failed);
        let capabilities = &self.planner.node().capabilities;
        let families = capabilities.families.clone();
        let has_foundation = |family: &Family| upkeep::has_foundation(round, *family);
        let served = families.iter().copied().filter(|family| !capabilities.loses_vips(*family));
        let served: Vec<Family> = served.filter(has_foundation).collect();
        let serves = families.iter().all(has_foundation);
        let now = self.host().time();
        self.notes.round_ended(&done, now);
        self.tell(Output::Round(done));
        if serves && !std::mem::replace(&mut self.serving, true) {
            self.tell(Output::Serving(families));
        }
        self.outputs.extend(served.into_iter().map(Output::UpToDate));
    }

    /// Outputs what is new in a plan.
    pub(super) fn tell_of_plan(&mut self, now: Duration) {
        let mut health_checks = BTreeMap::new();
        let mut before = self.planner.take_outside();
        for name in std::mem::take(&mut self.deleted) {
            // Reports of a deleted service are forgotten, because a new service of the same name may have equal ones.
            before.entry(name.clone()).or_insert_with(|| self.planner.outside(&name)).reports.clear();
        }
        for (name, before) in before {
            let after = self.planner.outside(&name);
            for of in &before.standing.stranded {
                self.stranded.entry(*of).and_modify(|count| *count = count.saturating_sub(1));
            }
            for of in &after.standing.stranded {
                *self.stranded.entry(*of).or_default() += 1;
            }
            self.notes.reported(&name, &after.reports);
            self.report(&before.reports, &after.reports, now);
            let check: Option<HealthCheck> = after.standing.health_check;
            if before.standing.health_check != check {
                health_checks.insert(name, check);
            }
        }
        let shared = self.planner.shared_reports();
        let before = std::mem::take(&mut self.shared);
        self.report(&before, &shared, now);
        self.shared = shared;
        let due = self.hints.due(now);
        self.outputs.extend(due.into_iter().map(Output::Report));
        self.tell(Output::Planned { stranded: self.stranded.clone(), health_checks });
    }

    fn report(&mut self, before: &[Report], after: &[Report], now: Duration) {
        self.hints.note(before, after, now);
        let old: BTreeSet<&Report> = before.iter().collect();
        let new = after.iter().filter(|report| !report.reason.is_hint() && !old.contains(report));
        self.outputs.extend(new.cloned().map(Output::Report));
    }
}
