//! The fields of the file and their types.

use serde_json::{Map, Value};

use super::duration::parse_duration;
use super::hint::hint;
use crate::problem::{Problems, abridged};

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Bool,
    Number,
    /// A duration as text.
    Duration,
    Texts,
    /// Names with `true` or `false`.
    Gates,
    /// A duration, or a number of nanoseconds.
    Interval,
    /// A number of bytes, or a text such as `512Ki`.
    Quantity,
    /// File patterns, each with a number.
    Modules,
    /// Other fields, listed by their paths.
    Section,
}

use Kind::{Bool, Duration, Gates, Interval, Modules, Number, Quantity, Section, Text, Texts};

/// Every field of v1alpha1, by its path (`staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go`).
const FIELDS: &[(&str, Kind)] = &[
    ("apiVersion", Text),
    ("kind", Text),
    ("featureGates", Gates),
    ("clientConnection", Section),
    ("clientConnection.kubeconfig", Text),
    ("clientConnection.acceptContentTypes", Text),
    ("clientConnection.contentType", Text),
    ("clientConnection.qps", Number),
    ("clientConnection.burst", Number),
    ("logging", Section),
    ("logging.format", Text),
    ("logging.flushFrequency", Interval),
    ("logging.verbosity", Number),
    ("logging.vmodule", Modules),
    ("logging.options", Section),
    ("logging.options.text", Section),
    ("logging.options.text.splitStream", Bool),
    ("logging.options.text.infoBufferSize", Quantity),
    ("logging.options.json", Section),
    ("logging.options.json.splitStream", Bool),
    ("logging.options.json.infoBufferSize", Quantity),
    ("hostnameOverride", Text),
    ("bindAddress", Text),
    ("healthzBindAddress", Text),
    ("metricsBindAddress", Text),
    ("bindAddressHardFail", Bool),
    ("enableProfiling", Bool),
    ("showHiddenMetricsForVersion", Text),
    ("mode", Text),
    ("iptables", Section),
    ("iptables.masqueradeBit", Number),
    ("iptables.masqueradeAll", Bool),
    ("iptables.localhostNodePorts", Bool),
    ("iptables.syncPeriod", Duration),
    ("iptables.minSyncPeriod", Duration),
    ("ipvs", Section),
    ("ipvs.syncPeriod", Duration),
    ("ipvs.minSyncPeriod", Duration),
    ("ipvs.scheduler", Text),
    ("ipvs.excludeCIDRs", Texts),
    ("ipvs.strictARP", Bool),
    ("ipvs.tcpTimeout", Duration),
    ("ipvs.tcpFinTimeout", Duration),
    ("ipvs.udpTimeout", Duration),
    ("nftables", Section),
    ("nftables.masqueradeBit", Number),
    ("nftables.masqueradeAll", Bool),
    ("nftables.syncPeriod", Duration),
    ("nftables.minSyncPeriod", Duration),
    ("winkernel", Section),
    ("winkernel.networkName", Text),
    ("winkernel.sourceVip", Text),
    ("winkernel.enableDSR", Bool),
    ("winkernel.rootHnsEndpointName", Text),
    ("winkernel.forwardHealthCheckVip", Bool),
    ("detectLocalMode", Text),
    ("detectLocal", Section),
    ("detectLocal.bridgeInterface", Text),
    ("detectLocal.interfaceNamePrefix", Text),
    ("clusterCIDR", Text),
    ("nodePortAddresses", Texts),
    ("oomScoreAdj", Number),
    ("conntrack", Section),
    ("conntrack.maxPerCore", Number),
    ("conntrack.min", Number),
    ("conntrack.tcpEstablishedTimeout", Duration),
    ("conntrack.tcpCloseWaitTimeout", Duration),
    ("conntrack.tcpBeLiberal", Bool),
    ("conntrack.udpTimeout", Duration),
    ("conntrack.udpStreamTimeout", Duration),
    ("configSyncPeriod", Duration),
    ("portRange", Text),
    ("windowsRunAsService", Bool),
];

/// Keeps the known fields of the right type. Unknown keys are warnings, wrong types are errors.
pub(super) fn read(value: Value, warnings: &mut Problems, errors: &mut Problems) -> Map<String, Value> {
    match value {
        Value::Object(fields) => read_section("", fields, warnings, errors),
        other => {
            errors.note("", abridged(&other), "the file must contain keys and values");
            Map::new()
        }
    }
}

