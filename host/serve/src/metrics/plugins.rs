//! What plugins did, what the guard changed, and what it cost.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{CounterVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::declare::{counts, levels, seconds};
use super::own::{OwnMetric, OwnSeries};
use super::proxy::level;
use super::rounds::advance;

/// The counts of one plugin since it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginMetrics {
    /// Its name in the policy file.
    pub name: String,
    /// Calls of the guest.
    pub calls: u64,
    /// Services passed in these calls.
    pub asked: u64,
    /// Questions answered from the cache.
    pub remembered: u64,
    /// Failed calls, by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// Questions answered by a fallback.
    pub fallbacks: u64,
    /// Time in calls.
    pub time: Duration,
    /// The most memory that an instance had, in bytes.
    pub peak_memory: u64,
    /// Log lines that were dropped because there were too many.
    pub dropped_lines: u64,
    /// Whether a repeated question got a different answer, so that its answers are not cached.
    pub is_impure: bool,
    /// Whether it is being called.
    pub condition: PluginCondition,
    /// Its own metrics.
    pub own: Vec<OwnMetric>,
}

/// Whether a plugin is being called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginCondition {
    /// Yes.
    Ready,
    /// Not for a while, because it failed too often.
    Suspended,
    /// Not until the plugin or its configuration changes.
    GivenUp,
}

/// The outcome of replacing plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// The new plugins are active.
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
    const NOT_TAKEN: [ReloadResult; 3] = [ReloadResult::Held, ReloadResult::Broken, ReloadResult::Refused];

    fn label(self) -> &'static str {
        match self {
            ReloadResult::Taken => "taken",
            ReloadResult::Held => "held",
            ReloadResult::Broken => "broken",
            ReloadResult::Refused => "refused",
        }
    }
}

/// The series, and the counts they were made from.
pub(super) struct PluginSeries {
    calls: IntCounterVec,
    asked: IntCounterVec,
    remembered: IntCounterVec,
    failures: IntCounterVec,
    fallbacks: IntCounterVec,
    time: CounterVec,
    peak_memory: IntGaugeVec,
    dropped_lines: IntCounterVec,
    impure: IntGaugeVec,
    condition: IntGaugeVec,
    reloads: IntCounterVec,
    not_taken: IntGaugeVec,
    samples: IntCounterVec,
    sampling: CounterVec,
    own: OwnSeries,
    shown: BTreeMap<String, Shown>,
}

/// What is exported for a plugin.
struct Shown {
    account: PluginMetrics,
    /// The failure reasons that have a series, including those of earlier counts.
    failures: Vec<&'static str>,
}

