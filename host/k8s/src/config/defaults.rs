//! Defaults of unset fields (kube-proxy's `pkg/proxy/apis/config/v1alpha1/defaults.go`).

use serde_json::{Map, Value, json};
use weir_core::net::parse_ip_sloppy;

use super::duration::{format_duration, parse_duration};
use super::{fields, schema};
use crate::problem::{Problems, abridged};

/// Defaults of absent fields; an explicit zero is kept.
const ABSENT: &[(&str, Fixed)] = &[
    ("oomScoreAdj", Fixed::Number(-999)),
    ("iptables.localhostNodePorts", Fixed::Yes),
    ("iptables.masqueradeBit", Fixed::Number(14)),
    ("nftables.masqueradeBit", Fixed::Number(14)),
    ("conntrack.maxPerCore", Fixed::Number(32 * 1024)),
    ("conntrack.min", Fixed::Number(128 * 1024)),
    ("conntrack.tcpEstablishedTimeout", Fixed::Text("24h0m0s")),
    ("conntrack.tcpCloseWaitTimeout", Fixed::Text("1h0m0s")),
];

/// Defaults of fields that are absent or zero.
const ZERO: &[(&str, Fixed)] = &[
    ("mode", Fixed::Text("ipvs")),
    ("bindAddress", Fixed::Text("0.0.0.0")),
    ("detectLocalMode", Fixed::Text("ClusterCIDR")),
    ("ipvs.syncPeriod", Fixed::Text("30s")),
    ("configSyncPeriod", Fixed::Text("15m0s")),
    ("clientConnection.contentType", Fixed::Text("application/vnd.kubernetes.protobuf")),
    ("clientConnection.qps", Fixed::Number(5)),
    ("clientConnection.burst", Fixed::Number(10)),
    ("logging.format", Fixed::Text("text")),
    ("logging.flushFrequency", Fixed::Text("5s")),
];

/// Fields that only other modes, systems or log libraries use, with their neutral values.
const NO_EFFECT: &[(&str, Fixed)] = &[
    ("iptables.localhostNodePorts", Fixed::Yes),
    ("iptables.syncPeriod", Fixed::Text("30s")),
    ("iptables.minSyncPeriod", Fixed::Text("1s")),
    ("nftables.masqueradeBit", Fixed::Number(14)),
    ("nftables.masqueradeAll", Fixed::No),
    ("nftables.syncPeriod", Fixed::Text("30s")),
    ("nftables.minSyncPeriod", Fixed::Text("1s")),
    ("winkernel.networkName", Fixed::Text("")),
    ("winkernel.sourceVip", Fixed::Text("")),
    ("winkernel.enableDSR", Fixed::No),
    ("winkernel.rootHnsEndpointName", Fixed::Text("")),
    ("winkernel.forwardHealthCheckVip", Fixed::No),
    ("windowsRunAsService", Fixed::No),
    ("portRange", Fixed::Text("")),
    ("logging.flushFrequency", Fixed::Text("5s")),
    ("logging.vmodule", Fixed::Text("")),
    ("logging.options.text.splitStream", Fixed::No),
    ("logging.options.text.infoBufferSize", Fixed::Text("0")),
    ("logging.options.json.splitStream", Fixed::No),
    ("logging.options.json.infoBufferSize", Fixed::Text("0")),
];

/// The fields above that kube-proxy omits when it writes a configuration for mode ipvs.
const OF_OTHER_MODES: [&str; 5] = [
    "iptables.syncPeriod",
    "iptables.minSyncPeriod",
    "nftables.masqueradeAll",
    "nftables.syncPeriod",
    "nftables.minSyncPeriod",
];

