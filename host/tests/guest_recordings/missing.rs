//! One piece is missing: weir says which and how to mend it, and does everything that is safe without it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use weir_harness::netns;
use weir_harness::patience::{self, GENEROUS};
use weir_harness::weir::{LogLine, Running};
use weir_harness::witness::Dump;

use crate::manifests::{SOON, WEB};
use crate::stage::Stage;

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

/// The program that writes IPv4 rules is not installed: that holds up the IPv4 rules, and the end of what another mode
/// left, and nothing else.
pub(crate) fn without_iptables_restore_the_rest_is_programmed() -> Result<()> {
    let stage = Stage::named("dual-stack")?;
    let has_table = || stage.netns.script("nft list tables").map(|tables| tables.contains("ip kube-proxy"));
    stage.netns.script("nft add table ip kube-proxy")?;
    let recorded = stage.recorded()?;
    // `ip netns exec` gives each process its own mounts, so this hides the program from this one only.
    let hidden = stage.scratch().join("sbin");
    let script = format!(
        "cp -a /usr/sbin {0}; rm {0}/iptables{{,-nft,-legacy}}-restore; mount --bind {0} /usr/sbin; exec \"$@\"",
        hidden.display()
    );
    let weir = stage.weir();
    let mut command = stage.netns.command("bash");
    command.args(["-euc", &script, "bash"]).arg(&weir.program).arg("run");
    command.arg("--config").arg(&weir.config).arg("--manifests").arg(&weir.manifests);
    let running = Running::start(command)?;
    let sections = ["ipvs", "ipset", "ip6tables", "addresses", "link", "sysctl"];
    settle(&stage, &running, &sections, &recorded)?;
    running.await_line("with the fix", |line| {
        line.level() == "ERROR" && says(line, &["iptables-restore", "install the package `iptables`"])
    })?;

    ensure!(has_table()?, "nftables mode was ended while rules are missing");

    // Installing it is enough.
    stage.netns.script(&format!("nsenter -t {} -m umount -l /usr/sbin", running.id()))?;
    stage.settle(&running, &recorded)?;
    patience::until(GENEROUS, || {
        ensure!(!has_table()?, "the table of nftables mode is still there");
        Ok(())
    })
}

/// The configured scheduler is not in this kernel.
pub(crate) fn unknown_scheduler_is_named_with_its_module() -> Result<()> {
    let stage = Stage::named("cluster-cidr")?.with_ipvs("scheduler", "twos")?;
    let running = stage.weir().run()?;
    let sections = ["ipset", "iptables", "ip6tables", "sysctl"];
    settle(&stage, &running, &sections, &stage.recorded()?)?;
    running.await_line("with the fix", |line| says(line, &["`twos`", "modprobe ip_vs_twos"])).map(drop)
}

/// Somebody holds the lock that all iptables programs of the legacy variant take.
pub(crate) fn held_lock_delays_only_what_needs_new_rules() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    let programs = stage.scratch().join("legacy");
    fs::create_dir(&programs)?;
    for program in ["iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save"] {
        symlink("/usr/sbin/xtables-legacy-multi", programs.join(program))?;
    }
    let mut command = stage.weir().command("run");
    command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH")?));
    let running = Running::start(command)?;
    let sections = ["ipvs", "ipset", "addresses", "sysctl"];
    settle(&stage, &running, &sections, &stage.recorded()?)?;

    // As the programs do: flock(2) on this file.
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
    settle(&stage, &running, &["ipvs", "ipset", "addresses"], &stage.planned()?)?;

    // What rules keep out must not come up without them.
    let ranged = WEB
        .replace("spec:", "spec:\n  externalIPs: [203.0.113.9]\n  loadBalancerSourceRanges: [192.0.2.0/24]");
    let ranged = ranged.replacen("---", "status: {loadBalancer: {ingress: [{ip: 198.51.100.77}]}}\n---", 1);
    stage.manifests.put("web.yaml", &ranged)?;
    running.await_line("about what waits", |line| says(line, &["198.51.100.77", "source ranges"]))?;
    let held = Dump::of(&stage.netns)?;
    let open = held.section("ipvs").iter().chain(held.section("addresses"));
    ensure!(
        open.clone().all(|line| !line.contains("198.51.100.77")),
        "a VIP is up without its source ranges"
    );

    lock.unlock()?;
    settle(&stage, &running, &["ipvs", "ipset", "addresses"], &stage.planned()?)?;
    ensure!(rules()?.contains(words), "the rules are missing:\n{}", rules()?);
    Ok(())
}
