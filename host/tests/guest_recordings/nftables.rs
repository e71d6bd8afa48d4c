//! A node that was in nftables mode: its tables translate packets before IPVS sees them.

use std::fs;

use anyhow::{Context, Result, ensure};
use weir_harness::witness::{self, Dump};

use crate::stage::Stage;

/// What kube-proxy in nftables mode leaves, shortened; and tables of other programs, one of them with its name but
/// another family.
const TABLES: &str = "nft -f - <<'END'
    table ip kube-proxy {
        comment \"rules for kube-proxy\"
        map service-ips {
            type ipv4_addr . inet_proto . inet_service : verdict
            elements = { 10.96.0.1 . tcp . 443 : goto service-default }
        }
        chain service-default { ip daddr 10.96.0.1 tcp dport 443 dnat to 10.0.2.99:6443; }
        chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }
        chain nat-prerouting {
            type nat hook prerouting priority dstnat; policy accept;
            jump services
        }
        chain nat-output {
            type nat hook output priority -100; policy accept;
            jump services
        }
    }
    table ip6 kube-proxy {
        set cluster-ips { type ipv6_addr; elements = { fd00:96::1 } }
        chain nat-prerouting {
            type nat hook prerouting priority dstnat; policy accept;
            ip6 daddr @cluster-ips tcp dport 443 dnat to [fd00:2::99]:6443
        }
    }
    table ip other { chain input { type filter hook input priority 0; policy accept; }; }
    table inet kube-proxy { chain input { type filter hook input priority 0; policy accept; }; }
END";

/// The ones that are not kube-proxy's.
const OF_OTHERS: [&str; 2] = ["table inet kube-proxy", "table ip other"];

/// A chain of iptables mode, which IPVS mode does not touch.
const IPTABLES_MODE: &str = "iptables -t nat -N KUBE-SVC-ERIFXISQEP7F7OF4";

/// The tables that do not belong to iptables.
fn tables(stage: &Stage) -> Result<Vec<String>> {
    let listed = stage.netns.run("nft", &["list", "tables"])?;
    let named = |line: &&str| line.ends_with(" kube-proxy") || line.ends_with(" other");
    let mut tables: Vec<String> = listed.lines().filter(named).map(str::to_owned).collect();
    tables.sort();
    Ok(tables)
}

fn expect(stage: &Stage, expected: &[&str]) -> Result<()> {
    let found = tables(stage)?;
    ensure!(found == expected, "tables {found:?} instead of {expected:?}");
    Ok(())
}

fn all() -> Vec<&'static str> {
    let [inet, other] = OF_OTHERS;
    vec![inet, "table ip kube-proxy", other, "table ip6 kube-proxy"]
}

/// The daemon deletes them, but only once services work without them.
pub(crate) fn tables_go_once_services_work() -> Result<()> {
    let stage = Stage::named("dual-stack")?;
    stage.netns.script(TABLES)?;
    expect(&stage, &all())?;
    for command in ["plan", "diff"] {
        stage.weir().ask(command, &[])?;
    }
    let answer = stage.weir().ask("doctor", &[])?;
    ensure!(answer.stdout.contains("table ip kube-proxy, table ip6 kube-proxy"), "{answer:?}");
    expect(&stage, &all())?;

    let mut running = stage.start()?;
    let deleted = |table: &str| {
        let wanted = format!("deleted {table}, ");
        running.await_line("that a table is deleted", |line| line.text().contains(&wanted))
    };
    deleted("table ip kube-proxy")?;
    deleted("table ip6 kube-proxy")?;
    expect(&stage, &OF_OTHERS)?;
    let log = running.log()?;
    let line = |words: &str| log.iter().position(|line| line.text().contains(words)).context("no such line");
    ensure!(line("\"synchronised\"")? < line("deleted table")?, "deleted before anything replaced them");
    running.expect_health()
}

/// A single round also deletes them; if there are none, it asks once per family and changes nothing.
pub(crate) fn single_round_deletes_tables() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    stage.netns.script(TABLES)?;
    stage.netns.script(IPTABLES_MODE)?;
    let messages = || -> Result<[usize; 2]> {
        let trace = stage.scratch().join("trace");
        let weir = stage.weir();
        let mut command = stage.netns.command("strace");
        command.args(["-e", "trace=sendto,sendmsg", "-o"]).arg(&trace);
        command.arg(&weir.program).args(["run", "--once", "--config"]).arg(&weir.config);
        let output =
            command.arg("--manifests").arg(&weir.manifests).output().context("cannot start strace")?;
        ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        let trace = fs::read_to_string(&trace).context("no trace")?;
        let count = |word: &str| trace.matches(word).count();
        Ok([count("NFT_MSG_GETTABLE"), count("NFT_MSG_DELTABLE")])
    };
    ensure!(messages()? == [2, 2], "the first start asks and deletes");
    expect(&stage, &OF_OTHERS)?;
    let rules = stage.netns.run("iptables-save", &["-t", "nat"])?;
    ensure!(rules.contains("KUBE-SVC-ERIFXISQEP7F7OF4"), "chains of iptables mode are gone:\n{rules}");

    let left = Dump::of(&stage.netns)?;
    ensure!(messages()? == [2, 0], "the second start asks");
    witness::hold(&stage.netns, &left)
}

/// `weir cleanup` also deletes them, and proves it.
pub(crate) fn cleanup_deletes_tables() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    stage.netns.script(TABLES)?;
    let lines = ["delete table ip kube-proxy (nftables mode)", "delete table ip6 kube-proxy (nftables mode)"];
    let answer = stage.weir().ask("cleanup", &["--dry-run"])?;
    ensure!(lines.iter().all(|line| answer.stdout.contains(&format!("would {line}"))), "{answer:?}");
    expect(&stage, &all())?;
    let answer = stage.weir().ask("cleanup", &[])?;
    ensure!(answer.status == Some(0), "{answer:?}");
    ensure!(lines.iter().all(|line| answer.stdout.contains(line)), "{answer:?}");
    ensure!(answer.stdout.contains("nothing is left of any service proxy"), "{answer:?}");
    expect(&stage, &OF_OTHERS)?;
    let answer = stage.weir().ask("cleanup", &["--dry-run"])?;
    ensure!(answer.stdout.contains("nothing to remove"), "{answer:?}");

    // The same as a kube-proxy flag, and in JSON.
    stage.netns.script("nft add table ip6 kube-proxy")?;
    let answer = stage.weir().ask("run", &["--cleanup"])?;
    ensure!(answer.status == Some(0) && answer.stdout.contains(lines[1]), "{answer:?}");
    stage.netns.script("nft add table ip kube-proxy")?;
    let answer = stage.weir().ask("cleanup", &["--output", "json"])?;
    let said: serde_json::Value = serde_json::from_str(&answer.stdout).context("JSON")?;
    ensure!(said["clean"] == true && said["steps"][0]["step"] == lines[0], "{said}");
    expect(&stage, &OF_OTHERS)
}