fn read_section(
    section: &str,
    fields: Map<String, Value>,
    warnings: &mut Problems,
    errors: &mut Problems,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for (key, value) in fields {
        let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        let Some((_, kind)) = FIELDS.iter().find(|(known, _)| *known == path) else {
            warnings.note(path.clone(), "", format!("unknown key, ignored{}", hint(&path)));
            continue;
        };
        match value {
            Value::Null => {}
            Value::Object(inner) if *kind == Section => {
                kept.insert(key, Value::Object(read_section(&path, inner, warnings, errors)));
            }
            value => {
                let value = as_kube_proxy_reads(*kind, value);
                match why_not(*kind, &value) {
                    None => {
                        kept.insert(key, value);
                    }
                    Some(allowed) => errors.note(path, abridged(&value), allowed),
                }
            }
        }
    }
    kept
}

/// YAML 1.1, which kube-proxy reads, has more words for true and false than YAML 1.2, and whole numbers may be
/// written with decimals.
fn as_kube_proxy_reads(kind: Kind, value: Value) -> Value {
    match (kind, value) {
        (Bool, Value::String(text)) => match text.as_str() {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
            _ => Value::String(text),
        },
        (Gates, Value::Object(gates)) => {
            // In Go, null in a map of booleans means false.
            let is_on =
                |on: Value| if on.is_null() { Value::Bool(false) } else { as_kube_proxy_reads(Bool, on) };
            Value::Object(gates.into_iter().map(|(gate, on)| (gate, is_on(on))).collect())
        }
        (Number, Value::Number(number)) => match number.as_f64().filter(|float| float.fract() == 0.0) {
            // A whole float formats without exponent and decimals.
            Some(float) if number.is_f64() => {
                format!("{float:.0}").parse::<i64>().map_or(Value::Number(number), Value::from)
            }
            _ => Value::Number(number),
        },
        (_, value) => value,
    }
}

/// What is expected, if the value is invalid.
fn why_not(kind: Kind, value: &Value) -> Option<&'static str> {
    match (kind, value) {
        (Text, Value::String(_)) | (Bool, Value::Bool(_)) => None,
        (Interval, Value::Number(number)) if number.is_i64() => None,
        (Interval, Value::String(text)) if is_duration(text) => None,
        (Quantity, Value::Number(_) | Value::String(_)) => None,
        (Modules, Value::Array(list)) if list.iter().all(is_module) => None,
        (Number, Value::Number(number)) if number.is_i64() || number.is_f64() => None,
        (Duration, Value::String(text)) if is_duration(text) => None,
        (Texts, Value::Array(list)) if list.iter().all(Value::is_string) => None,
        (Gates, Value::Object(gates)) if gates.values().all(Value::is_boolean) => None,
        (Text, _) => Some("expected a string"),
        (Bool, _) => Some("expected true or false"),
        (Number, _) => Some("expected a number"),
        (Duration | Interval, _) => Some("expected a duration such as 30s, 1m30s or 1.5h"),
        (Texts, _) => Some("expected a list of strings"),
        (Gates, _) => Some("expected names of feature gates, each with true or false"),
        (Quantity, _) => Some("expected a number of bytes such as 512Ki"),
        (Modules, _) => Some("expected a list of entries with filePattern and verbosity"),
        (Section, _) => Some("expected keys and values"),
    }
}

/// One entry of `logging.vmodule`.
fn is_module(value: &Value) -> bool {
    let pattern = value.get("filePattern").and_then(Value::as_str);
    pattern.is_some() && value.get("verbosity").is_none_or(Value::is_u64)
}

/// The fields with values, and what kube-proxy writes for unset ones.
pub(super) fn empty_values() -> impl Iterator<Item = (&'static str, Value)> {
    FIELDS.iter().filter_map(|(path, kind)| {
        let empty = match kind {
            Text => Value::from(""),
            Bool => Value::from(false),
            Number => Value::from(0),
            Duration | Interval => Value::from("0s"),
            Texts => Value::Null,
            Quantity => Value::from("0"),
            // Written only if set.
            Gates | Modules | Section => return None,
        };
        Some((*path, empty))
    })
}

/// The paths of all fields.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|(path, _)| *path)
}

/// The fields that are durations.
pub(super) fn durations() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().filter(|(_, kind)| matches!(kind, Duration | Interval)).map(|(path, _)| *path)
}

/// Includes negative durations, which validation refuses.
fn is_duration(text: &str) -> bool {
    parse_duration(text.strip_prefix('-').unwrap_or(text)).is_some()
}
