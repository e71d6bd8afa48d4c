//! Sysctls, connection tracking, and other service proxies on the node.

use std::fs;

use weir_core::causes::with_causes;
use weir_core::node::{Capabilities, NodeView, ProxyConfig};
use weir_core::plan::{Totals, plan_node};
use weir_core::state::Sysctl;
use weir_kernel::capabilities::Finding;
use weir_kernel::sysctl;

/// Programs that handle Services themselves; two on one node undo each other's work.
const PROXIES: [&str; 4] = ["kube-proxy", "kube-router", "cilium-agent", "antrea-agent"];

/// The sysctls that weir sets, and those that it depends on without setting them.
pub(super) fn sysctls(config: &ProxyConfig, capabilities: &Capabilities) -> Vec<Finding> {
    let view = NodeView::new("", None, None, Vec::new(), config.clone(), capabilities.clone());
    let wanted = plan_node(&view, &Totals::default()).sysctls;
    let mut findings: Vec<Finding> = wanted.iter().map(|(key, value)| wanted_value(key, *value)).collect();
    let bridged = Sysctl::new("net/bridge/bridge-nf-call-iptables");
    if let Ok(Some(0)) = sysctl::read(&bridged) {
        findings.push(Finding::warning(
            "bridge-nf-call-iptables",
            "is 0, so replies between two pods on one bridge may bypass the service's address translation",
            "sysctl -w net.bridge.bridge-nf-call-iptables=1",
        ));
    }
    let localnet = Sysctl::new("net/ipv4/conf/all/route_localnet");
    if let Ok(Some(1)) = sysctl::read(&localnet) {
        findings.push(Finding::warning(
            "route_localnet",
            "is 1, so hosts on the same network can reach services on 127.0.0.1 of this node (CVE-2020-8558); IPVS \
             mode does not need it",
            "sysctl -w net.ipv4.conf.all.route_localnet=0",
        ));
    }
    findings
}

fn wanted_value(key: &Sysctl, wanted: i64) -> Finding {
    let name = key.0.replace('/', ".");
    match sysctl::read(key) {
        Ok(Some(value)) if value == wanted => Finding::good(&name, format!("is {value}")),
        Ok(Some(value)) => Finding::warning(
            &name,
            format!("is {value}; `weir run` sets it to {wanted}"),
            format!("sysctl -w {name}={wanted}"),
        ),
        Ok(None) => Finding::warning(&name, "does not exist yet", "modprobe ip_vs"),
        Err(error) => Finding::bad(&name, with_causes(&error), "run as root"),
    }
}

/// How full the connection table is.
pub(super) fn conntrack() -> Vec<Finding> {
    let read = |path: &str| sysctl::read(&Sysctl::new(path)).ok().flatten();
    let (Some(count), Some(max)) =
        (read("net/netfilter/nf_conntrack_count"), read("net/netfilter/nf_conntrack_max"))
    else {
        return vec![Finding::warning(
            "connection tracking",
            "not loaded yet",
            "nothing to do: the first masquerading rule loads it, or run `modprobe nf_conntrack`",
        )];
    };
    let text = format!("{count} of {max} entries");
    // A maximum of 0 means no limit.
    vec![if max > 0 && count > max - max / 10 {
        Finding::bad(
            "connection tracking",
            format!("{text}, so new connections will soon be dropped"),
            format!("sysctl -w net.netfilter.nf_conntrack_max={}", max.saturating_mul(2)),
        )
    } else {
        Finding::good("connection tracking", text)
    }]
}

/// Other programs on this node that handle Services.
pub(super) fn other_proxies() -> Vec<Finding> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<String> = processes
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| PROXIES.contains(&name.as_str()))
        .collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        return vec![Finding::good("other proxies", "none running")];
    }
    vec![Finding::warning(
        "other proxies",
        format!("running: {}", found.join(" ")),
        "run one service proxy per node, unless a label or an address decides which proxy handles which service",
    )]
}
