//! The daemon's part of a configuration, in addition to what affects plans.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::{Configuration, validate};

/// `conntrack`: the settings of connection tracking. Zero, or false, keeps the kernel's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// `maxPerCore`: connections per online processor, from which the maximum number of connections follows.
    pub max_per_core: u64,
    /// `min`: the lower limit of that maximum; has no effect without `maxPerCore`.
    pub min: u64,
    /// `tcpEstablishedTimeout`: how long an established TCP connection is remembered without packets.
    pub tcp_established_timeout: Duration,
    /// `tcpCloseWaitTimeout`: the same in CLOSE_WAIT.
    pub tcp_close_wait_timeout: Duration,
    /// `tcpBeLiberal`: whether TCP packets outside the window are tracked anyway.
    pub tcp_be_liberal: bool,
    /// `udpTimeout`: how long a UDP flow without replies is remembered.
    pub udp_timeout: Duration,
    /// `udpStreamTimeout`: how long a UDP flow with replies is remembered.
    pub udp_stream_timeout: Duration,
}

/// `clientConnection`: how to connect to the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConnection {
    /// `kubeconfig`: the path of a kubeconfig file; empty if not set.
    pub kubeconfig: String,
    /// `acceptContentTypes`; has no effect, because weir always uses JSON.
    pub accept_content_types: String,
    /// `contentType`; has no effect, because weir always uses JSON.
    pub content_type: String,
    /// `qps`: the maximum number of requests per second, on average; negative means no limit.
    pub qps: f64,
    /// `burst`: how many requests may be sent at once.
    pub burst: u32,
}

/// The log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// `logging`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `format`
    pub format: LogFormat,
    /// `verbosity`: 0 is the lowest; kube-proxy's messages for operators go up to 4.
    pub verbosity: u32,
}

impl Configuration {
    /// `conntrack`
    pub fn conntrack(&self) -> Conntrack {
        let count = |path| self.number(path).and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        let time = |path| self.duration(path).unwrap_or_default();
        Conntrack {
            max_per_core: count("conntrack.maxPerCore"),
            min: count("conntrack.min"),
            tcp_established_timeout: time("conntrack.tcpEstablishedTimeout"),
            tcp_close_wait_timeout: time("conntrack.tcpCloseWaitTimeout"),
            tcp_be_liberal: self.is_on("conntrack.tcpBeLiberal"),
            udp_timeout: time("conntrack.udpTimeout"),
            udp_stream_timeout: time("conntrack.udpStreamTimeout"),
        }
    }

    /// `clientConnection`
    pub fn client_connection(&self) -> ClientConnection {
        let text = |path| self.text(path).to_owned();
        let burst = self.number("clientConnection.burst");
        ClientConnection {
            kubeconfig: text("clientConnection.kubeconfig"),
            accept_content_types: text("clientConnection.acceptContentTypes"),
            content_type: text("clientConnection.contentType"),
            qps: self.get("clientConnection.qps").and_then(Value::as_f64).unwrap_or_default(),
            burst: burst.and_then(|burst| u32::try_from(burst).ok()).unwrap_or_default(),
        }
    }

    /// `logging`
    pub fn logging(&self) -> Logging {
        let format = if self.text("logging.format") == "json" { LogFormat::Json } else { LogFormat::Text };
        let verbosity = self.number("logging.verbosity").and_then(|v| u32::try_from(v).ok());
        Logging { format, verbosity: verbosity.unwrap_or_default() }
    }

    /// `oomScoreAdj`
    pub fn oom_score_adj(&self) -> i64 {
        self.number("oomScoreAdj").unwrap_or_default()
    }

    /// `healthzBindAddress`; `None` = disabled.
    pub fn healthz_bind_address(&self) -> Option<SocketAddr> {
        validate::socket_address(self.text("healthzBindAddress"))
    }

    /// `metricsBindAddress`; `None` = disabled.
    pub fn metrics_bind_address(&self) -> Option<SocketAddr> {
        validate::socket_address(self.text("metricsBindAddress"))
    }

    /// `bindAddressHardFail`: whether the daemon exits if one of these addresses cannot be bound.
    pub fn bind_address_hard_fail(&self) -> bool {
        self.is_on("bindAddressHardFail")
    }

    /// `enableProfiling`
    pub fn enable_profiling(&self) -> bool {
        self.is_on("enableProfiling")
    }

    /// `showHiddenMetricsForVersion`, if it is set; only the previous version is allowed.
    pub fn show_hidden_metrics(&self) -> bool {
        !self.text("showHiddenMetricsForVersion").is_empty()
    }

    /// `configSyncPeriod`
    pub fn config_sync_period(&self) -> Duration {
        self.duration("configSyncPeriod").unwrap_or_default()
    }
}
