//! weir-serve: what a node serves over HTTP, from health answers for load balancers to metrics.
//!
//! ```text
//!  sync thread                                        thread "weir-http" (one tokio runtime)
//!  Health ──────── a lock, held for a few loads ────▶ /healthz  /livez
//!  HealthCheckPorts ── listeners, and counts ───────▶ one port per service: 200 or 503
//!  Metrics ─────── atomic numbers ──────────────────▶ /metrics  /metrics/slis  /healthz  /proxyMode  /configz
//!  Page ────────── made by the caller's function ────▶ beside /metrics
//! ```
//!
//! Codes, headers and bodies are kube-proxy's, because load balancers and dashboards were written for them.
//!
//! Requests and the sync thread never wait for each other. Memory, connections and the time of each client are limited,
//! and request bodies are not read. There are no profiling or debugging pages (`/debug/*`, `/flagz`, `/statusz`), no
//! TLS, no credentials, and nothing that is not public.

mod connections;
mod health;
mod http;
mod listen;
mod metrics;
mod moment;
mod ports;
mod server;

pub use connections::Limits;
pub use health::{Health, NodeState, TO_BE_DELETED_TAINT};
pub use http::{ContentType, Page};
pub use listen::BindError;
pub use metrics::client::{ClientMetrics, RequestOutcome, Resource};
pub use metrics::own::{OwnKind, OwnMetric};
pub use metrics::plugins::{PluginCondition, PluginMetrics, ReloadResult};
pub use metrics::proxy::ProxyMetrics;
pub use metrics::rounds::{KernelWork, RoundMetrics, RoundResult, Step};
pub use metrics::{BuildInfo, Metrics};
pub use moment::{Clock, Moment};
pub use ports::{HealthCheckPorts, ListenAddresses, PortFailure};
pub use server::{BindFailure, Options, Server, StartError};
