//! What plugins did, were kept from, and cost.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{CounterVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::declare::{counts, levels, seconds};
use super::own::{OwnMetric, OwnSeries};
use super::proxy::level;
use super::rounds::advance;

/// The account of one plugin; counts are those since it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginMetrics {
    /// Its name in the policy file.
    pub name: String,
    /// Calls of the guest.
    pub calls: u64,
    /// Services it was asked about in them.
    pub asked: u64,
    /// Questions that were answered from memory.
    pub remembered: u64,
    /// Calls that failed, by the word for why.
    pub failures: BTreeMap<&'static str, u64>,
    /// Questions for which something else stood in.
    pub fallbacks: u64,
    /// Time in calls.
    pub time: Duration,
    /// The most memory that an instance had, in bytes.
    pub peak_memory: u64,
    /// Log lines that were dropped because there were too many.
    pub dropped_lines: u64,
    /// Answers that were another when the same was asked again.
    pub impure: u64,
    /// Whether it is asked.
    pub condition: PluginCondition,
    /// Numbers of its own.
    pub own: Vec<OwnMetric>,
}

/// Whether a plugin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginCondition {
    /// It is.
    Ready,
    /// Not for a while, because it failed too often.
    Suspended,
    /// Not before plugin or configuration change.
    GivenUp,
}

/// What became of plugins that were to take the place of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// They decide.
    Taken,
    /// They would change too much.
    Held,
    /// They answered nothing.
    Broken,
    /// They could not be loaded, or the policy file could not be read.
    Refused,
}

impl PluginCondition {
    const ALL: [PluginCondition; 3] =
        [PluginCondition::Ready, PluginCondition::Suspended, PluginCondition::GivenUp];

    fn label(self) -> &'static str {
        match self {
            PluginCondition::Ready => "ready",
            PluginCondition::Suspended => "suspended",
            PluginCondition::GivenUp => "given-up",
        }
    }
}

impl ReloadResult {
    const ALL: [ReloadResult; 4] =
        [ReloadResult::Taken, ReloadResult::Held, ReloadResult::Broken, ReloadResult::Refused];

    fn label(self) -> &'static str {
        match self {
            ReloadResult::Taken => "taken",
            ReloadResult::Held => "held",
            ReloadResult::Broken => "broken",
            ReloadResult::Refused => "refused",
        }
    }
}

/// The series, and the accounts they were made from.
pub(super) struct PluginSeries {
    calls: IntCounterVec,
    asked: IntCounterVec,
    remembered: IntCounterVec,
    failures: IntCounterVec,
    fallbacks: IntCounterVec,
    time: CounterVec,
    peak_memory: IntGaugeVec,
    dropped_lines: IntCounterVec,
    impure: IntCounterVec,
    condition: IntGaugeVec,
    reloads: IntCounterVec,
    clamps: IntCounterVec,
    samples: IntCounterVec,
    sampling: CounterVec,
    own: OwnSeries,
    shown: BTreeMap<String, Shown>,
}

/// What is shown of a plugin.
struct Shown {
    account: PluginMetrics,
    /// The words for failures that have a series, of earlier accounts too.
    failures: Vec<&'static str>,
}

impl PluginSeries {
    pub(super) fn new(registry: &Registry) -> PluginSeries {
        let count = |name, help| counts(registry, Opts::new(name, help), &["plugin"]);
        let series = PluginSeries {
            calls: count("weir_plugin_calls_total", "Calls of plugins."),
            asked: count("weir_plugin_asked_total", "Services that plugins were asked about in calls."),
            remembered: count("weir_plugin_remembered_total", "Questions answered from memory."),
            failures: counts(
                registry,
                Opts::new("weir_plugin_failures_total", "Calls of plugins that failed, by why."),
                &["plugin", "reason"],
            ),
            fallbacks: count(
                "weir_plugin_fallbacks_total",
                "Questions for which an earlier answer or none stood in.",
            ),
            time: seconds(
                registry,
                Opts::new("weir_plugin_seconds_total", "Time in calls of plugins."),
                &["plugin"],
            ),
            peak_memory: levels(
                registry,
                Opts::new(
                    "weir_plugin_peak_memory_bytes",
                    "The most memory that an instance of a plugin had.",
                ),
                &["plugin"],
            ),
            dropped_lines: count(
                "weir_plugin_dropped_lines_total",
                "Log lines of plugins that were dropped.",
            ),
            impure: count("weir_plugin_impure_total", "Answers that differed when the same was asked again."),
            condition: levels(
                registry,
                Opts::new("weir_plugin_condition", "1 for the condition that a plugin is in."),
                &["plugin", "condition"],
            ),
            reloads: counts(
                registry,
                Opts::new("weir_plugin_reloads_total", "Exchanges of plugins, by what became of them."),
                &["result"],
            ),
            clamps: counts(
                registry,
                Opts::new("weir_clamps_total", "Decisions changed by the guard, by why."),
                &["reason"],
            ),
            samples: counts(
                registry,
                Opts::new("weir_samples_total", "Services whose counters were read for plugins."),
                &["result"],
            ),
            sampling: seconds(
                registry,
                Opts::new("weir_sampling_seconds_total", "Time in reading counters for plugins."),
                &[],
            ),
            own: OwnSeries::new(registry),
            shown: BTreeMap::new(),
        };
        // A rate needs the zero that comes before the first event.
        for result in ReloadResult::ALL {
            series.reloads.with_label_values(&[result.label()]);
        }
        series.sampled(0, 0, Duration::ZERO);
        series
    }

