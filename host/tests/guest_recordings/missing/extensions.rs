//! An iptables match or target is missing: only the rules that need it are written differently or left out.

use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use weir_harness::patience::{self, AUDITED};
use weir_harness::weir::Running;
use weir_harness::witness::Dump;

use super::says;
use crate::stage::Stage;

/// Starts weir with an iptables installation that lacks these libraries.
fn start_without(stage: &Stage, libraries: &[&str]) -> Result<Running> {
    let copy = stage.scratch().join("xtables");
    let names: Vec<String> = libraries.iter().map(|name| format!("{}/{name}.so", copy.display())).collect();
    let lines = format!(
        "cp -a /usr/lib/x86_64-linux-gnu/xtables {0}; rm {1}; export XTABLES_LIBDIR={0}",
        copy.display(),
        names.join(" ")
    );
    Running::start(stage.weir().command_after(&lines, "run"))
}

/// Waits until the rules of both families are those of the recording after `change`, and the rest is as recorded.
fn settle(stage: &Stage, running: &Running, change: impl Fn(&str) -> Option<String>) -> Result<()> {
    let recorded = stage.recorded()?;
    patience::until(AUDITED, || {
        let now = Dump::of(&stage.netns)?;
        for section in ["iptables", "ip6tables"] {
            let wanted: Vec<String> =
                recorded.section(section).iter().filter_map(|line| change(line)).collect();
            ensure!(wanted != recorded.section(section), "the recording has no such rule");
            ensure!(now.section(section) == wanted, "{section}: {}", now.differences(&recorded));
        }
        for section in ["ipvs", "ipset", "addresses"] {
            ensure!(now.section(section) == recorded.section(section), "{}", now.differences(&recorded));
        }
        Ok(())
    })
    .map_err(|error| running.blame(&error))
}

/// The list of modules promises a match that does not work: what needs it is left out, and everything else exists.
pub(crate) fn match_that_does_not_load_keeps_no_other_rule_out() -> Result<()> {
    let stage = Stage::named("lb-source-ranges-exclude-node")?;
    let mut running = start_without(&stage, &["libxt_ipvs"])?;
    running.await_line("about the match", |line| says(line, &["libxt_ipvs", "can reach a load balancer"]))?;
    let recorded = stage.recorded()?;
    let without: Vec<&String> =
        recorded.section("iptables").iter().filter(|line| !line.contains("-m ipvs")).collect();
    patience::until(AUDITED, || {
        let now = Dump::of(&stage.netns)?;
        ensure!(now.section("iptables").iter().eq(without.iter().copied()), "{}", now.differences(&recorded));
        ensure!(now.section("ipvs") == recorded.section("ipvs"), "{}", now.differences(&recorded));
        Ok(())
    })
    .map_err(|error| running.blame(&error))?;
    running.expect_health()
}

/// Kernels without `physdev` are common: only the match is dropped, and its rule stays.
pub(crate) fn rules_for_external_ips_do_without_physdev() -> Result<()> {
    let stage = Stage::named("external-ip")?;
    let mut running = start_without(&stage, &["libxt_physdev"])?;
    let recorded = stage.recorded()?;
    let wanted: Vec<String> = recorded
        .section("iptables")
        .iter()
        .map(|line| line.replace(" -m physdev ! --physdev-is-in", ""))
        .collect();
    ensure!(wanted != recorded.section("iptables"), "the recording has no such rule");
    patience::until(AUDITED, || {
        let now = Dump::of(&stage.netns)?;
        ensure!(now.section("iptables") == wanted, "{}", now.differences(&recorded));
        ensure!(now.section("ipvs") == recorded.section("ipvs"), "{}", now.differences(&recorded));
        Ok(())
    })
    .map_err(|error| running.blame(&error))?;
    running.await_line("about the match", |line| says(line, &["libxt_physdev", "IPv4 and IPv6 rules"]))?;
    running.expect_health()
}

/// Rules without comments are recognised as weir's: they are not written again, and get their comments back once
/// possible.
pub(crate) fn rules_do_without_comments_and_refusals_and_get_them_back() -> Result<()> {
    let stage = Stage::named("dual-stack")?.with_ipvs("syncPeriod", "5s")?;
    let running = start_without(&stage, &["libxt_comment", "libipt_REJECT", "libip6t_REJECT"])?;
    let plain = |line: &str| {
        let mut line = line.to_owned();
        while let Some((before, rest)) = line.split_once(" -m comment --comment \"") {
            let after = rest.split_once('"').map_or("", |(_, after)| after);
            line = format!("{before}{after}");
        }
        Some(line.split_once(" -j REJECT").map_or(line.clone(), |(start, _)| format!("{start} -j DROP")))
    };
    settle(&stage, &running, plain)?;
    // An audit finds nothing to do: no jump exists twice.
    let audits = |running: &Running| -> Result<usize> {
        Ok(running.log()?.iter().filter(|line| line.text() == "synchronised").count())
    };
    let before = audits(&running)?;
    std::thread::sleep(std::time::Duration::from_secs(8));
    ensure!(
        audits(&running)? == before,
        "{}",
        running.blame(&anyhow::anyhow!("rules are written again and again"))
    );
    settle(&stage, &running, plain)?;

    let libraries = "/usr/lib/x86_64-linux-gnu/xtables";
    for name in ["libxt_comment", "libipt_REJECT", "libip6t_REJECT"] {
        symlink(
            format!("{libraries}/{name}.so"),
            stage.scratch().join("xtables").join(format!("{name}.so")),
        )?;
    }
    stage.settle(&running, &stage.recorded()?)?;
    running.await_line("that all is well", |line| says(line, &["all iptables matches and targets"])).map(drop)
}

/// Without `conntrack`, nothing can close the host's own ports on VIPs: no VIP comes up, and the node reports that it
/// is unhealthy.
pub(crate) fn no_vip_comes_up_whose_host_ports_cannot_be_closed() -> Result<()> {
    let stage = Stage::named("dual-stack")?.with_ipvs("syncPeriod", "5s")?;
    let running = start_without(&stage, &["libxt_conntrack"])?;
    running.await_line("about the match", |line| says(line, &["libxt_conntrack", "VIPs do not come up"]))?;
    running.await_line("about the rules", |line| line.level() == "ERROR" && says(line, &["conntrack"]))?;
    let recorded = stage.recorded()?;
    let up = |now: &Dump| now.section("addresses") == recorded.section("addresses");
    let nat = |now: &Dump| now.section("iptables").iter().any(|line| line.contains("-A KUBE-MARK-MASQ"));
    patience::until(AUDITED, || {
        let now = Dump::of(&stage.netns)?;
        ensure!(
            now.section("ipvs") == recorded.section("ipvs") && nat(&now),
            "{}",
            now.differences(&recorded)
        );
        Ok(())
    })
    .map_err(|error| running.blame(&error))?;
    let now = Dump::of(&stage.netns)?;
    ensure!(!up(&now) && !now.section("addresses").iter().any(|line| line.contains("10.96.")), "{now:?}");

    let library = stage.scratch().join("xtables/libxt_conntrack.so");
    symlink("/usr/lib/x86_64-linux-gnu/xtables/libxt_conntrack.so", library)?;
    stage.settle(&running, &recorded)
}
