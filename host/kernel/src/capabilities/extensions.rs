//! Kernel modules needed by sets and rules, and the matches and targets that do not work, with the consequences.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use weir_core::net::{Family, PerFamily};
use weir_core::rule::Extension;
use weir_core::rule::extension::{EXTENSIONS, Loss, Row, Without};

use super::modules::{Modules, Presence};
use super::packages::Package;
use super::{Finding, Probe, Verdict};
use crate::iptables::extensions::Lack;
use crate::iptables::{self, Variant};

/// Modules needed in addition to those of IPVS and of matches and targets.
const ALWAYS: [&str; 8] = [
    "dummy",
    "ip_set",
    "ip_set_hash_ip",
    "ip_set_hash_ipport",
    "ip_set_hash_ipportip",
    "ip_set_hash_ipportnet",
    "ip_set_bitmap_port",
    "nf_conntrack_netlink",
];

/// Needed by iptables for every match and target when it uses nf_tables.
const NFT_COMPAT: &str = "nft_compat";

/// Reports all missing modules as one finding.
pub(super) fn modules(modules: &Modules, package: &Package) -> Finding {
    const TOPIC: &str = "modules";
    let mut needed: Vec<(&str, Verdict)> = ALWAYS.map(|name| (name, Verdict::Bad)).into();
    if uses_nf_tables() {
        needed.push((NFT_COMPAT, Verdict::Bad));
    }
    let rules =
        EXTENSIONS.iter().flat_map(|row| Family::BOTH.map(|family| (*row.modules.get(family), verdict(row))));
    needed.extend(rules);
    let mut missing: BTreeMap<&str, Verdict> = BTreeMap::new();
    let mut left_over = BTreeSet::new();
    for (name, verdict) in needed {
        if modules.has(name) == Presence::Absent {
            let worst = missing.entry(name).or_insert(verdict);
            *worst = verdict.max(*worst);
        } else if modules.is_left_over(name) {
            left_over.insert(name);
        }
    }
    let left_over: Vec<&str> = left_over.into_iter().collect();
    let left_over = match left_over[..] {
        [] => String::new(),
        _ => {
            format!("loaded but not installed on disk, so missing after a reboot: {}", left_over.join(" "))
        }
    };
    if let Some(verdict) = missing.values().max() {
        let names: Vec<&str> = missing.keys().copied().collect();
        let names = names.join(" ");
        let fix = Some(package.fix(&format!("-a {names}")));
        let mut text = format!("missing: {names}");
        if !left_over.is_empty() {
            text = format!("{text}; {left_over}");
        }
        return Finding { topic: TOPIC.to_owned(), verdict: *verdict, text, fix };
    }
    if !left_over.is_empty() {
        return Finding::warning(TOPIC, left_over, package.install.clone());
    }
    match modules.has(ALWAYS[0]) {
        Presence::Unknown => Finding::good(
            TOPIC,
            "modules cannot be listed here; the modules for sets and rules work if they are built in or installed on \
             the node",
        ),
        _ => Finding::good(TOPIC, "all modules for sets and rules are available and load automatically"),
    }
}

fn uses_nf_tables() -> bool {
    iptables::variant(Family::V4).is_none_or(|(_, variant)| variant == Variant::Nft)
}

fn verdict(row: &Row) -> Verdict {
    match row.without {
        Without::Rewritten | Without::LeftOut(Loss::Some) => Verdict::Warning,
        Without::LeftOut(Loss::Vips) | Without::Needed => Verdict::Bad,
    }
}

type Missing = PerFamily<BTreeMap<Extension, Lack>>;

/// Tests every match and target that rules use, because a listed module may be blocked from loading, and its library
/// may not be installed. One rule that cannot be loaded would block all the others.
pub fn try_extensions(probe: &mut Probe) {
    let (missing, findings) = find_missing(&probe.capabilities.families);
    probe.capabilities.missing = missing;
    probe.findings.extend(findings);
}

