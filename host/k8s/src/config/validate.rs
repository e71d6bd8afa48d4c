//! The allowed values (kube-proxy's `pkg/proxy/apis/config/validation`). Each error has the field, its value and what
//! is allowed.

use std::net::{IpAddr, SocketAddr};

use weir_core::net::{parse_cidr_sloppy, parse_ip_sloppy};

use super::duration::parse_duration;
use super::{API_VERSION, Configuration, KIND, same_family};
use crate::problem::Problems;

/// Gates that kube-proxy 1.37 does not allow to be off.
const LOCKED_ON: [&str; 3] =
    ["PreferSameTrafficDistribution", "MultiCIDRServiceAllocator", "NFTablesProxyMode"];

/// Version and kind.
pub(super) fn header(configuration: &Configuration, errors: &mut Problems) {
    for (field, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let found = configuration.text(field);
        if found.is_empty() {
            errors.note(field, "", format!("is missing; add `{field}: {wanted}`"));
        } else if found != wanted {
            errors.note(field, found, format!("expected `{wanted}`"));
        }
    }
}

/// Everything else.
pub(super) fn values(configuration: &Configuration, warnings: &mut Problems, errors: &mut Problems) {
    periods(configuration, errors);
    numbers(configuration, errors);
    addresses(configuration, errors);
    logging(configuration, errors);
    networks(configuration, errors);
    node_port_addresses(configuration, warnings, errors);
    detect_local(configuration, errors);
    gates(configuration, warnings, errors);
}

/// The mode.
pub(super) fn mode(configuration: &Configuration, warnings: &mut Problems, errors: &mut Problems) {
    match configuration.text("mode") {
        "ipvs" => {}
        "" => warnings.note("mode", "", "not set; kube-proxy would use iptables, but weir always uses ipvs"),
        mode @ ("iptables" | "nftables") => errors.note(
            "mode",
            mode,
            "weir supports only IPVS: set `mode: ipvs`, or keep running kube-proxy on this node",
        ),
        mode => errors.note("mode", mode, "must be ipvs"),
    }
}

fn periods(configuration: &Configuration, errors: &mut Problems) {
    for field in ["ipvs.syncPeriod", "configSyncPeriod"] {
        if configuration.duration(field).is_none() {
            errors.note(field, configuration.text(field), "must be greater than 0");
        }
    }
    let not_negative = [
        "ipvs.minSyncPeriod",
        "ipvs.tcpTimeout",
        "ipvs.tcpFinTimeout",
        "ipvs.udpTimeout",
        "conntrack.tcpEstablishedTimeout",
        "conntrack.tcpCloseWaitTimeout",
        "conntrack.udpTimeout",
        "conntrack.udpStreamTimeout",
    ];
    for field in not_negative {
        if is_negative(configuration, field) {
            errors.note(field, configuration.text(field), "must be greater than or equal to 0");
        }
    }
    let proxy = configuration.proxy_config();
    if proxy.min_sync_period > proxy.sync_period {
        errors.note(
            "ipvs.minSyncPeriod",
            configuration.text("ipvs.minSyncPeriod"),
            format!("must not be greater than ipvs.syncPeriod, which is {:?}", proxy.sync_period),
        );
    }
}

fn is_negative(configuration: &Configuration, field: &str) -> bool {
    let text = configuration.text(field);
    text.starts_with('-') && parse_duration(&text[1..]).is_some_and(|duration| !duration.is_zero())
}

fn numbers(configuration: &Configuration, errors: &mut Problems) {
    // kube-proxy uses 32 bits.
    const MOST: i64 = i32::MAX as i64;
    let ranges = [
        ("iptables.masqueradeBit", 0, 31),
        ("oomScoreAdj", -1000, 1000),
        ("conntrack.maxPerCore", 0, MOST),
        ("conntrack.min", 0, MOST),
        ("clientConnection.burst", 0, MOST),
        ("logging.verbosity", 0, MOST),
    ];
    for (field, least, most) in ranges {
        let Some(value) = configuration.get(field) else { continue };
        if !value.as_i64().is_some_and(|number| (least..=most).contains(&number)) {
            errors.note(field, value, format!("must be a whole number from {least} to {most}"));
        }
    }
}

