//! kube-proxy's flags as one table: each sets a field of the configuration file.

use std::collections::BTreeMap;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value, json};
use weir_k8s::config::{parse_duration, set_field, with_port};

use Kind::{Bool, Duration, Gates, List, Number, Text};
use Who::{Daemon, Hidden, Plans};

/// A kube-proxy flag that can also be set in the configuration file.
struct Flag {
    name: &'static str,
    /// The field it sets; empty for the two flags that only give the port of another field.
    field: &'static str,
    kind: Kind,
    who: Who,
    value: &'static str,
    help: &'static str,
}

/// How a flag's value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Bool,
    Number,
    Duration,
    List,
    Gates,
}

/// Which commands use a flag; only the help of these commands lists it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// It affects plans: every command, except those of [`USED_BY`].
    Plans,
    /// Only the daemon, and commands of [`USED_BY`]. Other commands accept it silently, so that a kube-proxy command
    /// line can be tried with them.
    Daemon,
    /// Accepted but not listed: deprecated, or without effect in IPVS mode.
    Hidden,
}

const fn flag(
    name: &'static str,
    field: &'static str,
    kind: Kind,
    who: Who,
    value: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, field, kind, who, value, help }
}

/// All flags, in the order of the help text.
#[rustfmt::skip]
const FLAGS: &[Flag] = &[
    flag("proxy-mode", "mode", Text, Plans, "MODE", "mode: must be ipvs"),
    flag("ipvs-scheduler", "ipvs.scheduler", Text, Plans, "NAME", "ipvs.scheduler: rr, wrr, lc, wlc, sh, dh, sed, nq, mh, … [default: rr]"),
    flag("ipvs-exclude-cidrs", "ipvs.excludeCIDRs", List, Plans, "CIDR,…", "ipvs.excludeCIDRs: networks in which weir never deletes virtual servers"),
    flag("ipvs-strict-arp", "ipvs.strictARP", Bool, Plans, "", "ipvs.strictARP: answer ARP only for addresses of the receiving interface"),
    flag("ipvs-tcp-timeout", "ipvs.tcpTimeout", Duration, Plans, "DURATION", "ipvs.tcpTimeout: IPVS's timeout for TCP connections, for example 900s; 0 keeps the kernel's value [default: 0]"),
    flag("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout", Duration, Plans, "DURATION", "ipvs.tcpFinTimeout: IPVS's timeout for TCP connections after a FIN; 0 keeps the kernel's value [default: 0]"),
    flag("ipvs-udp-timeout", "ipvs.udpTimeout", Duration, Plans, "DURATION", "ipvs.udpTimeout: IPVS's timeout for UDP; 0 keeps the kernel's value [default: 0]"),
    flag("ipvs-sync-period", "ipvs.syncPeriod", Duration, Plans, "DURATION", "ipvs.syncPeriod: how often weir compares the whole kernel state with the plan [default: 30s]"),
    flag("ipvs-min-sync-period", "ipvs.minSyncPeriod", Duration, Plans, "DURATION", "ipvs.minSyncPeriod: minimum time between two rounds of changes [default: 1s; with --config: 0]"),
    flag("masquerade-all", "iptables.masqueradeAll", Bool, Plans, "", "iptables.masqueradeAll: masquerade all traffic to cluster IPs"),
    flag("iptables-masquerade-bit", "iptables.masqueradeBit", Number, Plans, "BIT", "iptables.masqueradeBit: bit of the packet mark that requests masquerading, 0 to 31 [default: 14]"),
    flag("cluster-cidr", "clusterCIDR", Text, Plans, "CIDR,…", "clusterCIDR: the pod networks, at most one per address family"),
    flag("detect-local-mode", "detectLocalMode", Text, Plans, "MODE", "detectLocalMode: how weir recognises traffic from pods: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix [default: ClusterCIDR]"),
    flag("pod-bridge-interface", "detectLocal.bridgeInterface", Text, Plans, "NAME", "detectLocal.bridgeInterface: name of the bridge to which pods are attached, for detectLocalMode BridgeInterface"),
    flag("pod-interface-name-prefix", "detectLocal.interfaceNamePrefix", Text, Plans, "PREFIX", "detectLocal.interfaceNamePrefix: prefix of the names of the pods' interfaces, for detectLocalMode InterfaceNamePrefix"),
    flag("nodeport-addresses", "nodePortAddresses", List, Plans, "CIDR,…", "nodePortAddresses: the node's addresses that serve node ports: networks, or the words primary, localhost or all [default: all addresses of the node]"),
    flag("bind-address", "bindAddress", Text, Plans, "IP", "bindAddress: the node's address; with 0.0.0.0 or ::, weir takes it from the Node object; weir does not listen on it [default: 0.0.0.0]"),
    flag("feature-gates", "featureGates", Gates, Plans, "GATE=BOOL,…", "featureGates, for example AllowServiceExternalIPs=false"),
    flag("kubeconfig", "clientConnection.kubeconfig", Text, Daemon, "FILE", "clientConnection.kubeconfig: file with the API server's address and the credentials [default: the pod's service account]"),
    flag("kube-api-content-type", "clientConnection.contentType", Text, Daemon, "TYPE", "clientConnection.contentType: no effect, because weir always uses JSON [default: application/vnd.kubernetes.protobuf]"),
    flag("kube-api-qps", "clientConnection.qps", Number, Daemon, "NUMBER", "clientConnection.qps: maximum number of requests per second to the API server [default: 5]"),
    flag("kube-api-burst", "clientConnection.burst", Number, Daemon, "NUMBER", "clientConnection.burst: maximum number of requests to the API server at once [default: 10]"),
    flag("config-sync-period", "configSyncPeriod", Duration, Daemon, "DURATION", "configSyncPeriod: no effect, because weir does not process unchanged objects again [default: 15m]"),
    flag("healthz-bind-address", "healthzBindAddress", Text, Daemon, "IP:PORT", "healthzBindAddress: address at which weir serves health checks; an empty value disables this [default: 0.0.0.0:10256]"),
    flag("metrics-bind-address", "metricsBindAddress", Text, Daemon, "IP:PORT", "metricsBindAddress: address at which weir serves metrics; an empty value disables this [default: 127.0.0.1:10249]"),
    flag("bind-address-hard-fail", "bindAddressHardFail", Bool, Daemon, "", "bindAddressHardFail: exit if the health or the metrics address cannot be bound"),
    flag("profiling", "enableProfiling", Bool, Daemon, "", "enableProfiling: no effect, because weir does not have Go's profiling pages"),
    flag("show-hidden-metrics-for-version", "showHiddenMetricsForVersion", Text, Daemon, "VERSION", "showHiddenMetricsForVersion: no effect, because weir has no hidden metrics; only the previous minor version is accepted"),
    flag("oom-score-adj", "oomScoreAdj", Number, Daemon, "NUMBER", "oomScoreAdj: the OOM score adjustment of this process, -1000 to 1000 [default: -999]"),
    flag("conntrack-max-per-core", "conntrack.maxPerCore", Number, Daemon, "NUMBER", "conntrack.maxPerCore: maximum number of connections that the kernel tracks, per CPU; 0 keeps the kernel's value [default: 32768]"),
    flag("conntrack-min", "conntrack.min", Number, Daemon, "NUMBER", "conntrack.min: minimum for the limit computed from conntrack.maxPerCore [default: 131072]"),
    flag("conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout", Duration, Daemon, "DURATION", "conntrack.tcpEstablishedTimeout: timeout for established TCP connections; 0 keeps the kernel's value [default: 24h]"),
    flag("conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout", Duration, Daemon, "DURATION", "conntrack.tcpCloseWaitTimeout: timeout for TCP connections in CLOSE_WAIT; 0 keeps the kernel's value [default: 1h]"),
    flag("conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal", Bool, Daemon, "", "conntrack.tcpBeLiberal: also track TCP packets outside the TCP window"),
    flag("conntrack-udp-timeout", "conntrack.udpTimeout", Duration, Daemon, "DURATION", "conntrack.udpTimeout: timeout for UDP flows without replies; 0 keeps the kernel's value [default: 0]"),
    flag("conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout", Duration, Daemon, "DURATION", "conntrack.udpStreamTimeout: timeout for UDP flows with replies; 0 keeps the kernel's value [default: 0]"),
    flag("iptables-localhost-nodeports", "iptables.localhostNodePorts", Bool, Hidden, "", "without effect in IPVS mode"),
    flag("iptables-sync-period", "iptables.syncPeriod", Duration, Hidden, "DURATION", "without effect in IPVS mode"),
    flag("iptables-min-sync-period", "iptables.minSyncPeriod", Duration, Hidden, "DURATION", "without effect in IPVS mode"),
    flag("healthz-port", "", Number, Hidden, "PORT", "deprecated: use --healthz-bind-address"),
    flag("metrics-port", "", Number, Hidden, "PORT", "deprecated: use --metrics-bind-address"),
];

