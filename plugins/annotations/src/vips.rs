//! Which VIPs are served, and to which sources.

use weir_plugin_sdk::IpNet;
use weir_plugin_sdk::{Service, SourceAction, Verdict, VipKind};

use crate::reader::{Dialect, Reader, listed};

/// The kinds that are reached from outside the cluster.
const OUTSIDE: [VipKind; 3] = [VipKind::External, VipKind::LoadBalancer, VipKind::NodePort];

const NAMES: [(&str, VipKind); 4] = [
    ("cluster", VipKind::Cluster),
    ("external", VipKind::External),
    ("load-balancer", VipKind::LoadBalancer),
    ("node-port", VipKind::NodePort),
];

/// Returns a kind of VIP by its name.
pub(crate) fn kind(name: &str) -> Option<VipKind> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// The names of all kinds.
pub(crate) fn names() -> String {
    listed(&NAMES.map(|(name, _)| name))
}

pub(crate) fn verdict(reader: &mut Reader<'_>, service: &Service) -> Verdict {
    let mut verdict = Verdict::keep();
    if let Some(kinds) = served(reader) {
        verdict = verdict.only(kinds);
    }
    for (key, action) in
        [("policy.weir/allow-sources", SourceAction::Allow), ("policy.weir/deny-sources", SourceAction::Deny)]
    {
        if let Some(ranges) = reader.parsed::<Vec<IpNet>>(key) {
            verdict = verdict.sources(OUTSIDE, action, ranges);
        }
    }
    let denied = reader.read(Dialect::Cilium, "service.cilium.io/src-ranges-policy", |text| {
        match text.trim().to_ascii_lowercase().as_str() {
            "allow" => Ok(false),
            "deny" => Ok(true),
            _ => Err(listed(&["allow", "deny"])),
        }
    });
    if denied == Some(true) && !service.source_ranges.is_empty() {
        verdict = verdict.sources([VipKind::LoadBalancer], SourceAction::Deny, service.source_ranges.clone());
        reader.complain(
            "loadBalancerSourceRanges are denied, but are also the only sources that weir admits, so no source can connect: \
             move them to policy.weir/deny-sources",
        );
    }
    verdict.because(reader.reason())
}

/// Returns the kinds that all annotations allow; `None` if no annotation is set.
fn served(reader: &mut Reader<'_>) -> Option<Vec<VipKind>> {
    let own = reader.read(Dialect::Weir, "policy.weir/vip-kinds", |text| {
        let kinds: Option<Vec<VipKind>> = text.split(',').map(|name| kind(name.trim())).collect();
        kinds.ok_or_else(|| format!("any of {}, separated by commas", names()))
    });
    let cilium = reader.read(Dialect::Cilium, "service.cilium.io/type", |text| match text.trim() {
        "ClusterIP" => Ok(vec![VipKind::Cluster]),
        "NodePort" => Ok(vec![VipKind::NodePort]),
        "LoadBalancer" => Ok(vec![VipKind::LoadBalancer]),
        _ => Err(listed(&["ClusterIP", "NodePort", "LoadBalancer"])),
    });
    // kube-router checks only whether the key is set, not its value.
    let skips = reader.get(Dialect::KubeRouter, "kube-router.io/service.skiplbips");
    let kube_router = skips.map(|_| vec![VipKind::Cluster, VipKind::External, VipKind::NodePort]);
    let all = [own, cilium, kube_router];
    if all.iter().all(Option::is_none) {
        return None;
    }
    let left = |kind: &VipKind| all.iter().flatten().all(|kinds| kinds.contains(kind));
    Some(VipKind::ALL.into_iter().filter(left).collect())
}
