//! kube-proxy's configuration file: `KubeProxyConfiguration`, `kubeproxy.config.k8s.io/v1alpha1`.
//!
//! This module knows every field of the file, with its type and allowed values (kube-proxy 1.37,
//! `pkg/proxy/apis/config`), including the fields without effect in IPVS mode: it accepts every file that kube-proxy
//! accepts in this mode. All mistakes in a file are reported at once.
//!
//! A [`Configuration`] is what kube-proxy calls the effective configuration: every field has a value, in the form in
//! which `--write-config-to` writes it.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Map, Value};
use weir_core::net::{parse_cidr_sloppy, parse_ip_sloppy};
use weir_core::node::{DetectLocal, InternalLocal, NodePortAddress, ProxyConfig, Switch};
use weir_core::set::MAX_ELEMENTS;

use crate::document::{self, FaultKind, Format, KeyFault};
use crate::problem::{Problem, Problems};

mod daemon;
mod defaults;
mod duration;
mod families;
mod fields;
mod hint;
mod schema;
mod validate;
mod wrapper;

pub use daemon::{ClientConnection, Conntrack, LogFormat, Logging};
pub use defaults::with_port;
pub use duration::{format_duration, parse_duration};
pub use fields::set as set_field;

/// The supported version of the file.
const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// Its kind.
const KIND: &str = "KubeProxyConfiguration";

/// A valid configuration: all fields, with defaults where nothing was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    values: Map<String, Value>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Read {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is neither YAML nor JSON.
    #[error("not readable as YAML or JSON: {0}")]
    Syntax(String),
    /// It contains no document.
    #[error("the file is empty; expected one {KIND}")]
    Empty,
    /// Fields with invalid values.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
    match lines.len() {
        1 => lines[0].clone(),
        count => format!("{count} mistakes:\n  {}", lines.join("\n  ")),
    }
}

/// A configuration, and harmless problems: unknown and repeated keys, fields without effect, and fields that should
/// be set.
pub type Read = (Configuration, Vec<Problem>);

/// Reads a file. `over` overrides some of its fields: those from flags that take precedence over a file.
///
/// # Errors
/// Returns everything that is wrong with the file.
pub fn load(path: &Path, over: Map<String, Value>) -> Result<Read, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { source })?;
    parse(&text, over)
}

/// Parses the text of a file; see [`load`].
///
/// # Errors
/// Returns everything that is wrong with the file.
pub fn parse(text: &str, over: Map<String, Value>) -> Result<Read, ConfigError> {
    let format = if text.trim_start().starts_with('{') { Format::Json } else { Format::Yaml };
    let mut documents =
        document::parse(text, format).map_err(|error| ConfigError::Syntax(error.to_string()))?;
    documents.retain(|document| !document.value.is_null());
    let count = documents.len();
    let at = documents.iter().position(|document| document.value["kind"] == KIND).unwrap_or(0);
    let document = documents.into_iter().nth(at).ok_or(ConfigError::Empty)?;
    let around: Vec<KeyFault> = document.faults.clone();
    let (document, place) = wrapper::open(document).map_err(|problem| ConfigError::Invalid(vec![problem]))?;
    let (mut warnings, mut errors) = (Problems::of(&place), Problems::of(&place));
    if !place.is_empty() {
        warnings.note(
            "",
            "",
            "is used as the configuration; kube-proxy itself accepts this text only as a separate file",
        );
    }
    // kube-proxy reads only the first document.
    if at > 0 {
        let message = format!(
            "weir uses document {used}, but kube-proxy would use document 1; \
             remove all documents except document {used}",
            used = at + 1
        );
        warnings.note("", "", message);
    } else if count > 1 {
        warnings.note("", "", "only the first document of the file is read");
    }
    for KeyFault { path, kind } in &document.faults {
        match kind {
            FaultKind::Repeated => warnings.note(path.clone(), "", kind.message()),
            FaultKind::NotText => errors.note(path.clone(), "", "a key must be text"),
        }
    }
    let mut configuration =
        Configuration { values: schema::read(document.value, &mut warnings, &mut errors) };
    validate::header(&configuration, &mut errors);
    validate::mode(&configuration, &mut warnings, &mut errors);
    defaults::fill(&mut configuration.values);
    fields::overlay(&mut configuration.values, over);
    let (configuration, mut told) = finish(configuration, warnings, errors)?;
    if !place.is_empty() {
        let problem =
            |KeyFault { path: field, kind }| Problem { field, ..Problem::of_object("", kind.message()) };
        told.extend(around.into_iter().map(problem));
    }
    Ok((configuration, told))
}

/// The configuration from flags alone, given as fields. Unlike in a file, an explicit zero is kept.
///
/// # Errors
/// Returns everything that is wrong with the flags.
pub fn from_flags(given: Map<String, Value>) -> Result<Read, ConfigError> {
    let (mut warnings, mut errors) = (Problems::default(), Problems::default());
    let given = Configuration { values: schema::read(Value::Object(given), &mut warnings, &mut errors) };
    if !given.text("mode").is_empty() {
        validate::mode(&given, &mut warnings, &mut errors);
    }
    let mut configuration = Configuration { values: Map::new() };
    for (field, value) in [("apiVersion", API_VERSION), ("kind", KIND), ("ipvs.minSyncPeriod", "1s")] {
        fields::set(&mut configuration.values, field, value.into());
    }
    defaults::fill(&mut configuration.values);
    fields::overlay(&mut configuration.values, given.values);
    finish(configuration, warnings, errors)
}

