//! What is published about plugins.

use std::time::Duration;

use weir_policy::{Condition, MetricKind, Replacement, Status};
use weir_serve::{OwnKind, OwnMetric, PluginCondition, PluginMetrics, ReloadResult};
use weir_watch::Severity;

use super::Publisher;

impl Publisher {
    /// Publishes what plugins did and cost since the start.
    pub(crate) fn plugins(&self, status: Vec<Status>) {
        let metrics = |status: Status| {
            let account = status.account;
            PluginMetrics {
                name: status.name,
                calls: account.calls,
                asked: account.asked,
                remembered: account.remembered,
                failures: account.failures,
                fallbacks: account.fallbacks,
                time: account.time,
                peak_memory: account.peak_memory,
                dropped_lines: account.dropped_lines,
                is_impure: account.impure > 0,
                condition: match status.condition {
                    Condition::Ready => PluginCondition::Ready,
                    Condition::Suspended(_) => PluginCondition::Suspended,
                    Condition::GivenUp => PluginCondition::GivenUp,
                },
                own: status.facts.metrics.into_iter().zip(status.totals).map(own_metric).collect(),
            }
        };
        self.metrics.plugins(&status.into_iter().map(metrics).collect::<Vec<_>>());
    }

    /// Publishes that counters were read for plugins.
    pub(crate) fn sampled(&self, read: u64, failed: u64, time: Duration) {
        self.metrics.sampled(read, failed, time);
    }

    /// Publishes why plugins, or the whole policy file, cannot be used. `in_all` also counts those told before.
    pub(crate) fn refused(&self, news: &[String], in_all: usize) {
        self.metrics.refused(in_all as u64);
        for text in news {
            self.about_node(Severity::Warning, "PolicyRefused", "LoadPolicy", text.clone());
        }
    }

    /// Publishes the same about files that changed.
    pub(crate) fn reload_refused(&self, news: &[String], in_all: usize) {
        news.iter().for_each(|_| self.metrics.reloaded(ReloadResult::Refused));
        self.refused(news, in_all);
    }

    /// Publishes the outcome of replacing plugins.
    pub(crate) fn replaced(&self, replacement: &Replacement) {
        let (result, severity, reason) = match replacement {
            Replacement::Taken { .. } => (ReloadResult::Taken, Severity::Normal, "PolicyTaken"),
            Replacement::Held { .. } => (ReloadResult::Held, Severity::Warning, "PolicyHeld"),
            Replacement::Broken(_) => (ReloadResult::Broken, Severity::Warning, "PolicyBroken"),
        };
        self.metrics.reloaded(result);
        self.about_node(severity, reason, "LoadPolicy", replacement.to_string());
    }
}

fn own_metric((metric, value): (weir_policy::Metric, u128)) -> OwnMetric {
    let kind = match metric.kind {
        MetricKind::Sum | MetricKind::Max => OwnKind::Gauge,
        MetricKind::Counter => OwnKind::Counter,
    };
    OwnMetric { name: metric.name, help: metric.help, kind, value }
}
