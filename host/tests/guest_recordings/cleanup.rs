//! `weir cleanup` removes what a service proxy left, and nothing else.

use anyhow::{Result, ensure};
use weir_harness::witness::{self, Dump};

use crate::stage::Stage;

/// State of other programs on a node. One chain per table, so that every table exists from the start.
const FOREIGN: &str = "
    for program in iptables ip6tables; do
        $program -t nat -N DOCKER
        $program -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
        $program -t filter -N KUBE-FIREWALL
        $program -t filter -A INPUT -j KUBE-FIREWALL
        $program -t mangle -N KUBE-KUBELET-CANARY
    done
    ipset create blocked hash:net
    ipset add blocked 192.0.2.0/24
    iptables -t filter -A INPUT -m set --match-set blocked src -j DROP
    ip link add dummy7 type dummy
    ip addr add 192.0.2.77/24 dev dummy7
";

/// A virtual server inside the networks that the scenario excludes.
const FOREIGN_SERVER: &str = "ipvsadm -A -t 192.0.2.100:8443 -s rr";

/// State left by kube-proxy in iptables mode.
const IPTABLES_MODE: &str = "
    for program in iptables ip6tables; do
        $program -t mangle -N KUBE-PROXY-CANARY
        $program -t nat -N KUBE-SVC-ERIFXISQEP7F7OF4
        $program -t nat -N KUBE-SEP-IXIQSKMKAEGVXFLN
        $program -t nat -N KUBE-NODEPORTS
        $program -t filter -N KUBE-EXTERNAL-SERVICES
        $program -t nat -A KUBE-SVC-ERIFXISQEP7F7OF4 -m comment --comment 'dns -> pod' -j KUBE-SEP-IXIQSKMKAEGVXFLN
        $program -t nat -A KUBE-SEP-IXIQSKMKAEGVXFLN -j KUBE-MARK-MASQ
        $program -t nat -A KUBE-NODEPORTS -p tcp --dport 30001 -j KUBE-SVC-ERIFXISQEP7F7OF4
        $program -t nat -I PREROUTING -m conntrack --ctstate NEW -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES
        $program -t filter -I INPUT -m conntrack --ctstate NEW -m comment --comment 'kubernetes externally-visible service portals' -j KUBE-EXTERNAL-SERVICES
    done
";

pub(crate) fn cleanup_leaves_nothing() -> Result<()> {
    let stage = Stage::named("dual-stack")?;
    stage.netns.script(FOREIGN)?;
    let before = Dump::of(&stage.netns)?;
    ensure!(stage.weir().ask("run", &["--once"])?.status == Some(0), "weir run --once failed");
    stage.netns.script(IPTABLES_MODE)?;
    let full = Dump::of(&stage.netns)?;
    ensure!(
        full.section("ipvs").len() > 5 && !full.section("link").is_empty(),
        "there is something to remove"
    );

    let answer = stage.weir().ask("cleanup", &["--dry-run"])?;
    ensure!(answer.status == Some(0), "{answer:?}");
    let wanted = [
        "IPv4 chains",
        "IPv6 chains",
        "KUBE-CLUSTER-IP",
        "KUBE-6-CLUSTER-IP",
        "kube-ipvs0",
        "10.96.5.10:443",
    ];
    for word in wanted {
        ensure!(answer.stdout.contains(word), "`{word}` is not announced: {}", answer.stdout);
    }
    witness::hold(&stage.netns, &full)?;

    let answer = stage.weir().ask("cleanup", &[])?;
    ensure!(answer.status == Some(0), "{answer:?}");
    // Sysctls stay: other programs may rely on them.
    let expected = before.with_section("sysctl", &full).with_section("timeouts", &full);
    Dump::of(&stage.netns)?.expect(&expected)?;
    stage.netns.script("ip addr show dev dummy7 | grep -q 192.0.2.77")?;

    let answer = stage.weir().ask("cleanup", &[])?;
    ensure!(answer.status == Some(0) && answer.stdout.contains("nothing"), "{answer:?}");
    Ok(())
}

pub(crate) fn cleanup_spares_excluded_networks() -> Result<()> {
    let stage = Stage::named("exclude-cidrs")?;
    stage.netns.script(FOREIGN_SERVER)?;
    let before = Dump::of(&stage.netns)?;
    ensure!(stage.weir().ask("run", &["--once"])?.status == Some(0), "weir run --once failed");
    let full = Dump::of(&stage.netns)?;
    ensure!(full.section("ipvs").len() > before.section("ipvs").len(), "there is something to remove");

    let answer = stage.weir().ask("cleanup", &[])?;
    ensure!(answer.status == Some(0), "{answer:?}");
    let excluded = |dump: &Dump| -> Vec<String> {
        dump.section("ipvs").iter().filter(|line| line.contains(" 192.0.2.100:")).cloned().collect()
    };
    let left = Dump::of(&stage.netns)?;
    ensure!(left.section("ipvs") == excluded(&before), "left {left:?} of {before:?}");
    Ok(())
}

/// If rules cannot be read, only the sets that they name are kept.
pub(crate) fn cleanup_removes_what_it_can() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    ensure!(stage.weir().ask("run", &["--once"])?.status == Some(0), "weir run --once failed");
    let weir = stage.weir();
    let hide = stage.with_sbin("rm iptables{,-nft,-legacy}-save");
    let output = weir.command_after(&hide, "cleanup").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(
        said.contains("cannot read IPv4 rules of table nat")
            && said.contains("install the package `iptables`"),
        "{said}"
    );
    let left = Dump::of(&stage.netns)?;
    ensure!(left.section("ipvs").is_empty() && left.section("link").is_empty(), "{left:?}");
    let answer = weir.ask("cleanup", &[])?;
    ensure!(answer.status == Some(0), "{answer:?}");
    Ok(())
}

/// A node that was switched from one variant to the other has rules in both; the old rules keep sets from being
/// destroyed.
pub(crate) fn cleanup_removes_rules_of_both_variants() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    ensure!(stage.weir().ask("run", &["--once"])?.status == Some(0), "weir run --once failed");
    stage.netns.script("iptables-save | iptables-legacy-restore")?;
    let legacy = || stage.netns.script("iptables-legacy-save");
    ensure!(legacy()?.contains("KUBE-SERVICES"), "there is something to remove");

    let answer = stage.weir().ask("cleanup", &[])?;
    ensure!(answer.status == Some(0), "{answer:?}");
    ensure!(!legacy()?.contains("KUBE-"), "left:\n{}", legacy()?);
    ensure!(Dump::of(&stage.netns)?.section("ipset").is_empty(), "sets are left");
    Ok(())
}
