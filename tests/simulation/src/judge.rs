//! What must hold after every step, and when it has been quiet.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use weir_core::diff::Change;
use weir_core::kernel::FailureKind;
use weir_core::net::Family;
use weir_core::objects::ObjectName;
use weir_core::planner::Planner;
use weir_core::report::{Reason, Report};
use weir_core::rule::Ownership;
use weir_core::standing::{HealthCheck, Scope};
use weir_core::state::KernelState;
use weir_core::sync::Round;
use weir_daemon::{Done, Output};
use weir_laws::watch::Bounds;

/// What one daemon told, since it started.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How often something was asked for, and up to which of these each family is said to be in the kernel.
    requests: u64,
    up_to: BTreeMap<Family, u64>,
    hints: BTreeSet<(ObjectName, Reason)>,
    pub(crate) checks: BTreeMap<ObjectName, HealthCheck>,
    pub(crate) stranded: BTreeMap<(Scope, Family), u64>,
    pub(crate) reports: Vec<Report>,
}

/// What a step looked like from outside.
pub(crate) struct Seen<'a> {
    /// What the kernel held before.
    pub(crate) before: &'a KernelState,
    /// What is desired after it.
    pub(crate) desired: &'a KernelState,
    /// The changes that were made, each with what the kernel held after it.
    pub(crate) made: &'a [(Change, KernelState)],
    pub(crate) outputs: &'a [Output],
    /// Whether the kernel held just what was desired before, and nothing failed on the way.
    pub(crate) calm: bool,
    /// Whether others may have changed something that no audit had looked at before.
    pub(crate) interfered: bool,
    /// Whether others did change something that no audit had looked at before: what closes VIPs may be missing.
    pub(crate) tampered: bool,
    /// Whether they may have, and no audit has looked at it now.
    pub(crate) unsure: bool,
    /// Whether the daemon says that the kernel holds what is desired, having looked since others last could change it.
    pub(crate) in_step: bool,
    /// Networks whose virtual servers belong to others once they are not wanted.
    pub(crate) excluded: &'a [IpNet],
}

/// What is wrong with a step.
pub(crate) fn step(seen: &Seen<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    if !seen.made.is_empty() {
        let bounds = Bounds::new(seen.before, seen.desired);
        // What others opened is closed again on the way, and not before the first change.
        let open: BTreeSet<String> = bounds.open_filters(seen.before).into_iter().collect();
        for (change, state) in seen.made {
            // A virtual server of an excluded network stays when it is not wanted any more, without its filters.
            let mut found = match seen.tampered || !seen.excluded.is_empty() {
                true => Vec::new(),
                false => bounds.open_filters(state),
            };
            found.retain(|what| !open.contains(what));
            if seen.calm {
                found.extend(bounds.lost(state));
                found.extend(bounds.half_up(change, state));
            }
            wrong.extend(found.into_iter().map(|what| format!("after `{change}`: {what}")));
        }
    }
    let now = seen.made.last().map_or(seen.before, |(_, state)| state);
    if seen.in_step {
        let mut now = now.clone();
        now.forget_excluded(seen.excluded, seen.desired);
        let differences = now.differences(seen.desired);
        if !differences.is_empty() {
            wrong.push(format!("it believes to be in step, and differs: {differences:?}"));
        }
    }
    for output in seen.outputs {
        match output {
            Output::Round(done) if done.drift && !seen.interfered && made(&done.round) > 0 => {
                wrong.push(format!("nobody interfered, and it calls this drift: {:?}", done.round.changes));
            }
            Output::UpToDate(family) if !seen.unsure => {
                wrong.extend(unfounded(*family, now, seen.desired));
            }
            _ => {}
        }
    }
    wrong
}

fn made(round: &Round) -> usize {
    round.changes.iter().filter(|(_, outcome)| outcome.is_ok()).count()
}

/// Whether something that was tried failed.
pub(crate) fn failed(done: &Done) -> bool {
    done.round.failures().any(|(_, failure)| failure.kind != FailureKind::Prerequisite)
}

/// A family that is said to be up to date has its sets and chains.
fn unfounded(family: Family, state: &KernelState, desired: &KernelState) -> Option<String> {
    let sets = desired.sets.iter().filter(|(name, _)| name.family == family);
    let lacks_set = sets.filter(|(name, kind)| state.sets.get(name) != Some(kind)).count();
    let chains = desired
        .rules
        .iter()
        .filter(|((of, _, chain), _)| *of == family && chain.ownership() == Ownership::Own);
    let lacks_chain = chains.filter(|(key, rules)| state.rules.get(key) != Some(rules)).count();
    (lacks_set + lacks_chain > 0).then(|| {
        format!("{family} is said to be up to date and lacks {lacks_set} sets and {lacks_chain} chains")
    })
}

