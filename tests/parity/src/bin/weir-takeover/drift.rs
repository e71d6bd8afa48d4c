//! What each program does about what others change.

use anyhow::{Context, Result, anyhow, ensure};
use weir_harness::patience::{self, GENEROUS};
use weir_harness::witness::Dump;

use crate::Report;
use crate::node::{Node, config};
use crate::objects::{EXPOSED, INTERNAL, STICKY};

/// Something that happens on nodes.
struct Row {
    what: &'static str,
    script: String,
    /// The section of the dump, and what its lines contain that differ by it.
    section: &'static str,
    needle: String,
    /// Whether kube-proxy repairs it.
    kube_proxy: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Repaired,
    Stays,
}

use Answer::{Repaired, Stays};

fn row(
    what: &'static str,
    script: impl Into<String>,
    section: &'static str,
    needle: impl Into<String>,
    kube_proxy: Answer,
) -> Row {
    Row { what, script: script.into(), section, needle: needle.into(), kube_proxy }
}

/// What is done at once touches different lines.
fn batches() -> Vec<Vec<Row>> {
    let internal = format!("10.96.0.{INTERNAL}:80");
    let exposed = format!("10.96.0.{EXPOSED}:80");
    let sticky = format!("10.96.0.{STICKY}:80");
    vec![
        vec![
            row(
                "weight of an endpoint changed",
                format!("ipvsadm -e -t {internal} -r 10.244.0.11:8080 -m -w 7"),
                "ipvs",
                format!("-a -t {internal} -r 10.244.0.11:8080"),
                Stays,
            ),
            row(
                "foreign destination in a virtual server",
                format!("ipvsadm -a -t {exposed} -r 10.244.9.9:8080 -m"),
                "ipvs",
                "10.244.9.9:8080",
                Repaired,
            ),
            row(
                "endpoint deleted",
                format!("ipvsadm -d -u {internal} -r 10.244.0.12:8080"),
                "ipvs",
                format!("-a -u {internal} -r 10.244.0.12:8080"),
                Repaired,
            ),
            row(
                "scheduler changed",
                format!("ipvsadm -E -t {sticky} -s wrr -p 600"),
                "ipvs",
                format!("-A -t {sticky}"),
                Repaired,
            ),
            row(
                "foreign virtual server",
                "ipvsadm -A -t 192.0.2.200:81 -s rr",
                "ipvs",
                "192.0.2.200:81",
                Repaired,
            ),
            row("set emptied", "ipset flush KUBE-CLUSTER-IP", "ipset", "KUBE-CLUSTER-IP ", Repaired),
            row(
                "foreign entry in a set",
                "ipset add KUBE-LOOP-BACK 10.244.9.9,tcp:8080,10.244.9.9",
                "ipset",
                "10.244.9.9,tcp:8080",
                Repaired,
            ),
            row(
                "VIP taken from kube-ipvs0",
                "ip addr del 10.96.0.23/32 dev kube-ipvs0",
                "addresses",
                "10.96.0.23/32",
                Repaired,
            ),
            row(
                "foreign address on kube-ipvs0",
                "ip addr add 10.96.99.99/32 dev kube-ipvs0",
                "addresses",
                "10.96.99.99/32",
                Repaired,
            ),
            row(
                "rule put before others in a chain",
                "iptables -t nat -I KUBE-POSTROUTING -j RETURN",
                "iptables",
                "-A KUBE-POSTROUTING -j RETURN",
                Repaired,
            ),
            row(
                "jump to a chain deleted",
                "iptables -t filter -D INPUT -m comment --comment 'kubernetes ipvs access filter' \
                 -j KUBE-IPVS-FILTER",
                "iptables",
                "-j KUBE-IPVS-FILTER",
                Repaired,
            ),
            row(
                "sysctl net.ipv4.vs.conntrack set to 0",
                "echo 0 > /proc/sys/net/ipv4/vs/conntrack",
                "sysctl",
                "vs/conntrack",
                Stays,
            ),
        ],
        vec![
            row("`ipvsadm -C`", "ipvsadm -C", "ipvs", "-A ", Repaired),
            row("`iptables -t nat -F`", "iptables -t nat -F", "iptables", "nat -A ", Repaired),
            row("`iptables -t filter -F`", "iptables -t filter -F", "iptables", "filter -A ", Repaired),
        ],
        vec![row(
            "set exchanged for one with counters",
            "ipset create other hash:ip,port counters\nipset swap other KUBE-CLUSTER-IP\nipset destroy other",
            "ipset",
            "create KUBE-CLUSTER-IP",
            Stays,
        )],
        vec![row("kube-ipvs0 deleted", "ip link del kube-ipvs0", "addresses", "inet", Repaired)],
    ]
}

