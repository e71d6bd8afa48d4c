//! The client of the API server.

use std::time::SystemTime;

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};

use super::declare::{counts, gauges};
use super::proxy::timestamp;

/// Metrics of the API client. Clones share their state.
#[derive(Clone)]
pub struct ClientMetrics {
    requests: IntCounterVec,
    watch_errors: IntCounterVec,
    contact: GaugeVec,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// An answer with this HTTP status.
    Status(u16),
    /// No answer.
    Error,
}

/// A watched resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Services.
    Services,
    /// EndpointSlices.
    EndpointSlices,
    /// Nodes.
    Nodes,
    /// Namespaces.
    Namespaces,
    /// ServiceCIDRs.
    ServiceCidrs,
}

impl Resource {
    const ALL: [Resource; 5] = [
        Resource::Services,
        Resource::EndpointSlices,
        Resource::Nodes,
        Resource::Namespaces,
        Resource::ServiceCidrs,
    ];

    fn label(self) -> &'static str {
        match self {
            Resource::Services => "services",
            Resource::EndpointSlices => "endpointslices",
            Resource::Nodes => "nodes",
            Resource::Namespaces => "namespaces",
            Resource::ServiceCidrs => "servicecidrs",
        }
    }
}

impl ClientMetrics {
    pub(super) fn new(registry: &Registry) -> ClientMetrics {
        let metrics = ClientMetrics {
            // client-go's: `staging/src/k8s.io/component-base/metrics/prometheus/restclient/metrics.go`.
            requests: counts(
                registry,
                Opts::new(
                    "rest_client_requests_total",
                    "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.",
                ),
                &["code", "method", "host"],
            ),
            watch_errors: counts(
                registry,
                Opts::new("weir_watch_errors_total", "Watches that ended with an error, by resource."),
                &["resource"],
            ),
            contact: gauges(
                registry,
                Opts::new(
                    "weir_api_last_contact_timestamp_seconds",
                    "The last time the API server answered or sent data; before the first contact, weir's start.",
                ),
                &[],
            ),
        };
        for resource in Resource::ALL {
            metrics.watch_errors.with_label_values(&[resource.label()]);
        }
        metrics
    }

    /// Sets the number of requests with this outcome. `method` is in capitals; `host` is the API server's, with its
    /// port.
    pub fn requested(&self, outcome: RequestOutcome, method: &str, host: &str, total: u64) {
        let code = match outcome {
            RequestOutcome::Status(status) => status.to_string(),
            RequestOutcome::Error => "<error>".to_owned(),
        };
        let counter = self.requests.with_label_values(&[code.as_str(), method, host]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// Counts a watch that ended with an error, as opposed to the regular end of every watch.
    pub fn watch_failed(&self, resource: Resource) {
        self.watch_errors.with_label_values(&[resource.label()]).inc();
    }

    /// Records when the API server last answered, or sent an event or bookmark; before that, when weir started.
    pub fn contact(&self, at: SystemTime) {
        self.contact.with_label_values::<&str>(&[]).set(timestamp(at));
    }
}
