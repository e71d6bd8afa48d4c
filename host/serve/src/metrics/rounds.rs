//! What rounds did and what they cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use weir_core::kernel::FailureKind;

use super::declare::{counts, exponential, gauges, histograms, levels};
use super::proxy::{level, timestamp};

/// Metrics of rounds. Clones share their state.
#[derive(Clone)]
pub struct RoundMetrics {
    rounds: IntCounterVec,
    steps: HistogramVec,
    messages: IntCounterVec,
    sends: IntCounterVec,
    processes: IntCounterVec,
    changes: IntCounterVec,
    drift: IntCounterVec,
    draining: IntGaugeVec,
    retries: IntCounterVec,
    reports: ByReason,
    warnings: ByReason,
    turn: GaugeVec,
    work: Arc<Mutex<KernelWork>>,
}

/// Gauges by reason.
#[derive(Clone)]
struct ByReason {
    gauges: IntGaugeVec,
    /// The reasons that have a series.
    known: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl ByReason {
    fn new(registry: &Registry, options: Opts) -> ByReason {
        ByReason { gauges: levels(registry, options, &["reason"]), known: Arc::default() }
    }

    /// Sets all gauges; reasons without a count have zero.
    fn set(&self, counts: &BTreeMap<&'static str, u64>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(counts.keys());
        // No series is ever removed, because an alert would then count as resolved.
        for reason in &*known {
            let count = counts.get(reason).copied().unwrap_or_default();
            self.gauges.with_label_values(&[*reason]).set(level(count));
        }
    }
}

/// The outcome of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundResult {
    /// All changes were made.
    Succeeded,
    /// Some changes failed and will be retried.
    Partial,
    /// The kernel could not be read, and nothing was changed.
    Unread,
}

/// A part of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Deciding and planning.
    Plan,
    /// Reading the kernel.
    Read,
    /// Comparing, and checking the connections of real servers to remove.
    Diff,
    /// Making changes.
    Apply,
}

/// The kernel calls since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelWork {
    /// Netlink messages.
    pub messages: u64,
    /// System calls that sent them.
    pub sends: u64,
    /// Processes that were started.
    pub processes: u64,
}

impl RoundResult {
    fn label(self) -> &'static str {
        match self {
            RoundResult::Succeeded => "succeeded",
            RoundResult::Partial => "partial",
            RoundResult::Unread => "unread",
        }
    }
}

impl Step {
    fn label(self) -> &'static str {
        match self {
            Step::Plan => "plan",
            Step::Read => "read",
            Step::Diff => "diff",
            Step::Apply => "apply",
        }
    }
}

impl RoundMetrics {
    pub(super) fn new(registry: &Registry) -> RoundMetrics {
        let count = |name, help, labels: &[&str]| counts(registry, Opts::new(name, help), labels);
        let metrics = RoundMetrics {
            rounds: count("weir_rounds_total", "Rounds, by result.", &["result"]),
            steps: histograms(
                registry,
                // 0.1 ms to 26 s: from a round that changes one real server to a cold start of ten thousand services.
                HistogramOpts::new("weir_round_step_duration_seconds", "Duration of the steps of a round.")
                    .buckets(exponential(0.0001, 4.0, 10)),
                &["step"],
            ),
            messages: count("weir_kernel_messages_total", "Netlink messages sent to the kernel.", &[]),
            sends: count("weir_kernel_sends_total", "System calls that sent netlink messages.", &[]),
            processes: count("weir_kernel_processes_total", "Processes started to read or write rules.", &[]),
            changes: count(
                "weir_changes_total",
                "Changes to the kernel, by kind and outcome.",
                &["kind", "outcome"],
            ),
            drift: count(
                "weir_drift_repaired_total",
                "Changes that undid changes made by other programs.",
                &[],
            ),
            draining: levels(
                registry,
                Opts::new("weir_draining_real_servers", "Quiesced real servers that still have connections."),
                &[],
            ),
            retries: count("weir_retries_total", "Rounds that retried failed changes.", &[]),
            reports: ByReason::new(
                registry,
                Opts::new("weir_reported_services", "Services with a current report, by reason."),
            ),
            warnings: ByReason::new(registry, Opts::new("weir_warnings", "Warnings in force, by reason.")),
            turn: gauges(
                registry,
                Opts::new(
                    "weir_loop_last_turn_timestamp_seconds",
                    "The last time the main loop ran; it runs at least once a minute.",
                ),
                &[],
            ),
            work: Arc::default(),
        };
        metrics.with_zeros()
    }

    /// A rate needs the zero before the first event.
    fn with_zeros(self) -> RoundMetrics {
        for counter in [&self.messages, &self.sends, &self.processes, &self.drift, &self.retries] {
            counter.with_label_values::<&str>(&[]);
        }
        self.draining.with_label_values::<&str>(&[]);
        for result in [RoundResult::Succeeded, RoundResult::Partial, RoundResult::Unread] {
            self.rounds.with_label_values(&[result.label()]);
        }
        self
    }

    /// Counts a round that ended.
    pub fn ended(&self, result: RoundResult) {
        self.rounds.with_label_values(&[result.label()]).inc();
    }

    /// Records how long a step of a round took.
    pub fn took(&self, step: Step, time: Duration) {
        self.steps.with_label_values(&[step.label()]).observe(time.as_secs_f64());
    }

    /// Sets the kernel calls so far; a lower value than before means that the count restarted.
    pub fn kernel_work(&self, now: KernelWork) {
        let mut before = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let none: &[&str] = &[];
        self.messages.with_label_values(none).inc_by(advance(before.messages, now.messages));
        self.sends.with_label_values(none).inc_by(advance(before.sends, now.sends));
        self.processes.with_label_values(none).inc_by(advance(before.processes, now.processes));
        *before = now;
    }

    /// Counts a change that was made or failed, but not a postponed one, which was not tried. `kind` is one of a few
    /// words for the kind of change, such as `add-entry`.
    pub fn changed(&self, kind: &'static str, outcome: Result<(), FailureKind>) {
        let outcome = match outcome {
            Ok(()) => "made",
            Err(FailureKind::Stale) => "stale",
            Err(FailureKind::Prerequisite) => "prerequisite",
            Err(FailureKind::Locked) => "locked",
            Err(FailureKind::Busy) => "busy",
            Err(FailureKind::Refused) => "refused",
            Err(FailureKind::Postponed) => return,
        };
        self.changes.with_label_values(&[kind, outcome]).inc();
    }

    /// Counts changes by other programs that an audit found and undid.
    pub fn drift_repaired(&self, changes: u64) {
        self.drift.with_label_values::<&str>(&[]).inc_by(changes);
    }

    /// Sets the number of quiesced real servers that wait for their connections to end.
    pub fn draining(&self, real_servers: u64) {
        self.draining.with_label_values::<&str>(&[]).set(level(real_servers));
    }

    /// Sets the number of services with a current report, by reason; other reasons have none.
    pub fn reported(&self, services: &BTreeMap<&'static str, u64>) {
        self.reports.set(services);
    }

    /// Sets the number of warnings in force, by reason; other reasons have none.
    pub fn warned(&self, warnings: &BTreeMap<&'static str, u64>) {
        self.warnings.set(warnings);
    }

    /// Records that the main loop runs.
    pub fn turned(&self, at: SystemTime) {
        self.turn.with_label_values::<&str>(&[]).set(timestamp(at));
    }

    /// Counts a round that runs because the previous one failed.
    pub fn retried(&self) {
        self.retries.with_label_values::<&str>(&[]).inc();
    }
}

/// By how much a count has grown; if it fell, it restarted from zero.
pub(super) fn advance(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}