/// Commands that use only these flags, because they make no plan.
const USED_BY: [(&str, &[&str]); 3] = [
    ("status", &["ipvs-scheduler", "metrics-bind-address"]),
    ("top", &["metrics-bind-address"]),
    ("cleanup", &["ipvs-exclude-cidrs"]),
];

/// Makes the help of each command of [`USED_BY`] list the flags that it uses.
pub(crate) fn listed(command: Command) -> Command {
    USED_BY.iter().fold(command, |command, (name, used)| {
        let list = |command, flag: &Flag| {
            Command::mut_arg(command, flag.name, |arg| arg.hide(!used.contains(&flag.name)))
        };
        command.mut_subcommand(name, |command| {
            let command = FLAGS.iter().fold(command, list);
            command.mut_arg("enforce_internal_traffic_policy", |arg| arg.hide(true))
        })
    })
}

/// The names of the flags that only the daemon's help lists.
pub(crate) fn of_the_daemon() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().filter(|flag| flag.who == Daemon).map(|flag| flag.name)
}

/// The flag that sets a field.
pub(crate) fn for_field(field: &str) -> Option<&'static str> {
    FLAGS.iter().find(|flag| !flag.field.is_empty() && flag.field == field).map(|flag| flag.name)
}

/// The kube-proxy flags that were given.
#[derive(Debug, Default)]
pub(crate) struct ConfigurationFlags {
    given: BTreeMap<&'static str, Vec<String>>,
}

