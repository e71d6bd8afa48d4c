//! The metrics of `/metrics/slis`: the only health check of the metrics server, which always succeeds.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::declare::{counts, gauges, levels};
use super::process;
use super::text;

/// Metrics in a separate registry (`staging/src/k8s.io/component-base/metrics/prometheus/slis`).
#[derive(Clone)]
pub(crate) struct Slis {
    registry: Registry,
    check: IntGaugeVec,
    checks: IntCounterVec,
}

impl Slis {
    pub(super) fn new() -> Slis {
        let registry = Registry::new();
        let options = |name, help: &str| Opts::new(name, format!("[STABLE] {help}"));
        let check =
            options("kubernetes_healthcheck", "This metric records the result of a single healthcheck.");
        let checks =
            options("kubernetes_healthchecks_total", "This metric records the results of all healthcheck.");
        let start = Opts::new(
            "process_start_time_seconds",
            "[ALPHA] Start time of the process since unix epoch in seconds.",
        );
        let start = gauges(&registry, start, &[]);
        if let Some(time) = process::start_time() {
            start.with_label_values::<&str>(&[]).set(time);
        }
        Slis {
            check: levels(&registry, check, &["name", "type"]),
            checks: counts(&registry, checks, &["name", "type", "status"]),
            registry,
        }
    }

    /// Counts a success of the check `ping` of `/healthz`.
    pub(crate) fn ping(&self) {
        self.check.with_label_values(&["ping", "healthz"]).set(1);
        self.checks.with_label_values(&["ping", "healthz", "success"]).inc();
    }

    /// Resets the counts.
    pub(crate) fn reset(&self) {
        self.check.reset();
        self.checks.reset();
    }

    pub(crate) fn text(&self) -> String {
        text(&self.registry)
    }
}
