//! One component is missing: weir names it and the fix, and does everything that is safe without it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::json;
use weir_harness::netns;
use weir_harness::patience::{self, GENEROUS};
use weir_harness::weir::{LogLine, Running, confined_to};
use weir_harness::witness::Dump;

use crate::manifests::{SOON, WEB};
use crate::stage::Stage;

pub(crate) mod extensions;
pub(crate) mod others;

/// Waits until these sections are as expected.
fn settle(stage: &Stage, running: &Running, sections: &[&str], expected: &Dump) -> Result<()> {
    patience::until(GENEROUS, || {
        let now = Dump::of(&stage.netns)?;
        let expected = sections.iter().fold(now.clone(), |dump, name| dump.with_section(name, expected));
        now.expect(&expected)
    })
    .map_err(|error| running.blame(&error))
}

fn says(line: &LogLine, words: &[&str]) -> bool {
    words.iter().all(|word| line.text().contains(word))
}

/// A folder with these programs of the legacy variant.
fn legacy(stage: &Stage, programs: &[&str]) -> Result<PathBuf> {
    let folder = stage.scratch().join("legacy");
    fs::create_dir(&folder)?;
    for program in programs {
        symlink("/usr/sbin/xtables-legacy-multi", folder.join(program))?;
    }
    Ok(folder)
}

/// The search path with this folder first.
fn before_others(folder: &Path) -> Result<String> {
    Ok(format!("{}:{}", folder.display(), std::env::var("PATH")?))
}

/// The program that writes IPv4 rules is not installed: only the IPv4 rules and the removal of another mode's
/// leftovers have to wait.
pub(crate) fn without_iptables_restore_the_rest_is_programmed() -> Result<()> {
    let stage = Stage::named("dual-stack")?;
    let has_table = || stage.netns.script("nft list tables").map(|tables| tables.contains("ip kube-proxy"));
    stage.netns.script("nft add table ip kube-proxy")?;
    let recorded = stage.recorded()?;
    let hide = stage.with_sbin("rm iptables{,-nft,-legacy}-restore");
    let running = Running::start(stage.weir().command_after(&hide, "run"))?;
    settle(&stage, &running, &["ipvs", "ipset", "ip6tables", "link", "sysctl"], &recorded)?;
    // Nothing closes the host's own ports on them.
    let bound = Dump::of(&stage.netns)?.section("addresses").iter().any(|line| line.contains("10.96."));
    ensure!(!bound, "IPv4 VIPs are up");
    running.await_line("with the fix", |line| {
        line.level() == "ERROR" && says(line, &["iptables-restore", "install the package `iptables`"])
    })?;

    ensure!(has_table()?, "nftables mode's table was removed while rules are missing");

    // Installing it is sufficient.
    stage.netns.script(&format!("nsenter -t {} -m umount -l /usr/sbin", running.id()))?;
    stage.settle(&running, &recorded)?;
    patience::until(GENEROUS, || {
        ensure!(!has_table()?, "the table of nftables mode still exists");
        Ok(())
    })
}

/// Reading the rules of one family fails: only that family's rules wait.
pub(crate) fn unreadable_rules_hold_up_their_family_only() -> Result<()> {
    let stage = Stage::named("dual-stack")?;
    let recorded = stage.recorded()?;
    // There are rules to read, and one of them is missing.
    let left = stage.leave()?;
    stage.netns.script("iptables -t nat -F KUBE-SERVICES; ip6tables -t nat -F KUBE-SERVICES; ipvsadm -C")?;
    let fail = stage.with_sbin(
        "rm ip6tables-save
         printf '#!/bin/bash\\necho table is incompatible >&2\\nexit 1\\n' > ip6tables-save; chmod 755 ip6tables-save",
    );
    let running = Running::start(stage.weir().command_after(&fail, "run"))?;
    settle(&stage, &running, &["ipvs", "ipset", "iptables", "addresses", "link", "sysctl"], &recorded)?;
    running.await_line("with the cause", |line| {
        line.level() == "ERROR"
            && says(line, &["ip6tables-save", "cannot read the table", "table is incompatible"])
    })?;
    ensure!(
        Dump::of(&stage.netns)?.section("ip6tables") != left.section("ip6tables"),
        "they were not held back"
    );

    stage.netns.script(&format!("nsenter -t {} -m umount -l /usr/sbin", running.id()))?;
    stage.settle(&running, &recorded)
}

/// CAP_NET_ADMIN alone: only `iptables-restore` needs the other capability, so only the rules wait.
pub(crate) fn without_net_raw_the_rest_is_programmed() -> Result<()> {
    let stage = Stage::named("dual-stack")?;
    let recorded = stage.recorded()?;
    let weir = stage.weir();
    let answer = weir.ask("run", &["--init-only"])?;
    ensure!(answer.status == Some(0), "{answer:?}");
    let mut command = confined_to(&["cap_net_admin"], |program| stage.netns.command(program), &weir.program);
    command.arg("run").arg("--config").arg(&weir.config).arg("--manifests").arg(&weir.manifests);
    let running = Running::start(command)?;
    settle(&stage, &running, &["ipvs", "ipset", "link", "sysctl"], &recorded)?;
    running
        .await_line("with the fix", |line| {
            line.level() == "ERROR" && says(line, &["iptables-restore", "CAP_NET_RAW"])
        })
        .map(drop)
}