impl ConfigurationFlags {
    /// The names of the given flags.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.given.keys().copied()
    }

    /// The fields that the flags set.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        for flag in FLAGS.iter().filter(|flag| !flag.field.is_empty()) {
            if let Some(texts) = self.given.get(flag.name) {
                set_field(&mut fields, flag.field, value(flag, texts));
            }
        }
        for (port, field, usual) in [
            ("healthz-port", "healthzBindAddress", "0.0.0.0:10256"),
            ("metrics-port", "metricsBindAddress", "127.0.0.1:10249"),
        ] {
            let port = self.given.get(port).and_then(|texts| parse_whole(texts.last()?));
            let address = fields.get(field).and_then(Value::as_str).unwrap_or(usual);
            let usual_port = usual.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
            let address = match port {
                // In the deprecated flags, port 0 means no server.
                Some(0) => String::new(),
                Some(port) => with_port(address, u16::try_from(port).unwrap_or_default()),
                None => with_port(address, usual_port),
            };
            fields.insert(field.to_owned(), json!(address));
        }
        fields
    }
}

/// The values were checked when the command line was parsed.
fn value(flag: &Flag, texts: &[String]) -> Value {
    let last = texts.last().map(String::as_str).unwrap_or_default();
    let parts =
        || texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|part| !part.is_empty());
    match flag.kind {
        Text | Duration => json!(last),
        Bool => json!(parse_bool(last).unwrap_or_default()),
        Number if is_fraction(flag) => match last.parse::<i64>() {
            Ok(number) => json!(number),
            Err(_) => json!(last.parse::<f64>().unwrap_or_default()),
        },
        Number => json!(parse_whole(last).unwrap_or_default()),
        List => parts().map(|part| json!(part)).collect(),
        Gates => {
            let gates = parts().filter_map(|part| part.split_once('='));
            Value::Object(
                gates
                    .map(|(gate, on)| {
                        (gate.trim().to_owned(), json!(parse_bool(on.trim()).unwrap_or_default()))
                    })
                    .collect(),
            )
        }
    }
}

