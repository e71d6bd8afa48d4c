//! kube-proxy's metrics in IPVS mode: `pkg/proxy/metrics/metrics.go` of Kubernetes 1.37.2.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use weir_core::net::Family;
use weir_core::standing::Scope;

use super::declare::{counts, exponential, gauges, histograms, levels};

/// kube-proxy's metrics. Clones share their state.
#[derive(Clone)]
pub struct ProxyMetrics {
    duration: HistogramVec,
    queued: GaugeVec,
    synced: GaugeVec,
    endpoint_changes_pending: IntGaugeVec,
    endpoint_changes: IntCounterVec,
    service_changes_pending: IntGaugeVec,
    service_changes: IntCounterVec,
    network_programming: HistogramVec,
    no_local_endpoints: IntGaugeVec,
    restore_failures: IntCounterVec,
    conntrack_duration: HistogramVec,
    conntrack_deleted: IntCounterVec,
    healthz: IntCounterVec,
    livez: IntCounterVec,
}

const FAMILY: &[&str] = &["ip_family"];
const CODE: &[&str] = &["code"];

fn family_label(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// Seconds since 1970; 0 for earlier times.
pub(super) fn timestamp(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl ProxyMetrics {
    pub(super) fn new(registry: &Registry) -> ProxyMetrics {
        let options =
            |name: &str, help: &str| Opts::new(format!("kubeproxy_{name}"), format!("[ALPHA] {help}"));
        let count = |name, help, labels| counts(registry, options(name, help), labels);
        let level = |name, help, labels| levels(registry, options(name, help), labels);
        let time = |name, help| gauges(registry, options(name, help), FAMILY);
        let histogram = |name, help, buckets| {
            let options = HistogramOpts { common_opts: options(name, help), buckets };
            histograms(registry, options, FAMILY)
        };
        ProxyMetrics {
            duration: histogram(
                "sync_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds",
                exponential(0.001, 2.0, 15),
            ),
            queued: time(
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "The last time a sync of proxy rules was queued",
            ),
            synced: time(
                "sync_proxy_rules_last_timestamp_seconds",
                "The last time proxy rules were successfully synced",
            ),
            endpoint_changes_pending: level(
                "sync_proxy_rules_endpoint_changes_pending",
                "Pending proxy rules Endpoint changes",
                &[],
            ),
            endpoint_changes: count(
                "sync_proxy_rules_endpoint_changes_total",
                "Cumulative proxy rules Endpoint changes",
                &[],
            ),
            service_changes_pending: level(
                "sync_proxy_rules_service_changes_pending",
                "Pending proxy rules Service changes",
                &[],
            ),
            service_changes: count(
                "sync_proxy_rules_service_changes_total",
                "Cumulative proxy rules Service changes",
                &[],
            ),
            network_programming: histogram(
                "network_programming_duration_seconds",
                "In Cluster Network Programming Latency in seconds",
                network_programming_bounds(),
            ),
            no_local_endpoints: level(
                "sync_proxy_rules_no_local_endpoints_total",
                "Number of services with a Local traffic policy and no endpoints",
                &["traffic_policy", "ip_family"],
            ),
            restore_failures: count(
                "sync_proxy_rules_iptables_restore_failures_total",
                "Cumulative proxy iptables restore failures",
                FAMILY,
            ),
            conntrack_duration: histogram(
                "conntrack_reconciler_sync_duration_seconds",
                "ReconcileConntrackFlowsLatency latency in seconds",
                exponential(0.001, 2.0, 15),
            ),
            conntrack_deleted: count(
                "conntrack_reconciler_deleted_entries_total",
                "Cumulative conntrack flows deleted by conntrack reconciler",
                FAMILY,
            ),
            healthz: count("proxy_healthz_total", "Cumulative proxy healthz HTTP status", CODE),
            livez: count("proxy_livez_total", "Cumulative proxy livez HTTP status", CODE),
        }
        .with_totals()
    }

    /// kube-proxy's metrics without labels exist from the start.
    fn with_totals(self) -> ProxyMetrics {
        self.endpoint_changes_pending.with_label_values::<&str>(&[]);
        self.service_changes_pending.with_label_values::<&str>(&[]);
        self.endpoint_changes.with_label_values::<&str>(&[]);
        self.service_changes.with_label_values::<&str>(&[]);
        self
    }

    /// Records how long a round of a family took, successful or not. Not called before everything was listed.
    pub fn synchronised(&self, family: Family, took: Duration) {
        self.duration.with_label_values(&[family_label(family)]).observe(took.as_secs_f64());
    }

    /// Records when a round was requested; also called when the loop starts.
    pub fn queued(&self, family: Family, at: SystemTime) {
        self.queued.with_label_values(&[family_label(family)]).set(timestamp(at));
    }

    /// Records when the kernel state of a family matched the plan; called together with `Health::updated`.
    pub fn updated(&self, family: Family, at: SystemTime) {
        self.synced.with_label_values(&[family_label(family)]).set(timestamp(at));
    }

    /// Counts EndpointSlice changes that arrived.
    pub fn endpoint_changes(&self, changes: u64) {
        self.endpoint_changes.with_label_values::<&str>(&[]).inc_by(changes);
    }

    /// Sets the number of EndpointSlice changes that are not in the kernel.
    pub fn endpoint_changes_pending(&self, changes: u64) {
        self.endpoint_changes_pending.with_label_values::<&str>(&[]).set(level(changes));
    }

    /// Counts Service changes that arrived. kube-proxy counts them once per family that it serves.
    pub fn service_changes(&self, changes: u64) {
        self.service_changes.with_label_values::<&str>(&[]).inc_by(changes);
    }

    /// Sets the number of Service changes that are not in the kernel.
    pub fn service_changes_pending(&self, changes: u64) {
        self.service_changes_pending.with_label_values::<&str>(&[]).set(level(changes));
    }

    /// Records how long after the time in the annotation `endpoints.kubernetes.io/last-change-trigger-time` a change
    /// was in the kernel. Not called for objects of an initial list, whose time says nothing about this process.
    pub fn network_programmed(&self, family: Family, after: Duration) {
        self.network_programming.with_label_values(&[family_label(family)]).observe(after.as_secs_f64());
    }

    /// Sets the number of services with a Local policy that have endpoints, but none on this node.
    pub fn no_local_endpoints(&self, scope: Scope, family: Family, services: u64) {
        let labels = [scope.label(), family_label(family)];
        self.no_local_endpoints.with_label_values(&labels).set(level(services));
    }

    /// Counts a refusal of rules by iptables-restore.
    pub fn restore_failed(&self, family: Family) {
        self.restore_failures.with_label_values(&[family_label(family)]).inc();
    }

    /// Records how long a search for UDP flows took, and how many flows it deleted.
    pub fn flows_forgotten(&self, family: Family, took: Duration, flows: u64) {
        self.conntrack_duration.with_label_values(&[family_label(family)]).observe(took.as_secs_f64());
        self.conntrack_deleted.with_label_values(&[family_label(family)]).inc_by(flows);
    }

    /// Counts an answer of `/healthz`.
    pub(crate) fn healthz(&self, code: StatusCode) {
        self.healthz.with_label_values(&[code.as_str()]).inc();
    }

    /// Counts an answer of `/livez`.
    pub(crate) fn livez(&self, code: StatusCode) {
        self.livez.with_label_values(&[code.as_str()]).inc();
    }
}

/// A count as a gauge value.
pub(super) fn level(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The bounds in seconds: 0.25, 0.5, each second to 59, every 5 s to 115, every 30 s to 300, and 0, because kube-proxy
/// merges lists into one that begins with 0 (`MergeBuckets` in `staging/src/k8s.io/component-base/metrics/buckets.go`).
fn network_programming_bounds() -> Vec<f64> {
    let whole = (1..60).chain((60..120).step_by(5)).chain((120..=300).step_by(30));
    [0.0, 0.25, 0.5].into_iter().chain(whole.map(f64::from)).collect()
}
