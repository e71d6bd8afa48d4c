//! The contents of the kernel: device, sets, chains, virtual servers, and whether they are consistent.

use weir_core::net::Family;
use weir_core::node::HostAddress;
use weir_core::rule::{Chain, Table};
use weir_core::set::{SetKind, SetName};
use weir_core::state::{DUMMY_DEVICE, KernelState, Weight};
use weir_core::text::counted;
use weir_kernel::capabilities::Finding;

/// How many names are shown; the rest are only counted.
const SHOWN: usize = 5;

pub(super) fn some_of(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let mut text = names.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

pub(super) fn device(actual: &KernelState) -> Vec<Finding> {
    if actual.devices.is_empty() {
        return vec![Finding::warning(DUMMY_DEVICE, "does not exist", "start `weir run`, which creates it")];
    }
    let addresses = counted(actual.addresses.len(), "address");
    let mut findings = vec![Finding::good(DUMMY_DEVICE, format!("has {addresses}"))];
    let unserved: Vec<String> = actual
        .addresses
        .keys()
        .filter(|ip| !actual.virtual_servers.keys().any(|server| server.address.ip() == **ip))
        .map(|ip| ip.to_string())
        .collect();
    if !unserved.is_empty() {
        findings.push(Finding::warning(
            "addresses without a service",
            format!(
                "{}: packets to these addresses end at this node and reach no endpoint",
                some_of(unserved)
            ),
            "start `weir run`, which removes them, or use `ip addr del`",
        ));
    }
    findings
}

/// VIPs that are also on another interface: local processes may answer on them, and IPVS sees only part of the
/// traffic.
pub(super) fn addresses(actual: &KernelState, host: &[HostAddress]) -> Vec<Finding> {
    let twice: Vec<String> = host
        .iter()
        .filter(|address| actual.addresses.contains_key(&address.address))
        .map(|address| format!("{} on {}", address.address, address.interface))
        .collect();
    if twice.is_empty() {
        return Vec::new();
    }
    vec![Finding::warning(
        "duplicate addresses",
        format!("on {DUMMY_DEVICE} and on another interface: {}", some_of(twice)),
        "remove the address from the other interface, or from the Service",
    )]
}

pub(super) fn sets(actual: &KernelState, families: &[Family]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for family in families {
        let topic = format!("{family} sets");
        let missing: Vec<String> = SetName::upstream(*family)
            .filter(|name| !actual.sets.contains_key(name))
            .map(|name| name.to_string())
            .collect();
        if missing.is_empty() {
            let entries = actual.entries.keys().filter(|(name, _)| name.family == *family).count();
            findings.push(Finding::good(&topic, format!("all present, {}", counted(entries, "entry"))));
        } else {
            let text = format!("missing: {}", some_of(missing));
            findings.push(Finding::warning(&topic, text, "start `weir run`, which creates them"));
        }
    }
    for (name, kind) in &actual.sets {
        if *kind == name.kind() {
            continue;
        }
        let (text, fix) = match kind {
            SetKind::Hash { max_elements, .. } if *max_elements > weir_core::set::MAX_ELEMENTS => (
                format!("has room for {max_elements} entries; kube-proxy does not accept a set of this size"),
                "nothing to do while weir runs",
            ),
            kind => (format!("is `{kind}`, not `{}`", name.kind()), "`weir run` replaces it"),
        };
        findings.push(Finding::warning(&name.to_string(), text, fix));
    }
    findings
}

pub(super) fn chains(actual: &KernelState, families: &[Family]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for family in families {
        let topic = format!("{family} chains");
        let missing: Vec<String> = Table::BOTH
            .into_iter()
            .flat_map(|table| table.upstream_chains().map(move |chain| (table, chain)))
            .filter(|(table, chain)| !actual.rules.contains_key(&(*family, *table, *chain)))
            .map(|(table, chain)| format!("{table} {chain}"))
            .collect();
        if missing.is_empty() {
            findings.push(Finding::good(&topic, "all present"));
        } else {
            let text = format!("missing: {}", some_of(missing));
            findings.push(Finding::warning(&topic, text, "start `weir run`, which creates them"));
            continue;
        }
        let unreached: Vec<String> = [
            (Table::Nat, Chain::Prerouting),
            (Table::Nat, Chain::Output),
            (Table::Nat, Chain::Postrouting),
            (Table::Filter, Chain::Input),
            (Table::Filter, Chain::Forward),
            (Table::Filter, Chain::Output),
        ]
        .into_iter()
        .filter(|(table, chain)| !actual.rules.contains_key(&(*family, *table, *chain)))
        .map(|(table, chain)| format!("{table} {chain}"))
        .collect();
        if !unreached.is_empty() {
            findings.push(Finding::bad(
                &format!("{family} jumps"),
                format!("no jumps from {} to weir's chains", some_of(unreached)),
                "start `weir run`, which inserts the jumps; something else removed them (a firewall reload?)",
            ));
        }
    }
    findings
}

pub(super) fn servers(actual: &KernelState) -> Vec<Finding> {
    let total = format!(
        "{}, {}",
        counted(actual.virtual_servers.len(), "virtual server"),
        counted(actual.real_servers().count(), "real server")
    );
    let mut findings = vec![Finding::good("IPVS", total)];
    let empty: Vec<String> = actual
        .virtual_servers
        .keys()
        .filter(|server| actual.real_servers_of(**server).next().is_none())
        .map(|server| server.to_string())
        .collect();
    if !empty.is_empty() {
        findings.push(Finding::warning(
            "without endpoints",
            some_of(empty),
            "clients are refused until an endpoint is ready: check `kubectl get endpointslices`",
        ));
    }
    let quiesced: Vec<String> = actual
        .real_servers()
        .filter(|(.., weight)| *weight == Weight::QUIESCED)
        .map(|(server, real, _)| format!("{server} -> {real}"))
        .collect();
    if !quiesced.is_empty() {
        findings.push(Finding::warning(
            "draining",
            some_of(quiesced),
            "nothing to do: weir removes these real servers when their connections have ended (`ipvsadm -Lnc` shows \
             the connections), unless a plugin set the weight to 0",
        ));
    }
    findings
}