#[derive(Clone, Copy)]
enum Fixed {
    Text(&'static str),
    Number(i64),
    Yes,
    No,
}

impl Fixed {
    fn value(self) -> Value {
        match self {
            Fixed::Text(text) => json!(text),
            Fixed::Number(number) => json!(number),
            Fixed::Yes => json!(true),
            Fixed::No => json!(false),
        }
    }
}

/// The default ports of kube-proxy's two servers (`pkg/cluster/ports`).
const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;

/// Sets defaults as for a file.
pub(super) fn fill(values: &mut Map<String, Value>) {
    for (path, fixed) in ABSENT {
        if fields::get(values, path).is_none() {
            fields::set(values, path, fixed.value());
        }
    }
    for (path, fixed) in ZERO {
        if fields::get(values, path).is_none_or(is_zero) {
            fields::set(values, path, fixed.value());
        }
    }
    let bind = fields::text(values, "bindAddress");
    // Anything but an IPv4 address; invalid ones are refused later.
    let any_v6 = parse_ip_sloppy(bind).is_none_or(|ip| ip.is_ipv6());
    let (healthz, metrics) = if any_v6 { ("::", "::1") } else { ("0.0.0.0", "127.0.0.1") };
    for (field, address, port) in
        [("healthzBindAddress", healthz, HEALTHZ_PORT), ("metricsBindAddress", metrics, METRICS_PORT)]
    {
        let given = fields::text(values, field);
        let whole = with_port(if given.is_empty() { address } else { given }, port);
        fields::set(values, field, json!(whole));
    }
}

/// Completes what [`fill`] leaves open, and converts it to the form in which kube-proxy writes it.
pub(super) fn normalise(values: &mut Map<String, Value>) {
    for path in schema::durations() {
        let nanos = fields::get(values, path).and_then(Value::as_u64).map(std::time::Duration::from_nanos);
        if let Some(duration) = nanos.or_else(|| parse_duration(fields::text(values, path))) {
            fields::set(values, path, json!(format_duration(duration)));
        }
    }
    for path in OF_OTHER_MODES {
        fields::remove(values, path);
    }
    for (path, empty) in schema::empty_values() {
        if fields::get(values, path).is_none() {
            fields::set(values, path, empty);
        }
    }
    for path in ["logging.options.text.infoBufferSize", "logging.options.json.infoBufferSize"] {
        if let Some(Value::Number(number)) = fields::get(values, path) {
            let text = number.to_string();
            fields::set(values, path, json!(text));
        }
    }
    for path in
        ["logging.options.text.splitStream", "logging.options.json.splitStream", "windowsRunAsService"]
    {
        if fields::get(values, path).is_some_and(is_zero) {
            fields::remove(values, path);
        }
    }
    let qps = fields::get(values, "clientConnection.qps").and_then(Value::as_f64);
    if let Some(qps) = qps.filter(|qps| qps.fract() == 0.0 && qps.abs() < 1e9) {
        #[allow(clippy::cast_possible_truncation)] // It is a small whole number.
        fields::set(values, "clientConnection.qps", json!(qps as i64));
    }
}

/// Whether a field has no effect in IPVS mode or in weir.
pub(super) fn is_without_effect(path: &str) -> bool {
    NO_EFFECT.iter().any(|(known, _)| *known == path)
}

/// Adds one warning with all fields that were set but have no effect.
pub(super) fn note_without_effect(values: &Map<String, Value>, warnings: &mut Problems) {
    let silent = |path: &str, value: &Value| {
        let default = NO_EFFECT.iter().find(|(known, _)| *known == path).map(|(_, fixed)| fixed.value());
        let same = |other: &Value| match (value.as_str(), other.as_str()) {
            (Some(a), Some(b)) if a != b => {
                parse_duration(a).is_some() && parse_duration(a) == parse_duration(b)
            }
            _ => value == other,
        };
        // False matters where true is the default.
        let zero = is_zero(value) && !matches!(value, Value::Bool(false));
        zero || default.is_some_and(|default| same(&default))
    };
    let told: Vec<String> = NO_EFFECT
        .iter()
        .filter_map(|(path, _)| Some((path, fields::get(values, path)?)))
        .filter(|(path, value)| !silent(path, value))
        .map(|(path, value)| format!("{path} ({})", abridged(value)))
        .collect();
    if !told.is_empty() {
        warnings.note("", "", format!("fields without effect in weir: {}", told.join(", ")));
    }
}

/// Adds a port to an address without one; anything else is unchanged.
pub fn with_port(address: &str, port: u16) -> String {
    match parse_ip_sloppy(address) {
        Some(ip) if ip.is_ipv4() => format!("{address}:{port}"),
        Some(_) => format!("[{address}]:{port}"),
        None => address.to_owned(),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || parse_duration(text).is_some_and(|d| d.is_zero()),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}