/// The configured scheduler is not in this kernel: like kube-proxy, weir exits before it changes anything.
pub(crate) fn unknown_scheduler_is_named_with_its_module() -> Result<()> {
    let stage = Stage::named("cluster-cidr")?.with_ipvs("scheduler", "twos")?;
    let before = Dump::of(&stage.netns)?;
    let answer = stage.weir().ask("run", &["--once"])?;
    let words = ["can't use the IPVS proxier", "scheduler twos", "modprobe ip_vs_twos"];
    ensure!(answer.status == Some(1) && words.iter().all(|word| answer.stderr.contains(word)), "{answer:?}");
    let after = Dump::of(&stage.netns)?;
    after.expect(&before)?;
    let (exit, status) = stage.status()?;
    let first = |index: usize| status["todo"][index].to_string();
    ensure!(first(0).contains("scheduler twos") && first(0).contains("modprobe ip_vs_twos"), "{status:#}");
    ensure!(exit == Some(1) && status["daemon"].is_null(), "{status:#}");
    ensure!(first(1).contains("no daemon answers"), "{status:#}");
    ensure!(
        status["kernel"]["virtualServers"] == 0 && status["backend"]["scheduler"] == "twos",
        "{status:#}"
    );
    Ok(())
}

/// A kernel whose legacy ip6tables has no NAT: weir serves IPv4 only, and that is complete.
pub(crate) fn without_ip6_nat_the_node_has_ipv4_only() -> Result<()> {
    let stage = Stage::named("dual-stack")?;
    let programs = legacy(&stage, &["iptables-restore", "iptables-save", "ip6tables-restore"])?;
    let save = programs.join("ip6tables-save");
    fs::write(
        &save,
        "#!/bin/bash\necho 'Cannot initialize: Table does not exist (do you need to insmod?)' >&2\nexit 3\n",
    )?;
    fs::set_permissions(&save, Permissions::from_mode(0o755))?;
    let mut command = stage.weir().command("run");
    command.arg("--once").env("PATH", before_others(&programs)?);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains("no NAT for IPv6"), "{output:?}");
    let now = Dump::of(&stage.netns)?;
    let servers = now.section("ipvs");
    ensure!(servers.iter().any(|line| line.contains("10.96.")), "no virtual servers of IPv4: {now:?}");
    ensure!(!servers.iter().any(|line| line.contains('[')), "virtual servers of IPv6: {now:?}");
    ensure!(!now.section("ipset").iter().any(|line| line.contains("KUBE-6-")), "sets of IPv6: {now:?}");
    Ok(())
}

/// Another program holds the lock that all iptables programs of the legacy variant take.
pub(crate) fn held_lock_delays_only_what_needs_new_rules() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    let programs =
        legacy(&stage, &["iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save"])?;
    let mut command = stage.weir().command("run");
    command.env("PATH", before_others(&programs)?);
    let running = Running::start(command)?;
    let sections = ["ipvs", "ipset", "addresses", "sysctl"];
    settle(&stage, &running, &sections, &stage.recorded()?)?;

    // As these programs do: flock(2) on this file.
    let lock = File::create("/run/xtables.lock")?;
    lock.lock()?;
    stage.manifests.put("web.yaml", WEB)?;
    let with = stage.planned()?;
    patience::until(SOON, || settle(&stage, &running, &["ipvs", "ipset", "addresses"], &with))?;

    let external = WEB.replace("spec:", "spec:\n  externalIPs: [203.0.113.9]");
    stage.manifests.put("web.yaml", &external)?;
    running.await_line("about the lock", |line| says(line, &["another program holds the xtables lock"]))?;
    let rules = || netns::output(stage.netns.command("iptables-legacy-save").args(["-t", "nat"]));
    let words = "--match-set KUBE-EXTERNAL-IP dst,dst -j KUBE-MARK-MASQ";
    ensure!(!rules()?.contains(words), "the lock was not held");
    let status = stage.await_status(1, |status| status["daemon"]["failing"] == 1)?;
    let pending = &status["daemon"]["pending"][0];
    let why = pending["why"].as_str().unwrap_or_default();
    ensure!(
        pending["needs"] == "lock" && why.contains("another program holds the xtables lock"),
        "{status:#}"
    );
    ensure!(status["daemon"]["inStepSince"].is_null() && status["todo"][0]["urgent"] == true, "{status:#}");
    settle(&stage, &running, &["ipvs", "ipset", "addresses"], &stage.planned()?)?;

    // VIPs that need rules to exclude traffic must not come up without them.
    let ranged = WEB
        .replace("spec:", "spec:\n  externalIPs: [203.0.113.9]\n  loadBalancerSourceRanges: [192.0.2.0/24]");
    let ranged = ranged.replacen("---", "status: {loadBalancer: {ingress: [{ip: 198.51.100.77}]}}\n---", 1);
    stage.manifests.put("web.yaml", &ranged)?;
    running.await_line("about what waits", |line| says(line, &["198.51.100.77", "source ranges"]))?;
    stage.await_status(1, |status| status["daemon"]["held"].as_u64() > Some(0))?;
    let held = Dump::of(&stage.netns)?;
    let open = held.section("ipvs").iter().chain(held.section("addresses"));
    ensure!(
        open.clone().all(|line| !line.contains("198.51.100.77")),
        "a VIP is up without its source ranges"
    );

    lock.unlock()?;
    settle(&stage, &running, &["ipvs", "ipset", "addresses"], &stage.planned()?)?;
    ensure!(rules()?.contains(words), "the rules are missing:\n{}", rules()?);
    let status = stage.await_status(0, |status| status["daemon"]["inStepSince"].is_u64())?;
    let daemon = &status["daemon"];
    ensure!(daemon["failing"] == 0 && daemon["held"] == 0 && daemon["pending"] == json!([]), "{status:#}");
    ensure!(daemon["lastChange"]["made"].as_u64() > Some(0), "{status:#}");
    let stops = status["journey"]["stops"].as_array().map_or(0, Vec::len);
    ensure!(stops > 0 && status["journey"]["ways"][0]["realServer"].is_string(), "{status:#}");
    Ok(())
}