/// After an answer that left open what the kernel holds, the next round reads it. `since` is how often it had been read then.
pub(crate) fn doubts(outputs: &[Output], since: &mut Option<u64>, reads: u64) -> Option<String> {
    let mut rounds = outputs.iter().filter_map(|output| match output {
        Output::Round(done) => Some(&done.round),
        _ => None,
    });
    let last = rounds.next_back()?;
    let wrong = since.take().is_some_and(|since| since == reads);
    if last.failures().any(|(_, failure)| failure.kind == FailureKind::Stale) {
        *since = Some(reads);
    }
    wrong.then(|| "it does not know what the kernel holds, and does not read it".to_owned())
}

/// What the kernel refused by itself, in a round that no planned fault struck.
pub(crate) fn refused(outputs: &[Output]) -> Option<String> {
    let rounds = outputs.iter().filter_map(|output| match output {
        Output::Round(done) => Some(&done.round),
        _ => None,
    });
    let tried = |kind| !matches!(kind, FailureKind::Prerequisite | FailureKind::Postponed);
    let failures: Vec<_> =
        rounds.flat_map(Round::failures).map(|(_, failure)| failure).filter(|of| tried(of.kind)).collect();
    let planned = ["a fault was planned", "the answer was lost", "it was interrupted", "the program ended"];
    if failures.iter().any(|failure| planned.iter().any(|end| failure.message.ends_with(end))) {
        return None;
    }
    failures.first().map(|failure| format!("the kernel refuses what was right to be made: {failure}"))
}

/// Hints that were told and do not stand.
pub(crate) fn unfounded_hints(outputs: &[Output], planner: &Planner) -> Vec<String> {
    let told = outputs.iter().filter_map(|output| match output {
        Output::Report(report) if report.reason.is_hint() => Some(report),
        _ => None,
    });
    let stands = |told: &Report| {
        planner.reports().iter().any(|now| (&now.service, now.reason) == (&told.service, told.reason))
    };
    told.filter(|told| !stands(told)).map(|told| format!("told, and not so any more: {told}")).collect()
}

/// What an overview says that is not so.
pub(crate) fn untrue(outputs: &[Output], planner: &Planner) -> Vec<String> {
    let (mut wrong, mut last) = (Vec::new(), None);
    for output in outputs {
        match output {
            Output::Round(done) => last = Some(done.round.succeeded()),
            Output::Unread(_) => last = Some(false),
            Output::Overview(overview) => {
                if last.is_some_and(|good| good != overview.in_step_since.is_some()) {
                    wrong.push(format!(
                        "in step since {:?} in an overview, and not so",
                        overview.in_step_since
                    ));
                }
                let failed = overview.failing > 0 || overview.unread.is_some();
                if last == Some(false) && !failed || failed && overview.in_step_since.is_some() {
                    wrong.push(format!("an overview hides what fails: {overview:?}"));
                }
                let services = planner.service_names().count();
                if last.is_some() && overview.tally.services as usize != services {
                    wrong
                        .push(format!("{} services in an overview, not {services}", overview.tally.services));
                }
                let mut reports = BTreeMap::<_, BTreeSet<_>>::new();
                for report in planner.reports() {
                    reports.entry(report.reason).or_default().insert(report.service);
                }
                let counted = overview.reports.iter().map(|(reason, reported)| (*reason, reported.services));
                if last.is_some() && !counted.eq(reports.iter().map(|(reason, of)| (*reason, of.len()))) {
                    wrong.push(format!("reports in an overview: {:?}, not {reports:?}", overview.reports));
                }
            }
            _ => {}
        }
    }
    wrong
}

impl Told {
    /// Takes note of outputs, and says what is wrong with them.
    pub(crate) fn note(&mut self, outputs: &[Output]) -> Vec<String> {
        let mut wrong = Vec::new();
        for output in outputs {
            match output {
                Output::Requested => self.requests += 1,
                Output::UpToDate(family) => drop(self.up_to.insert(*family, self.requests)),
                Output::Report(report) => {
                    let cause = (report.service.clone(), report.reason);
                    if report.reason.is_hint() && !self.hints.insert(cause) {
                        wrong.push(format!("told twice: {report}"));
                    }
                    self.reports.push(report.clone());
                }
                Output::Planned { stranded, health_checks } => {
                    self.stranded.clone_from(stranded);
                    for (name, check) in health_checks {
                        match check {
                            Some(check) => self.checks.insert(name.clone(), *check),
                            None => self.checks.remove(name),
                        };
                    }
                }
                Output::Follow(_)
                | Output::Remark(_)
                | Output::Replaced(_)
                | Output::Round(_)
                | Output::Sampled { .. }
                | Output::Overview(_)
                | Output::Serving(_)
                | Output::Unread(_) => {}
            }
        }
        wrong
    }

    /// A service is gone: one of its name may have the same faults.
    pub(crate) fn forget(&mut self, name: &ObjectName) {
        self.hints.retain(|(of, _)| of != name);
        self.reports.retain(|report| report.service != *name);
    }

    /// Whether a family is in the kernel as far as was asked for.
    pub(crate) fn is_up_to_date(&self, family: Family) -> bool {
        self.up_to.get(&family) == Some(&self.requests)
    }
}