impl Row {
    /// Whether it shows in what differs.
    fn shows(&self, differences: &str) -> bool {
        let mut section = "";
        differences.lines().any(|line| {
            if let Some(name) = line.strip_prefix("## ") {
                section = name;
            }
            section == self.section && line.starts_with(['+', '-']) && line.contains(&self.needle)
        })
    }
}

/// First kube-proxy, which runs, then weir.
pub(crate) fn run(node: &mut Node<'_>, report: &mut Report) -> Result<()> {
    let expected = node.dump()?;
    let mut table = Vec::new();
    for batch in batches() {
        tamper(node, &batch, &expected)?;
        node.await_next_syncs(2)?;
        let differences = node.dump()?.differences(&expected);
        for row in &batch {
            let answer = if row.shows(&differences) { Stays } else { Repaired };
            let as_known = if answer == row.kube_proxy {
                Ok(format!("{answer:?}"))
            } else {
                Err(anyhow!("{answer:?}, where {:?} was recorded", row.kube_proxy))
            };
            report.step(&format!("drift, kube-proxy: {}", row.what), as_known);
            table.push((row.what, answer));
        }
        // For people: also what no row asks about.
        println!("what kube-proxy leaves different:\n{differences}");
        // weir puts right what kube-proxy leaves, so that the next rows begin at the same state.
        if !differences.is_empty() {
            node.kill();
            node.start_weir(&config())?;
            node.settle(&expected).context("weir, after kube-proxy's answer")?;
            node.kill();
            node.start_kube_proxy(&config())?;
        }
    }
    node.kill();
    node.start_weir(&config())?;
    node.settle(&expected)?;
    let mut ours = Vec::new();
    for batch in batches() {
        tamper(node, &batch, &expected)?;
        let repaired = patience::until(GENEROUS, || {
            let differences = node.dump()?.differences(&expected);
            ensure!(differences.is_empty(), "{differences}");
            Ok(())
        });
        ours.extend(batch.iter().map(|_| if repaired.is_ok() { Repaired } else { Stays }));
        let names: Vec<&str> = batch.iter().map(|row| row.what).collect();
        report.step(&format!("drift, weir: {}", names.join("; ")), repaired.map(|()| "Repaired".to_owned()));
    }
    println!("\n| What others change | kube-proxy | weir |\n|---|---|---|");
    for ((what, theirs), ours) in table.into_iter().zip(ours) {
        println!("| {what} | {theirs:?} | {ours:?} |");
    }
    Ok(())
}

/// Does what the rows say, each of which must show: a change that cannot be seen cannot be seen to be repaired. The
/// program must not repair it before the look, so it stands still meanwhile.
fn tamper(node: &mut Node<'_>, batch: &[Row], expected: &Dump) -> Result<()> {
    node.pause()?;
    let scripts: Vec<&str> = batch.iter().map(|row| row.script.as_str()).collect();
    node.script(&scripts.join("\n"))?;
    let differences = node.dump()?.differences(expected);
    for row in batch {
        ensure!(row.shows(&differences), "{} does not show in\n{differences}", row.what);
    }
    node.go_on()
}
