//! The log lines of a round.

use std::time::Duration;

use tracing::{debug, error, info, warn};
use weir_core::diff::Change;
use weir_core::kernel::{Failure, FailureKind, Outcome, by_cause};
use weir_core::sync::Round;
use weir_kernel::capabilities::Finding;
use weir_kernel::linux::Effort;
use weir_policy::Replacement;

/// Logs findings about this node; those with a fix as warnings.
pub(super) fn findings(findings: &[Finding]) {
    for finding in findings {
        match &finding.fix {
            None => debug!(topic = finding.topic, "{}", finding.text),
            Some(fix) => warn!(topic = finding.topic, fix, "{}", finding.text),
        }
    }
}

/// One line per round that did something, one per cause of failures, and one per change at debug level.
pub(super) fn round(round: &Round, effort: Effort, took: Duration) {
    let is_postponed = |(_, outcome): &&(Change, Outcome)| {
        outcome.as_ref().is_err_and(|failure| failure.kind == FailureKind::Postponed)
    };
    let postponed = round.changes.iter().filter(is_postponed).count();
    let failed = round.failures().count() - postponed;
    for (change, outcome) in &round.changes {
        match outcome {
            Ok(()) => debug!(change = %change, "changed"),
            // The change that it waits for has its own line, and may block hundreds of others.
            Err(failure) => debug!(change = %change, "{failure}"),
        }
    }
    for (change, failure, others) in causes(round) {
        match others {
            0 => error!(change = %change, "{failure}"),
            others => {
                error!(
                    change = %change,
                    others,
                    "{failure} (other changes that failed for the same reason: {others})"
                )
            }
        }
    }
    let changes = round.changes.len() - postponed;
    if changes > 0 {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let Effort { messages, sends, receives, processes } = effort;
        let draining = round.waiting.len();
        info!(
            changes,
            failed, postponed, draining, messages, sends, receives, processes, took_ms, "synchronised"
        );
    }
}

/// Logs the outcome of replacing plugins.
pub(super) fn replaced(replacement: &Replacement) {
    match replacement {
        Replacement::Taken { .. } => info!("{replacement}"),
        Replacement::Held { .. } | Replacement::Broken(_) => warn!("{replacement}"),
    }
}

/// The failures of a round by cause.
pub(super) fn causes(round: &Round) -> Vec<(&Change, &Failure, usize)> {
    let told = |kind| !matches!(kind, FailureKind::Prerequisite | FailureKind::Postponed);
    let failures = round.failures().filter(|(_, failure)| told(failure.kind));
    by_cause(failures.map(|(change, failure)| (change, change.kind(), change.to_string(), failure)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_many_changes_share_is_reported_once() {
        let failed = |ip: &str, why: &str| {
            let change = Change::AddAddress(ip.parse().unwrap());
            let failure = Failure { kind: FailureKind::Refused, message: format!("{change}: {why}") };
            (change, Err(failure))
        };
        let changes = vec![
            failed("fd00::1", "IPv6 is switched off"),
            failed("fd00::2", "IPv6 is switched off"),
            failed("fd00::3", "no device can have it"),
            failed("fd00::4", "IPv6 is switched off"),
        ];
        let round = Round { changes, ..Round::default() };
        let told: Vec<(String, usize)> =
            causes(&round).into_iter().map(|(change, _, others)| (change.to_string(), others)).collect();
        assert_eq!(told, [("add address fd00::1".to_owned(), 2), ("add address fd00::3".to_owned(), 0)]);
    }
}
