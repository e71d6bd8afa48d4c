//! What must hold after every step, and after a quiet period.

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

/// What one daemon has reported since its start.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Number of requests, and the last one that each family is reported to have reached in the kernel.
    requests: u64,
    up_to: BTreeMap<Family, u64>,
    hints: BTreeSet<(ObjectName, Reason)>,
    pub(crate) checks: BTreeMap<ObjectName, HealthCheck>,
    pub(crate) stranded: BTreeMap<(Scope, Family), u64>,
    pub(crate) reports: Vec<Report>,
}

/// The externally visible effects of a step.
pub(crate) struct Seen<'a> {
    /// The kernel's state before.
    pub(crate) before: &'a KernelState,
    /// The desired state after it.
    pub(crate) desired: &'a KernelState,
    /// The changes that were made, each with the kernel's state after it.
    pub(crate) made: &'a [(Change, KernelState)],
    pub(crate) outputs: &'a [Output],
    /// Whether the kernel had exactly the desired state before, and nothing failed.
    pub(crate) calm: bool,
    /// Whether others may have changed something before, not yet seen by an audit.
    pub(crate) interfered: bool,
    /// Whether others did change something before, not yet seen by an audit: rules that close VIPs may be missing.
    pub(crate) tampered: bool,
    /// Whether they may have, and no audit has run since.
    pub(crate) unsure: bool,
    /// Whether the daemon reports the desired state, having read the kernel since others could last change it.
    pub(crate) in_step: bool,
    /// Networks whose virtual servers belong to others once they are no longer desired.
    pub(crate) excluded: &'a [IpNet],
}

/// Returns what is wrong with a step.
pub(crate) fn step(seen: &Seen<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    if !seen.made.is_empty() {
        let bounds = Bounds::new(seen.before, seen.desired);
        // What others opened is closed during the round, but not before the first change.
        let open: BTreeSet<String> = bounds.open_filters(seen.before).into_iter().collect();
        for (change, state) in seen.made {
            // A virtual server in an excluded network stays when it is no longer desired, without its filters.
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
            wrong.push(format!(
                "the daemon reported the desired state, but the kernel differs: {differences:?}"
            ));
        }
    }
    for output in seen.outputs {
        match output {
            Output::Round(done) if done.drift && !seen.interfered && made(&done.round) > 0 => {
                wrong.push(format!("reported as drift without interference: {:?}", done.round.changes));
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

/// Whether an attempted change failed.
pub(crate) fn failed(done: &Done) -> bool {
    done.round.failures().any(|(_, failure)| failure.kind != FailureKind::Prerequisite)
}

/// A family that is reported up to date must have its sets and chains.
fn unfounded(family: Family, state: &KernelState, desired: &KernelState) -> Option<String> {
    let sets = desired.sets.iter().filter(|(name, _)| name.family == family);
    let lacks_set = sets.filter(|(name, kind)| state.sets.get(name) != Some(kind)).count();
    let chains = desired
        .rules
        .iter()
        .filter(|((of, _, chain), _)| *of == family && chain.ownership() == Ownership::Own);
    let lacks_chain = chains.filter(|(key, rules)| state.rules.get(key) != Some(rules)).count();
    (lacks_set + lacks_chain > 0).then(|| {
        format!("{family} is reported up to date but lacks {lacks_set} sets and {lacks_chain} chains")
    })
}

/// After an answer that leaves the kernel's state unknown, the next round must read it. `since` is the number of
/// reads at that time.
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
    wrong.then(|| "the kernel's state is unknown, but was not read".to_owned())
}

/// Returns what the kernel refused by itself, in a round without planned faults.
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
    failures.first().map(|failure| format!("the kernel refuses a correct change: {failure}"))
}

/// Returns hints that were reported but do not apply.
pub(crate) fn unfounded_hints(outputs: &[Output], planner: &Planner) -> Vec<String> {
    let told = outputs.iter().filter_map(|output| match output {
        Output::Report(report) if report.reason.is_hint() => Some(report),
        _ => None,
    });
    let stands = |told: &Report| {
        planner.reports().iter().any(|now| (&now.service, now.reason) == (&told.service, told.reason))
    };
    told.filter(|told| !stands(told)).map(|told| format!("reported, but no longer true: {told}")).collect()
}

/// Returns wrong statements in an overview.
pub(crate) fn untrue(outputs: &[Output], planner: &Planner) -> Vec<String> {
    let (mut wrong, mut last) = (Vec::new(), None);
    for output in outputs {
        match output {
            Output::Round(done) => last = Some(done.round.succeeded()),
            Output::Unread(_) => last = Some(false),
            Output::Overview(overview) => {
                if last.is_some_and(|good| good != overview.in_step_since.is_some()) {
                    wrong.push(format!(
                        "overview says in step since {:?}, which is wrong",
                        overview.in_step_since
                    ));
                }
                let failed = overview.failing > 0 || overview.unread.is_some();
                if last == Some(false) && !failed || failed && overview.in_step_since.is_some() {
                    wrong.push(format!("overview hides failures: {overview:?}"));
                }
                let services = planner.service_names().count();
                if last.is_some() && overview.tally.services as usize != services {
                    wrong.push(format!(
                        "overview has {} services, expected {services}",
                        overview.tally.services
                    ));
                }
                let mut reports = BTreeMap::<_, BTreeSet<_>>::new();
                for report in planner.reports() {
                    reports.entry(report.reason).or_default().insert(report.service);
                }
                let counted = overview.reports.iter().map(|(reason, reported)| (*reason, reported.services));
                if last.is_some() && !counted.eq(reports.iter().map(|(reason, of)| (*reason, of.len()))) {
                    wrong.push(format!("reports in overview: {:?}, expected {reports:?}", overview.reports));
                }
            }
            _ => {}
        }
    }
    wrong
}

impl Told {
    /// Records outputs, and returns what is wrong with them.
    pub(crate) fn note(&mut self, outputs: &[Output]) -> Vec<String> {
        let mut wrong = Vec::new();
        for output in outputs {
            match output {
                Output::Requested => self.requests += 1,
                Output::UpToDate(family) => drop(self.up_to.insert(*family, self.requests)),
                Output::Report(report) => {
                    let cause = (report.service.clone(), report.reason);
                    if report.reason.is_hint() && !self.hints.insert(cause) {
                        wrong.push(format!("reported twice: {report}"));
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
                | Output::Warning(_)
                | Output::ExtensionsBack
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

    /// A service was deleted: a new one with its name may have the same faults.
    pub(crate) fn forget(&mut self, name: &ObjectName) {
        self.hints.retain(|(of, _)| of != name);
        self.reports.retain(|report| report.service != *name);
    }

    /// Whether a family has reached the last request.
    pub(crate) fn is_up_to_date(&self, family: Family) -> bool {
        self.up_to.get(&family) == Some(&self.requests)
    }
}