fn finish(
    mut configuration: Configuration,
    mut warnings: Problems,
    mut errors: Problems,
) -> Result<Read, ConfigError> {
    defaults::note_without_effect(&configuration.values, &mut warnings);
    defaults::normalise(&mut configuration.values);
    validate::values(&configuration, &mut warnings, &mut errors);
    let errors = errors.into_vec();
    if errors.is_empty() {
        Ok((configuration, warnings.into_vec()))
    } else {
        Err(ConfigError::Invalid(errors))
    }
}

impl Configuration {
    fn get(&self, path: &str) -> Option<&Value> {
        fields::get(&self.values, path)
    }

    fn text(&self, path: &str) -> &str {
        fields::text(&self.values, path)
    }

    fn number(&self, path: &str) -> Option<i64> {
        self.get(path).and_then(Value::as_i64)
    }

    fn is_on(&self, path: &str) -> bool {
        self.get(path).and_then(Value::as_bool).unwrap_or(false)
    }

    fn texts(&self, path: &str) -> impl Iterator<Item = &str> {
        self.get(path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// A duration; `None` if it is absent or zero, which mean the same in every field.
    fn duration(&self, path: &str) -> Option<Duration> {
        parse_duration(self.text(path)).filter(|duration| !duration.is_zero())
    }

    /// `hostnameOverride`, if it is set.
    pub fn hostname_override(&self) -> Option<&str> {
        Some(self.text("hostnameOverride")).filter(|name| !name.is_empty())
    }

    /// `bindAddress`; may be unspecified.
    pub fn bind_address(&self) -> Option<IpAddr> {
        parse_ip_sloppy(self.text("bindAddress"))
    }

    /// The effective configuration as JSON.
    pub fn effective(&self) -> Value {
        Value::Object(self.values.clone())
    }

    /// The effective configuration as a file that kube-proxy and weir can read.
    ///
    /// # Errors
    /// If a value cannot be written as YAML, which does not occur.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(&self.values)
    }

    /// The part of the configuration that affects plans.
    pub fn proxy_config(&self) -> ProxyConfig {
        let defaults = ProxyConfig::default();
        let seconds = |path| {
            let whole = self.duration(path)?.as_secs();
            u32::try_from(whole).ok().filter(|seconds| *seconds > 0)
        };
        let gate = self.get("featureGates.AllowServiceExternalIPs").and_then(Value::as_bool);
        ProxyConfig {
            set_size: MAX_ELEMENTS,
            scheduler: Some(self.text("ipvs.scheduler"))
                .filter(|name| !name.is_empty())
                .map_or(defaults.scheduler, str::to_owned),
            exclude_cidrs: self.texts("ipvs.excludeCIDRs").filter_map(parse_cidr_sloppy).collect(),
            strict_arp: self.is_on("ipvs.strictARP"),
            tcp_timeout: seconds("ipvs.tcpTimeout"),
            tcp_fin_timeout: seconds("ipvs.tcpFinTimeout"),
            udp_timeout: seconds("ipvs.udpTimeout"),
            masquerade_all: self.is_on("iptables.masqueradeAll"),
            masquerade_bit: self
                .number("iptables.masqueradeBit")
                .and_then(|bit| u8::try_from(bit).ok())
                .unwrap_or(defaults.masquerade_bit),
            detect_local: self.detect_local(),
            node_port_addresses: self.texts("nodePortAddresses").filter_map(node_port_address).collect(),
            external_ips: if gate == Some(false) { Switch::Off } else { Switch::On },
            internal_local: InternalLocal::AsUpstream,
            sync_period: self.duration("ipvs.syncPeriod").unwrap_or(defaults.sync_period),
            min_sync_period: self.duration("ipvs.minSyncPeriod").unwrap_or(defaults.min_sync_period),
        }
    }

    fn detect_local(&self) -> DetectLocal {
        match self.text("detectLocalMode") {
            "NodeCIDR" => DetectLocal::NodeCidr,
            "BridgeInterface" => {
                DetectLocal::BridgeInterface(self.text("detectLocal.bridgeInterface").to_owned())
            }
            "InterfaceNamePrefix" => {
                DetectLocal::InterfaceNamePrefix(self.text("detectLocal.interfaceNamePrefix").to_owned())
            }
            _ => DetectLocal::ClusterCidr(self.cluster_cidrs().filter_map(parse_cidr_sloppy).collect()),
        }
    }

    /// The parts of `clusterCIDR`.
    fn cluster_cidrs(&self) -> impl Iterator<Item = &str> {
        self.text("clusterCIDR").split(',').map(str::trim).filter(|part| !part.is_empty())
    }
}

fn node_port_address(text: &str) -> Option<NodePortAddress> {
    match text {
        "primary" => Some(NodePortAddress::Primary),
        "localhost" => Some(NodePortAddress::Localhost),
        "all" => Some(NodePortAddress::All),
        net => parse_cidr_sloppy(net).map(NodePortAddress::Net),
    }
}

/// Whether two networks are of the same family.
fn same_family(a: &IpNet, b: &IpNet) -> bool {
    a.addr().is_ipv4() == b.addr().is_ipv4()
}

#[cfg(test)]
mod tests;
