//! What this kernel and the installed programs support, found without changing anything.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use weir_core::diff::Change;
use weir_core::kernel::{Failure, FailureKind, Kernel};
use weir_core::net::{Family, PerFamily, Protocol};
use weir_core::node::{Capabilities, ConnectionReuse};
use weir_core::set::SetType;
use weir_core::state::{SchedulerFlags, Scheduling, Server, VirtualServer};
use weir_netlink::{Errno, ipset, ipvs};

use crate::linux::chain;
use crate::process;
use crate::refusals::load_set_types;
use crate::{Linux, iptables};

mod extensions;
mod modules;
mod packages;

pub use extensions::{find_missing, try_extensions};

use modules::{Modules, Presence};
use packages::Package;

/// Schedulers that Linux has (`net/netfilter/ipvs/Kconfig`). The module of each is `ip_vs_NAME`.
pub const SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"];

/// The address on which kube-proxy also tests schedulers. It is reserved for documentation (RFC 5737).
const PROBE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 0));
const PROBE_PORTS: RangeInclusive<u16> = 20000..=20009;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The subject, in a word or two.
    pub topic: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do, if anything.
    pub fix: Option<String>,
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As required.
    Good,
    /// Works with limitations.
    Warning,
    /// Prevents weir from working.
    Bad,
}

impl Finding {
    /// A check that passed.
    pub fn good(topic: &str, text: impl Into<String>) -> Finding {
        Finding { topic: topic.to_owned(), verdict: Verdict::Good, text: text.into(), fix: None }
    }

    /// A limitation, with its fix.
    pub fn warning(topic: &str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        let fix = Some(fix.into());
        Finding { topic: topic.to_owned(), verdict: Verdict::Warning, text: text.into(), fix }
    }

    /// A problem that prevents weir from working, with its fix.
    pub fn bad(topic: &str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        let fix = Some(fix.into());
        Finding { topic: topic.to_owned(), verdict: Verdict::Bad, text: text.into(), fix }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Good => "ok",
            Verdict::Warning => "warning",
            Verdict::Bad => "bad",
        })
    }
}

/// What is known about this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What plans may use.
    pub capabilities: Capabilities,
    /// The result of each check.
    pub findings: Vec<Finding>,
}

/// Inspects the running kernel and the installed programs.
pub fn probe() -> Probe {
    let modules = Modules::read();
    let package = Package::of(&modules.release);
    let mut findings = vec![probe_ipvs(&modules, &package)];
    let schedulers = probe_schedulers(&modules, &package, &mut findings);
    findings.push(extensions::modules(&modules, &package));
    findings.push(probe_sets());
    let families = probe_families(&mut findings);
    let missing = PerFamily::default();
    let connection_reuse = connection_reuse(modules.version());
    findings.push(Finding::good("kernel", format!("Linux {}", modules.release)));
    Probe { capabilities: Capabilities { families, schedulers, missing, connection_reuse }, findings }
}

/// Loads IPVS if it is missing, with `modprobe`.
pub fn load_ipvs() {
    if ipvs::Client::open().is_err() {
        // The result is ignored: the probe that follows reports what is missing.
        let _ = process::run("modprobe", &["-a", "ip_vs"], "");
    }
}