/// The matches and targets that do not work in these families, and the consequences.
pub fn find_missing(families: &[Family]) -> (PerFamily<BTreeSet<Extension>>, Vec<Finding>) {
    let modules = Modules::read();
    // Before Linux 5.0, this match loads the module that sends bridged packets through iptables, which changes the
    // node.
    let bridges = modules.version() < (5, 0) && !Path::new("/proc/sys/net/bridge").exists();
    let skipped: &[Extension] = if bridges { &[Extension::BridgePort] } else { &[] };
    let mut missing = Missing::default();
    for family in families {
        *missing.get_mut(*family) = iptables::extensions::missing(*family, skipped);
    }
    let package = Package::of(&modules.release);
    // nf_tables uses all other modules through this one.
    let no_compat = uses_nf_tables() && modules.has(NFT_COMPAT) == Presence::Absent;
    let presence = |module: &'static str| match modules.has(module) {
        Presence::Loaded | Presence::Loadable if no_compat => (NFT_COMPAT, Presence::Absent),
        presence => (module, presence),
    };
    let findings = EXTENSIONS.iter().filter_map(|row| finding(row, &missing, presence, &package)).collect();
    let names = |family| missing.get(family).keys().copied().collect();
    (PerFamily { v4: names(Family::V4), v6: names(Family::V6) }, findings)
}

fn finding(
    row: &Row,
    missing: &Missing,
    presence: impl Fn(&'static str) -> (&'static str, Presence),
    package: &Package,
) -> Option<Finding> {
    let lacks: Vec<(Family, Lack)> = Family::BOTH
        .into_iter()
        .filter_map(|family| Some((family, *missing.get(family).get(&row.extension)?)))
        .collect();
    let (family, lack) = *lacks.first()?;
    let families: Vec<String> = lacks.iter().map(|(family, _)| family.to_string()).collect();
    let (module, presence) = presence(row.modules.get(family));
    let (why, fix) = match (lack, presence) {
        (Lack::Library, presence) if presence != Presence::Absent => (
            format!("iptables has no library for `{}` (libxt_{0}.so)", row.name),
            "install the complete package `iptables`".to_owned(),
        ),
        (_, Presence::Loaded | Presence::Loadable) => (
            format!("the kernel module {module} does not load"),
            format!("run `modprobe {module}` to see why (a file in /etc/modprobe.d may block it)"),
        ),
        (_, Presence::Absent) => (format!("the kernel has no module {module}"), package.fix(module)),
        (_, Presence::Unknown) => {
            let fix = format!(
                "run `modprobe {module}` on the node; if there is no such module, {}",
                package.fix(module)
            );
            (format!("the kernel module {module} is not loaded"), fix)
        }
    };
    Some(Finding {
        topic: format!("{} {}", row.role, row.name),
        verdict: verdict(row),
        text: format!("{} rules: {why}; {}", families.join(" and "), row.means),
        fix: Some(fix),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(extension: Extension, lack: Lack, presence: Presence) -> Finding {
        let mut missing = Missing::default();
        missing.v4.insert(extension, lack);
        missing.v6.insert(extension, lack);
        let package = Package::of("6.12.0-55.el10.x86_64");
        finding(extension.row(), &missing, |module| (module, presence), &package).unwrap()
    }

    #[test]
    fn each_cause_has_its_own_way_out() {
        let absent = found(Extension::Masquerade, Lack::Module, Presence::Absent);
        assert_eq!((absent.verdict, absent.topic.as_str()), (Verdict::Bad, "target MASQUERADE"));
        assert!(
            absent.text.starts_with("IPv4 and IPv6 rules: the kernel has no module xt_MASQUERADE; "),
            "{}",
            absent.text
        );
        let fix = absent.fix.unwrap();
        assert!(
            fix.contains("kernel-modules-extra-6.12.0-55.el10.x86_64`")
                && fix.contains("modprobe xt_MASQUERADE")
        );
        let forbidden = found(Extension::BridgePort, Lack::Module, Presence::Loadable);
        assert_eq!(forbidden.verdict, Verdict::Warning);
        assert!(forbidden.fix.unwrap().contains("/etc/modprobe.d"));
        let library = found(Extension::BridgePort, Lack::Library, Presence::Loadable);
        assert!(library.fix.unwrap().contains("package `iptables`"));
        // For a missing module, older iptables reports that it cannot load the match.
        let both = found(Extension::BridgePort, Lack::Library, Presence::Absent);
        assert!(both.text.contains("xt_physdev"), "{}", both.text);
    }
}