fn addresses(configuration: &Configuration, errors: &mut Problems) {
    let bind = configuration.text("bindAddress");
    if parse_ip_sloppy(bind).is_none() {
        errors.note("bindAddress", bind, "must be an IP address such as 10.0.0.1 or fd00::1");
    }
    for field in ["healthzBindAddress", "metricsBindAddress"] {
        let text = configuration.text(field);
        // Only flags can disable such a server.
        if !text.is_empty() && socket_address(text).is_none() {
            errors.note(field, text, "must be IP:port, with a port from 1 to 65535");
        }
    }
    let name = configuration.get("hostnameOverride").and_then(|name| name.as_str());
    if name.is_some_and(|name| !name.is_empty() && name.trim().is_empty()) {
        errors.note("hostnameOverride", name.unwrap_or_default(), "must not be blank");
    }
    let version = configuration.text("showHiddenMetricsForVersion");
    if !version.is_empty() && version != PREVIOUS_VERSION {
        errors.note(
            "showHiddenMetricsForVersion",
            version,
            format!("must be `{PREVIOUS_VERSION}`, the previous version, or not set"),
        );
    }
}

/// The previous version according to kube-proxy 1.37.
const PREVIOUS_VERSION: &str = "1.36";

/// Address and port, the address as kube-proxy reads it.
pub(super) fn socket_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let ip = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => parse_ip_sloppy(inner).filter(IpAddr::is_ipv6)?,
        None => parse_ip_sloppy(host).filter(IpAddr::is_ipv4)?,
    };
    Some(SocketAddr::new(ip, port))
}

fn logging(configuration: &Configuration, errors: &mut Problems) {
    let format = configuration.text("logging.format");
    if !matches!(format, "text" | "json") {
        errors.note("logging.format", format, "must be text or json");
    }
    let flush = "logging.flushFrequency";
    if configuration.duration(flush).is_none() {
        errors.note(flush, configuration.text(flush), "must be greater than 0");
    }
    let modules = configuration.get("logging.vmodule").and_then(|list| list.as_array());
    for (index, module) in modules.into_iter().flatten().enumerate() {
        let field = format!("logging.vmodule[{index}]");
        let pattern = module.get("filePattern").and_then(|pattern| pattern.as_str()).unwrap_or_default();
        if pattern.is_empty() || pattern.contains(['=', ',']) {
            errors.note(field, pattern, "expected a file pattern that contains neither = nor a comma");
        } else if format == "json" {
            errors.note(field, pattern, "kube-proxy accepts this field only if logging.format is text");
        }
    }
}

fn networks(configuration: &Configuration, errors: &mut Problems) {
    for (index, text) in configuration.texts("ipvs.excludeCIDRs").enumerate() {
        if parse_cidr_sloppy(text).is_none() {
            errors.note(format!("ipvs.excludeCIDRs[{index}]"), text, "must be a network such as 10.0.0.0/8");
        }
    }
}

fn node_port_addresses(configuration: &Configuration, warnings: &mut Problems, errors: &mut Problems) {
    const KEYWORDS: [&str; 3] = ["primary", "localhost", "all"];
    let mut seen = Vec::new();
    for (index, text) in configuration.texts("nodePortAddresses").enumerate() {
        let field = format!("nodePortAddresses[{index}]");
        if KEYWORDS.contains(&text) {
            if seen.contains(&text) {
                errors.note(field, text, "occurs more than once");
            }
            seen.push(text);
        } else if parse_cidr_sloppy(text).is_none() {
            errors.note(field, text, "must be a network such as 10.0.0.0/8, or primary, localhost or all");
        }
    }
    let nets: Vec<_> = configuration.texts("nodePortAddresses").filter_map(parse_cidr_sloppy).collect();
    if let Some(first) = nets.first()
        && seen.is_empty()
        && nets.iter().all(|net| same_family(net, first))
    {
        let other = if first.addr().is_ipv4() { "IPv6" } else { "IPv4" };
        warnings.note(
            "nodePortAddresses",
            "",
            format!("has no {other} network, so node ports are served on all {other} addresses of the node"),
        );
    }
}