/// Whether fractions are allowed.
fn is_fraction(flag: &Flag) -> bool {
    flag.field.ends_with("qps")
}

/// Parses whole numbers as Go does: a leading `0x`, `0o`, `0b` or bare `0` gives the base.
fn parse_whole(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)]
        .into_iter()
        .find_map(|(prefix, base)| Some((base, lower.strip_prefix(prefix).filter(|rest| !rest.is_empty())?)))
        .unwrap_or((10, &lower));
    // `from_str_radix` would accept a second sign.
    digits.starts_with(|first: char| first.is_ascii_alphanumeric()).then_some(())?;
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

/// Parses booleans as Go does.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// The value parser of a flag.
fn parser(flag: &Flag) -> ValueParser {
    let check: fn(&str) -> Result<String, String> = match flag.kind {
        Text | List => |text| Ok(text.to_owned()),
        Bool => |text| parse_bool(text).map(|_| text.to_owned()),
        Number if is_fraction(flag) => {
            |text| text.parse::<f64>().map(|_| text.to_owned()).map_err(|_| "expected a number".to_owned())
        }
        Number => |text| {
            let number = parse_whole(text).ok_or("expected a whole number")?;
            i32::try_from(number)
                .map(|_| text.to_owned())
                .map_err(|_| "expected a whole number from -2147483648 to 2147483647".to_owned())
        },
        Duration => |text| match parse_duration(text.strip_prefix('-').unwrap_or(text)) {
            Some(_) => Ok(text.to_owned()),
            None => Err("expected a duration such as 30s, 1m30s or 1.5h".to_owned()),
        },
        Gates => |text| {
            for part in text.split(',').filter(|part| !part.trim().is_empty()) {
                let value = part.split_once('=').map(|(_, value)| value.trim());
                if value.is_none_or(|value| parse_bool(value).is_err()) {
                    return Err(format!("`{part}`: expected GATE=true or GATE=false"));
                }
            }
            Ok(text.to_owned())
        },
    };
    ValueParser::new(check)
}

/// A boolean flag as kube-proxy accepts it: alone, or with its value after `=`.
pub(crate) fn boolean(arg: Arg) -> Arg {
    arg.num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_name("BOOL")
        .hide_possible_values(true)
}

impl Args for ConfigurationFlags {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, flag| {
            let action = if matches!(flag.kind, List | Gates) { ArgAction::Append } else { ArgAction::Set };
            let heading = match flag.who {
                Plans => "Configuration (kube-proxy's flags)",
                Daemon | Hidden => "Daemon (kube-proxy's flags)",
            };
            let arg = Arg::new(flag.name)
                .long(flag.name)
                .help(flag.help)
                .help_heading(heading)
                .action(action)
                .value_parser(parser(flag))
                .hide(flag.who != Plans);
            command.arg(match flag.kind {
                Bool => boolean(arg),
                _ => arg.value_name(flag.value).allow_hyphen_values(true),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigurationFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = ConfigurationFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for flag in FLAGS {
            if let Some(texts) = matches.get_many::<String>(flag.name) {
                self.given.insert(flag.name, texts.cloned().collect());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_in_every_flag() {
        let mut flags = ConfigurationFlags::default();
        for (name, text) in [
            ("healthz-port", "0x2810"),
            ("metrics-port", "0x0"),
            ("kube-api-qps", "010"),
            ("oom-score-adj", "010"),
        ] {
            flags.given.insert(name, vec![text.to_owned()]);
        }
        let fields = Value::Object(flags.fields());
        assert_eq!(fields["healthzBindAddress"], "0.0.0.0:10256");
        assert_eq!(fields["metricsBindAddress"], "");
        assert_eq!(fields["clientConnection"]["qps"], 10);
        assert_eq!(fields["oomScoreAdj"], 8);
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let numbers = ["14", "-999", "+7", "0x100", "0o17", "010", "0b11", "0"].map(parse_whole);
        assert_eq!(numbers, [14, -999, 7, 256, 15, 8, 3, 0].map(Some));
        assert_eq!(["", "-", "1.5", "--1", "0x", "08", "ten"].map(parse_whole), [None; 7]);
    }
}
