//! How each program reacts to changes made by others.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::node::{Node, Program};

/// Time limit for a repair: several synchronisation periods of 5 s.
const PATIENCE: Duration = Duration::from_secs(40);

/// What happens to the node, the command that does it, and whether kube-proxy repairs it.
const DRIFTS: [(&str, &str, bool); 17] = [
    ("all virtual servers removed", "ipvsadm -C", true),
    ("the weight of a real server changed", "ipvsadm -e -t 10.96.0.10:80 -r 10.244.0.11:8080 -m -w 7", false),
    ("a real server added", "ipvsadm -a -t 10.96.0.10:80 -r 10.244.9.9:8080 -m", true),
    ("a real server removed", "ipvsadm -d -t 10.96.0.10:80 -r 10.244.0.11:8080", true),
    ("a virtual server added", "ipvsadm -A -t 192.0.2.200:81 -s rr", true),
    ("the scheduler of a virtual server changed", "ipvsadm -E -t 10.96.0.10:80 -s wrr", true),
    ("a set emptied", "ipset flush KUBE-CLUSTER-IP", true),
    ("an entry added to a set", "ipset add KUBE-CLUSTER-IP 10.96.77.77,tcp:77", true),
    (
        "a set exchanged for one with counters",
        "ipset create other hash:ip,port counters; ipset swap other KUBE-CLUSTER-IP; ipset destroy other",
        false,
    ),
    ("chains of the table nat emptied", "iptables -t nat -F", true),
    ("chains of the table filter emptied", "iptables -t filter -F", true),
    ("a rule put before others", "iptables -t nat -I KUBE-POSTROUTING -j RETURN", true),
    (
        "a jump to a chain removed",
        "iptables -t filter -D INPUT -m comment --comment 'kubernetes ipvs access filter' -j KUBE-IPVS-FILTER",
        true,
    ),
    ("the device removed", "ip link del kube-ipvs0", true),
    ("an address removed from the device", "ip addr del 10.96.0.10/32 dev kube-ipvs0", true),
    ("an address added to the device", "ip addr add 10.96.99.99/32 dev kube-ipvs0", true),
    ("connection tracking of IPVS switched off", "echo 0 > /proc/sys/net/ipv4/vs/conntrack", false),
];

/// Prints which program repairs what. Fails if weir does not repair something, or kube-proxy differs from the
/// table above.
pub(crate) fn table(node: &mut Node<'_>) -> Result<ExitCode> {
    let mut answers = vec![Vec::new(); DRIFTS.len()];
    for program in [Program::KubeProxy, Program::Weir] {
        node.start(program)?;
        let expected = node.dump()?;
        for ((what, script, _), answers) in DRIFTS.iter().zip(&mut answers) {
            node.script(script).with_context(|| (*what).to_owned())?;
            let start = Instant::now();
            let mut rest = node.dump()?.differences(&expected);
            let shows = !rest.is_empty();
            while !rest.is_empty() && start.elapsed() < PATIENCE {
                sleep(Duration::from_millis(500));
                rest = node.dump()?.differences(&expected);
            }
            let repaired = rest.is_empty();
            println!("{program}: {what}: {}", if repaired { "repaired" } else { &rest });
            answers.push((repaired, if shows { "" } else { " (before it could be observed)" }));
            if !repaired {
                // Each drift starts on a correct node; weir restores it, whichever program is being tested.
                node.stop()?;
                node.start(Program::Weir)?;
                node.stop()?;
                node.start(program)?;
            }
        }
        node.stop()?;
    }
    println!("\n| Drift | kube-proxy | weir |\n|---|---|---|");
    let mut failed = false;
    for ((what, script, theirs), answers) in DRIFTS.iter().zip(&answers) {
        let words: Vec<String> = answers
            .iter()
            .map(|(repaired, note)| format!("{}{note}", if *repaired { "repaired" } else { "stays" }))
            .collect();
        println!("| {what}: `{script}` | {} |", words.join(" | "));
        let [(by_kube_proxy, _), (by_weir, _)] = answers[..] else { bail!("{what} was not tried") };
        failed |= !by_weir || by_kube_proxy != *theirs;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
