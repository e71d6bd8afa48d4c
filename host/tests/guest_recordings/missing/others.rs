//! Changes by other programs to tables and to the dummy device.

use anyhow::{Result, ensure};
use weir_harness::patience::{self, AUDITED};
use weir_harness::weir::Running;
use weir_harness::witness::Dump;

use super::says;
use crate::stage::Stage;

/// An administrator's rule that only nft can write, in the table that iptables uses.
const NATIVE: &str = "
    nft add table ip nat
    nft 'add set ip nat routed { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 } }'
    nft 'add chain ip nat POSTROUTING { type nat hook postrouting priority srcnat; }'
    nft add rule ip nat POSTROUTING ip daddr @routed counter masquerade";
const GONE: &str = "nft flush chain ip nat POSTROUTING; nft delete set ip nat routed";

fn names_the_table(running: &Running) -> Result<()> {
    let words = ["nat", "incompatible", "nft list ruleset"];
    running.await_line("about the table", |line| line.level() == "ERROR" && says(line, &words)).map(drop)
}

/// The table is not read, and therefore not written; the table `filter`, and with it VIPs, do not wait for it.
pub(crate) fn table_that_only_nft_can_read_holds_up_no_other() -> Result<()> {
    let stage = Stage::named("dual-stack")?.with_ipvs("syncPeriod", "5s")?;
    let recorded = stage.recorded()?;
    stage.netns.script(NATIVE)?;
    let running = stage.weir().run_privileged()?;
    names_the_table(&running)?;
    patience::until(AUDITED, || {
        let now = Dump::of(&stage.netns)?;
        for section in ["ipvs", "ipset", "ip6tables", "addresses"] {
            ensure!(now.section(section) == recorded.section(section), "{}", now.differences(&recorded));
        }
        let filter = now.section("iptables").iter().any(|line| line.contains("-A KUBE-IPVS-FILTER"));
        ensure!(filter, "{}", now.differences(&recorded));
        Ok(())
    })
    .map_err(|error| running.blame(&error))?;
    let nat = stage.netns.script("nft list table ip nat")?;
    ensure!(nat.contains("@routed") && !nat.contains("KUBE-SERVICES"), "{nat}");

    stage.netns.script(GONE)?;
    patience::until(AUDITED, || {
        let rules = stage.netns.script("iptables-save -t nat")?;
        ensure!(rules.contains("-A KUBE-MARK-MASQ"), "{rules}");
        Ok(())
    })
    .map_err(|error| running.blame(&error))
}

/// The same while weir runs: an audit must not mistake the table for an empty one and add its jumps again.
pub(crate) fn table_that_nft_took_is_left_alone() -> Result<()> {
    let stage = Stage::named("dual-stack")?.with_ipvs("syncPeriod", "5s")?;
    let recorded = stage.recorded()?;
    let running = stage.weir().run_privileged()?;
    stage.settle(&running, &recorded)?;
    stage.netns.script(
        "nft 'add set ip nat routed { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 } }'
         nft add rule ip nat POSTROUTING ip daddr @routed counter masquerade",
    )?;
    names_the_table(&running)?;
    std::thread::sleep(std::time::Duration::from_secs(6));
    let jumps = stage.netns.script("nft list chain ip nat PREROUTING")?.matches("KUBE-SERVICES").count();
    ensure!(jumps == 1, "{jumps} jumps");
    let handle = "nft -a list chain ip nat POSTROUTING | sed -n 's/.*@routed.*handle //p'";
    stage.netns.script(&format!(
        "nft delete rule ip nat POSTROUTING handle $({handle}); nft delete set ip nat routed"
    ))?;
    stage.settle(&running, &recorded)
}

/// Hardening guides disable IPv6 on devices created later, such as the dummy device.
pub(crate) fn ipv6_that_is_off_for_new_devices_is_switched_on_for_ours() -> Result<()> {
    let stage = Stage::named("dual-stack")?;
    stage.netns.script("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")?;
    let running = stage.weir().run_privileged()?;
    stage.settle(&running, &stage.recorded()?)
}

/// In a container that cannot write sysctls, the one to set is named, in one line for all addresses; setting it is
/// sufficient.
pub(crate) fn sysctl_that_keeps_ipv6_off_is_named() -> Result<()> {
    let stage = Stage::named("dual-stack")?.with_ipvs("syncPeriod", "5s")?;
    stage.netns.script("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")?;
    let running = stage.run()?;
    let line = running.await_line("about the sysctl", |line| {
        line.level() == "ERROR" && says(line, &["net.ipv6.conf.kube-ipvs0.disable_ipv6=0"])
    })?;
    ensure!(says(&line, &["add address"]), "{}", line.text());
    let recorded = stage.recorded()?;
    ensure!(
        Dump::of(&stage.netns)?.section("ipvs") == recorded.section("ipvs"),
        "virtual servers wait for it"
    );
    stage.netns.script("echo 0 > /proc/sys/net/ipv6/conf/kube-ipvs0/disable_ipv6")?;
    stage.settle(&running, &recorded)
}

/// A network daemon assigned addresses with a whole network to the device and set it up, so that it would attract the
/// whole network.
pub(crate) fn networks_on_the_device_go_and_their_vips_stay() -> Result<()> {
    let stage = Stage::named("dual-stack")?.with_ipvs("syncPeriod", "5s")?;
    let recorded = stage.recorded()?;
    let running = stage.weir().run_privileged()?;
    stage.settle(&running, &recorded)?;
    let vip = |separator: char| {
        let lines = recorded.section("addresses").iter();
        lines
            .filter_map(|line| {
                line.split_whitespace().find(|word| word.contains('/') && word.contains(separator))
            })
            .find(|word| word.ends_with("/32") || word.ends_with("/128"))
            .map(str::to_owned)
    };
    let (Some(v4), Some(v6)) = (vip('.'), vip(':')) else { anyhow::bail!("no VIPs: {recorded:?}") };
    let bare = |vip: &str| vip.split('/').next().unwrap_or_default().to_owned();
    stage.netns.script(&format!(
        "ip link set kube-ipvs0 up
         ip addr del {v4} dev kube-ipvs0; ip addr add {}/24 dev kube-ipvs0
         ip addr del {v6} dev kube-ipvs0; ip addr add {}/64 dev kube-ipvs0 nodad
         ip addr add 10.99.99.9/24 dev kube-ipvs0",
        bare(&v4),
        bare(&v6)
    ))?;
    running.await_line("about the network", |line| says(line, &["10.99.99.9/24", "removed"]))?;
    patience::until(AUDITED, || {
        let now = Dump::of(&stage.netns)?;
        ensure!(now.section("addresses") == recorded.section("addresses"), "{}", now.differences(&recorded));
        let routes = stage.netns.script("ip route show dev kube-ipvs0; ip -6 route show dev kube-ipvs0")?;
        ensure!(!routes.contains("/24") && !routes.contains(&format!("{}/64", bare(&v6))), "{routes}");
        Ok(())
    })
    .map_err(|error| running.blame(&error))
}
