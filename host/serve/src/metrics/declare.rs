//! Metrics declared once, with constant names: an invalid one fails in every test, not on a user's node.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};

/// Adds a metric to a registry.
pub(super) fn register(registry: &Registry, metric: impl Collector + 'static) {
    registry.register(Box::new(metric)).expect("each metric is declared once");
}

fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("names of metrics and labels are valid");
    register(registry, metric.clone());
    metric
}

/// Counters of integers.
pub(super) fn counts(registry: &Registry, options: Opts, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(options, labels))
}

/// Counters of seconds.
pub(super) fn seconds(registry: &Registry, options: Opts, labels: &[&str]) -> CounterVec {
    registered(registry, CounterVec::new(options, labels))
}

/// Gauges of integers.
pub(super) fn levels(registry: &Registry, options: Opts, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(options, labels))
}

/// Gauges of any number.
pub(super) fn gauges(registry: &Registry, options: Opts, labels: &[&str]) -> GaugeVec {
    registered(registry, GaugeVec::new(options, labels))
}

/// Histograms of seconds.
pub(super) fn histograms(registry: &Registry, options: HistogramOpts, labels: &[&str]) -> HistogramVec {
    registered(registry, HistogramVec::new(options, labels))
}

/// `count` upper bounds from `first`, each `factor` times the previous one.
pub(super) fn exponential(first: f64, factor: f64, count: i32) -> Vec<f64> {
    // Multiplied step by step, as in Go's ExponentialBuckets, so that rounding is the same.
    std::iter::successors(Some(first), |bound| Some(bound * factor)).take(count.max(0) as usize).collect()
}