impl PluginSeries {
    pub(super) fn new(registry: &Registry) -> PluginSeries {
        let count = |name, help| counts(registry, Opts::new(name, help), &["plugin"]);
        let series = PluginSeries {
            calls: count("weir_plugin_calls_total", "Calls to plugins."),
            asked: count("weir_plugin_asked_total", "Services passed to plugins in calls."),
            remembered: count("weir_plugin_remembered_total", "Questions answered from the cache."),
            failures: counts(
                registry,
                Opts::new("weir_plugin_failures_total", "Failed calls to plugins, by reason."),
                &["plugin", "reason"],
            ),
            fallbacks: count(
                "weir_plugin_fallbacks_total",
                "Questions answered by a fallback: an earlier answer or no answer.",
            ),
            time: seconds(
                registry,
                Opts::new("weir_plugin_seconds_total", "Time spent in calls to plugins."),
                &["plugin"],
            ),
            peak_memory: levels(
                registry,
                Opts::new("weir_plugin_peak_memory_bytes", "Peak memory of an instance of the plugin."),
                &["plugin"],
            ),
            dropped_lines: count("weir_plugin_dropped_lines_total", "Dropped log lines of plugins."),
            impure: levels(
                registry,
                Opts::new(
                    "weir_plugin_impure",
                    "1 if the plugin gave different answers to the same question, so that they are not cached.",
                ),
                &["plugin"],
            ),
            condition: levels(
                registry,
                Opts::new("weir_plugin_condition", "1 for the current condition of the plugin."),
                &["plugin", "condition"],
            ),
            reloads: counts(
                registry,
                Opts::new("weir_plugin_reloads_total", "Plugin reloads, by result."),
                &["result"],
            ),
            not_taken: levels(
                registry,
                Opts::new(
                    "weir_plugins_not_taken",
                    "Plugins or policy files that are not in use, by reason.",
                ),
                &["result"],
            ),
            samples: counts(
                registry,
                Opts::new("weir_samples_total", "Services whose counters were read for plugins."),
                &["result"],
            ),
            sampling: seconds(
                registry,
                Opts::new("weir_sampling_seconds_total", "Time spent reading counters for plugins."),
                &[],
            ),
            own: OwnSeries::new(registry),
            shown: BTreeMap::new(),
        };
        // A rate needs the zero before the first event.
        for result in ReloadResult::ALL {
            series.reloads.with_label_values(&[result.label()]);
        }
        for result in ReloadResult::NOT_TAKEN {
            series.not_taken.with_label_values(&[result.label()]);
        }
        series.sampled(0, 0, Duration::ZERO);
        series
    }

    pub(super) fn reloaded(&self, result: ReloadResult) {
        self.reloads.with_label_values(&[result.label()]).inc();
        // A refused file says nothing about plugins that were held back before.
        if result != ReloadResult::Refused {
            for held in [ReloadResult::Held, ReloadResult::Broken] {
                self.not_taken.with_label_values(&[held.label()]).set(i64::from(held == result));
            }
        }
    }

    pub(super) fn refused(&self, plugins: u64) {
        self.not_taken.with_label_values(&[ReloadResult::Refused.label()]).set(level(plugins));
    }

    pub(super) fn sampled(&self, read: u64, failed: u64, time: Duration) {
        self.samples.with_label_values(&["read"]).inc_by(read);
        self.samples.with_label_values(&["failed"]).inc_by(failed);
        self.sampling.with_label_values::<&str>(&[]).inc_by(time.as_secs_f64());
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
        self.impure.with_label_values(plugin).set(i64::from(now.is_impure));
        for condition in PluginCondition::ALL {
            let labels = [now.name.as_str(), condition.label()];
            self.condition.with_label_values(&labels).set(i64::from(condition == now.condition));
        }
    }

    /// Removes a plugin's series. All of them were created, so this cannot fail; if it did, nothing would be lost.
    fn forget(&self, name: &str, failures: &[&'static str]) {
        for series in [&self.calls, &self.asked, &self.remembered, &self.fallbacks, &self.dropped_lines] {
            let _ = series.remove_label_values(&[name]);
        }
        for word in failures {
            let _ = self.failures.remove_label_values(&[name, word]);
        }
        let _ = self.time.remove_label_values(&[name]);
        let _ = self.peak_memory.remove_label_values(&[name]);
        let _ = self.impure.remove_label_values(&[name]);
        for condition in PluginCondition::ALL {
            let _ = self.condition.remove_label_values(&[name, condition.label()]);
        }
    }
}

impl PluginMetrics {
    /// The counts of the same plugin before anything happened.
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
            is_impure: false,
            condition: now.condition,
            own: Vec::new(),
        }
    }

    /// Whether these counts started after the others: within one plugin instance, no count falls.
    fn is_anew(&self, before: &PluginMetrics) -> bool {
        let failed = |account: &PluginMetrics| account.failures.values().sum::<u64>();
        self.calls < before.calls
            || self.asked < before.asked
            || self.remembered < before.remembered
            || failed(self) < failed(before)
            || self.fallbacks < before.fallbacks
            || self.time < before.time
            || self.dropped_lines < before.dropped_lines
    }
}