    pub(super) fn reloaded(&self, result: ReloadResult) {
        self.reloads.with_label_values(&[result.label()]).inc();
    }

    pub(super) fn sampled(&self, read: u64, failed: u64, time: Duration) {
        self.samples.with_label_values(&["read"]).inc_by(read);
        self.samples.with_label_values(&["failed"]).inc_by(failed);
        self.sampling.with_label_values::<&str>(&[]).inc_by(time.as_secs_f64());
    }

    pub(super) fn clamped(&self, reason: &'static str) {
        self.clamps.with_label_values(&[reason]).inc();
    }

    pub(super) fn update(&mut self, plugins: &[PluginMetrics]) {
        self.own.update(plugins);
        let mut earlier = std::mem::take(&mut self.shown);
        for account in plugins {
            let before = earlier.remove(&account.name);
            let words = before.as_ref().map(|shown| shown.failures.clone()).unwrap_or_default();
            let before = before.map(|shown| shown.account).filter(|before| !account.is_anew(before));
            self.advance(account, &before.unwrap_or_else(|| PluginMetrics::unused(account)));
            let mut failures: Vec<_> = words.into_iter().chain(account.failures.keys().copied()).collect();
            failures.sort_unstable();
            failures.dedup();
            self.shown.insert(account.name.clone(), Shown { account: account.clone(), failures });
        }
        for (name, shown) in earlier {
            self.forget(&name, &shown.failures);
        }
    }

    fn advance(&self, now: &PluginMetrics, before: &PluginMetrics) {
        let plugin = &[now.name.as_str()];
        for (series, before, now) in [
            (&self.calls, before.calls, now.calls),
            (&self.asked, before.asked, now.asked),
            (&self.remembered, before.remembered, now.remembered),
            (&self.fallbacks, before.fallbacks, now.fallbacks),
            (&self.dropped_lines, before.dropped_lines, now.dropped_lines),
            (&self.impure, before.impure, now.impure),
        ] {
            series.with_label_values(plugin).inc_by(advance(before, now));
        }
        for (word, count) in &now.failures {
            let before = before.failures.get(word).copied().unwrap_or_default();
            self.failures.with_label_values(&[now.name.as_str(), word]).inc_by(advance(before, *count));
        }
        let time = now.time.saturating_sub(before.time);
        self.time.with_label_values(plugin).inc_by(time.as_secs_f64());
        self.peak_memory.with_label_values(plugin).set(level(now.peak_memory));
        for condition in PluginCondition::ALL {
            let labels = [now.name.as_str(), condition.label()];
            self.condition.with_label_values(&labels).set(i64::from(condition == now.condition));
        }
    }

    /// Each series that is removed here was made for this plugin, so that nothing fails; and if it did, nothing was lost.
    fn forget(&self, name: &str, failures: &[&'static str]) {
        for series in
            [&self.calls, &self.asked, &self.remembered, &self.fallbacks, &self.dropped_lines, &self.impure]
        {
            let _ = series.remove_label_values(&[name]);
        }
        for word in failures {
            let _ = self.failures.remove_label_values(&[name, word]);
        }
        let _ = self.time.remove_label_values(&[name]);
        let _ = self.peak_memory.remove_label_values(&[name]);
        for condition in PluginCondition::ALL {
            let _ = self.condition.remove_label_values(&[name, condition.label()]);
        }
    }
}

impl PluginMetrics {
    /// The account of the same plugin when nothing had happened yet.
    fn unused(now: &PluginMetrics) -> PluginMetrics {
        PluginMetrics {
            name: now.name.clone(),
            calls: 0,
            asked: 0,
            remembered: 0,
            failures: BTreeMap::new(),
            fallbacks: 0,
            time: Duration::ZERO,
            peak_memory: 0,
            dropped_lines: 0,
            impure: 0,
            condition: now.condition,
            own: Vec::new(),
        }
    }

    /// Whether this account was begun after the other one: within one, nothing falls.
    fn is_anew(&self, before: &PluginMetrics) -> bool {
        let failed = |account: &PluginMetrics| account.failures.values().sum::<u64>();
        self.calls < before.calls
            || self.asked < before.asked
            || self.remembered < before.remembered
            || failed(self) < failed(before)
            || self.fallbacks < before.fallbacks
            || self.time < before.time
            || self.dropped_lines < before.dropped_lines
            || self.impure < before.impure
    }
}