fn detect_local(configuration: &Configuration, errors: &mut Problems) {
    const MODE: &str = "detectLocalMode";
    match configuration.text(MODE) {
        "" | "ClusterCIDR" => cluster_cidr(configuration, errors),
        "NodeCIDR" => {}
        "BridgeInterface" => needs(configuration, "detectLocal.bridgeInterface", errors),
        "InterfaceNamePrefix" => needs(configuration, "detectLocal.interfaceNamePrefix", errors),
        other => {
            errors.note(MODE, other, "must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix")
        }
    }
}

/// The longest interface name (`IFNAMSIZ` is 16 including the terminating zero, `include/uapi/linux/if.h`).
const INTERFACE_NAME_BYTES: usize = 15;

fn needs(configuration: &Configuration, field: &str, errors: &mut Problems) {
    let name = configuration.text(field);
    let fits = (1..=INTERFACE_NAME_BYTES).contains(&name.len());
    // The kernel refuses blanks, `/` and `:` (`dev_valid_name`, `net/core/dev.c`); the others have a special meaning
    // in a rule.
    let odd = |c: char| c.is_whitespace() || c.is_control() || r#"/:"'\\!+"#.contains(c);
    if !fits || name.chars().any(odd) {
        let mode = configuration.text("detectLocalMode");
        errors.note(
            field,
            name,
            format!(
                "must have 1 to 15 characters, because detectLocalMode {mode} compares it with the names of \
                 interfaces; it must not contain blanks or any of / : \" ' \\ ! +"
            ),
        );
    }
}

fn cluster_cidr(configuration: &Configuration, errors: &mut Problems) {
    const FIELD: &str = "clusterCIDR";
    let parts: Vec<&str> = configuration.cluster_cidrs().collect();
    let nets: Vec<_> = parts.iter().filter_map(|part| parse_cidr_sloppy(part)).collect();
    for part in parts.iter().filter(|part| parse_cidr_sloppy(part).is_none()) {
        errors.note(FIELD, part, "must be a network such as 10.244.0.0/16");
    }
    let text = configuration.text(FIELD);
    match nets[..] {
        [a, b] if same_family(&a, &b) => {
            errors.note(FIELD, text, "two networks must be of different families");
        }
        [_, _, _, ..] => errors.note(FIELD, text, "at most one network of each family is allowed"),
        _ => {}
    }
}

fn gates(configuration: &Configuration, warnings: &mut Problems, errors: &mut Problems) {
    const KNOWN: [&str; 6] = [
        "KubeProxyIPVS",
        "AllowServiceExternalIPs",
        "ComponentFlagz",
        "ComponentStatusz",
        "NativeHistograms",
        "WatchListClient",
    ];
    let gates = configuration.get("featureGates").and_then(|gates| gates.as_object());
    for (gate, value) in gates.into_iter().flatten() {
        let field = format!("featureGates.{gate}");
        let off = value.as_bool() == Some(false);
        if LOCKED_ON.contains(&gate.as_str()) && off {
            errors.note(field, value, "is locked to true");
        } else if gate == "KubeProxyIPVS" && off {
            errors.note(field, value, "forbids IPVS mode, the only mode that weir supports");
        } else if !KNOWN.contains(&gate.as_str()) && !LOCKED_ON.contains(&gate.as_str()) {
            warnings.note(field, "", "has no effect in weir");
        }
    }
}