/// Tests a scheduler on an unused virtual server, unless one of `servers`, the kernel's virtual servers, already
/// uses the scheduler. Where modules cannot be listed, only this test gives a certain answer.
///
/// # Errors
/// When the kernel refuses the scheduler.
pub fn try_scheduler(
    kernel: &mut Linux,
    name: &str,
    servers: &BTreeMap<VirtualServer, Server>,
) -> Result<(), Failure> {
    if servers.values().any(|server| server.scheduling.scheduler == name) {
        return Ok(());
    }
    let at = |port| VirtualServer { protocol: Protocol::Tcp, address: SocketAddr::new(PROBE_ADDRESS, port) };
    // A virtual server of another program is never touched.
    let Some(server) = PROBE_PORTS.map(at).find(|server| !servers.contains_key(server)) else {
        return Ok(());
    };
    let scheduling =
        Scheduling { scheduler: name.to_owned(), flags: SchedulerFlags::default(), persistence: None };
    let mut make = |change| kernel.execute(&[change]).into_iter().next().unwrap_or(Ok(()));
    match make(Change::CreateVirtualServer(server, scheduling)) {
        Ok(()) => make(Change::DeleteVirtualServer(server)),
        // Another program is testing the same scheduler at this moment.
        Err(failure) if failure.kind == FailureKind::Stale => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn probe_ipvs(modules: &Modules, package: &Package) -> Finding {
    match ipvs::Client::open() {
        Ok(_) => Finding::good("ipvs", "the kernel has IPVS"),
        Err(error) if ipvs::is_absent(&error) => {
            let fix = match modules.has("ip_vs") {
                Presence::Absent => package.fix("ip_vs"),
                Presence::Loaded | Presence::Loadable | Presence::Unknown => "modprobe ip_vs".to_owned(),
            };
            Finding::bad("ipvs", "IPVS is not loaded", fix)
        }
        Err(error) => Finding::bad("ipvs", format!("cannot reach IPVS: {}", chain(&error)), "run as root"),
    }
}

fn probe_schedulers(
    modules: &Modules,
    package: &Package,
    findings: &mut Vec<Finding>,
) -> Option<Vec<String>> {
    let presence: Vec<(&str, Presence)> =
        SCHEDULERS.into_iter().map(|name| (name, modules.has(&format!("ip_vs_{name}")))).collect();
    let with = |wanted: &[Presence]| -> Vec<String> {
        presence.iter().filter(|(_, p)| wanted.contains(p)).map(|(name, _)| (*name).to_owned()).collect()
    };
    let usable = with(&[Presence::Loaded, Presence::Loadable]);
    if presence.iter().any(|(_, p)| *p == Presence::Unknown) {
        let loaded = match with(&[Presence::Loaded]) {
            names if names.is_empty() => "none loaded".to_owned(),
            names => format!("loaded: {}", names.join(" ")),
        };
        findings.push(Finding::warning(
            "schedulers",
            format!(
                "{loaded}; other schedulers may be available, but this kernel's modules cannot be listed"
            ),
            format!(
                "mount the node's /lib/modules/{} where weir runs, or load the schedulers that you need, \
                 for example with `modprobe ip_vs_wrr`",
                modules.release
            ),
        ));
        return None;
    }
    findings.push(if usable.is_empty() {
        Finding::bad("schedulers", "the kernel has no IPVS scheduler", package.fix("ip_vs_rr"))
    } else {
        Finding::good("schedulers", usable.join(" "))
    });
    Some(usable)
}

/// What to do about a configured scheduler that this kernel lacks. `None` if the kernel has the scheduler, or if the
/// kernel's modules cannot be listed.
pub fn missing_scheduler(name: &str) -> Option<Finding> {
    let modules = Modules::read();
    let module = format!("ip_vs_{name}");
    (modules.has(&module) == Presence::Absent).then(|| {
        let fix = Package::of(&modules.release).fix(&module);
        Finding::bad(
            "scheduler",
            format!("this kernel lacks the configured scheduler {name}, so weir exits at startup"),
            format!(
                "set ipvs.scheduler to a scheduler that the kernel has (`weir doctor` lists them), or {fix}"
            ),
        )
    })
}

/// Whether the kernel offers each set type in a supported revision. The check loads their modules.
fn probe_sets() -> Finding {
    const TOPIC: &str = "ipset";
    let fix = |error: &ipset::SetError| match error {
        ipset::SetError::Netlink(error) if error.refused_with() == Some(Errno::EPERM) => "run as root",
        _ => load_set_types!(),
    };
    let mut client = match ipset::Client::open() {
        Ok(client) => client,
        Err(error) => {
            return Finding::bad(TOPIC, format!("cannot reach ipset: {}", chain(&error)), fix(&error));
        }
    };
    let mut revisions = Vec::new();
    for set_type in SetType::ALL {
        let family = (set_type != SetType::BitmapPort).then_some(weir_netlink::Family::V4);
        match client.revisions(&ipset::SetType::of(set_type.name()), family) {
            Ok(offered) => revisions.push(format!("{set_type} up to {}", offered.newest)),
            Err(error) => {
                return Finding::bad(TOPIC, format!("set type {set_type}: {}", chain(&error)), fix(&error));
            }
        }
    }
    Finding::good(TOPIC, format!("protocol {}, {}", client.protocol(), revisions.join(", ")))
}

fn probe_families(findings: &mut Vec<Finding>) -> Vec<Family> {
    let mut families = Vec::new();
    for family in Family::BOTH {
        let topic = format!("{family} rules");
        let missing: Vec<String> = ["restore", "save"]
            .into_iter()
            .map(|action| iptables::program(family, action))
            .filter(|program| process::find(program).is_none())
            .collect();
        if !missing.is_empty() {
            let fix = "install the package `iptables`";
            let text = format!("missing: {}", missing.join(" "));
            match family {
                // Virtual servers without rules serve most traffic, so the family is kept.
                Family::V4 => {
                    findings.push(Finding::bad(&topic, text, fix));
                    families.push(family);
                }
                // Treated as an IPv4-only node, as kube-proxy does.
                Family::V6 => findings.push(Finding::warning(&topic, text, fix)),
            }
            continue;
        }
        if family == Family::V6
            && let Some(reason) = why_no_ipv6()
        {
            findings.push(Finding::warning(&topic, reason, "nothing to do on an IPv4-only node"));
            continue;
        }
        if family == Family::V6 && iptables::lacks_nat(family) {
            // Treated as an IPv4-only node, as kube-proxy does: IPv6 could never be complete.
            let fix = "nothing to do on an IPv4-only node; otherwise use a kernel with CONFIG_IP6_NF_NAT";
            findings.push(Finding::warning(&topic, "the kernel has no NAT for IPv6", fix));
            continue;
        }
        findings.push(programs(&topic, family));
        families.push(family);
    }
    families
}

/// The families whose rules can be read, whether or not they can be served.
pub fn families_with_rules() -> Vec<Family> {
    let has_rules = |family: &Family| match family {
        // If the programs are missing, the error of reading the rules says so.
        Family::V4 => true,
        Family::V6 => {
            why_no_ipv6().is_none() && process::find(&iptables::program(Family::V6, "save")).is_some()
        }
    };
    Family::BOTH.into_iter().filter(has_rules).collect()
}

/// Which iptables programs are used, and whether the kubelet uses the same variant.
fn programs(topic: &str, family: Family) -> Finding {
    let hint = iptables::variant::choice().hint;
    let Some((file, variant)) = iptables::variant(family) else {
        return Finding::good(topic, "cannot tell the iptables variant (nft or legacy)");
    };
    let text = format!("{} ({})", file.display(), variant.name());
    match hint {
        Some(hint) if hint == variant => Finding::good(topic, format!("{text}, same as the kubelet")),
        Some(hint) => {
            let hint = hint.name();
            let text = format!(
                "{text}, but the kubelet uses {hint}: rules are split between the two variants, which the kernel \
                 applies in no defined order"
            );
            let tables = if family == Family::V4 { "iptables" } else { "ip6tables" };
            let fix = format!("install the programs `{tables}-{hint}-restore` and `{tables}-{hint}-save`");
            Finding::warning(topic, text, fix)
        }
        None => Finding::good(topic, text),
    }
}

/// Why this machine has no IPv6; `None` if it has.
fn why_no_ipv6() -> Option<&'static str> {
    if fs::metadata("/proc/net/if_inet6").is_err() {
        return Some("the kernel has no IPv6");
    }
    let disabled = fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6").unwrap_or_default();
    (disabled.trim() == "1").then_some("IPv6 is disabled (net/ipv6/conf/all/disable_ipv6)")
}

/// From Linux 5.9, the kernel reuses connections without the delay that mode 1 caused before. Before 4.1 the
/// setting does not exist.
fn connection_reuse(version: (u32, u32)) -> ConnectionReuse {
    if ((4, 1)..(5, 9)).contains(&version) { ConnectionReuse::Disable } else { ConnectionReuse::Leave }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_reuse_depends_on_the_kernel() {
        assert_eq!(connection_reuse((6, 1)), ConnectionReuse::Leave);
        assert_eq!(connection_reuse((5, 9)), ConnectionReuse::Leave);
        assert_eq!(connection_reuse((5, 8)), ConnectionReuse::Disable);
        assert_eq!(connection_reuse((4, 19)), ConnectionReuse::Disable);
        assert_eq!(connection_reuse((4, 0)), ConnectionReuse::Leave);
    }
}
