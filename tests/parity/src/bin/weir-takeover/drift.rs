//! What each program does about changes that others make behind its back.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::node::{Node, Program};

/// How long a program has for a repair: several of its synchronisations, which come every 5 s.
const PATIENCE: Duration = Duration::from_secs(40);

/// What happens on nodes, and how it is done.
const DRIFTS: [(&str, &str); 10] = [
    ("all virtual servers removed", "ipvsadm -C"),
    ("the weight of a real server changed", "ipvsadm -e -t 10.96.0.10:80 -r 10.244.0.11:8080 -m -w 7"),
    ("a real server added", "ipvsadm -a -t 10.96.0.10:80 -r 10.244.9.9:8080 -m"),
    ("a real server removed", "ipvsadm -d -t 10.96.0.10:80 -r 10.244.0.11:8080"),
    ("the scheduler of a virtual server changed", "ipvsadm -E -t 10.96.0.10:80 -s wrr"),
    ("a set emptied", "ipset flush KUBE-CLUSTER-IP"),
    ("an entry added to a set", "ipset add KUBE-CLUSTER-IP 10.96.77.77,tcp:77"),
    ("chains of the table nat emptied", "iptables -t nat -F"),
    ("the device removed", "ip link del kube-ipvs0"),
    ("an address removed from the device", "ip addr del 10.96.0.10/32 dev kube-ipvs0"),
];

/// Prints who repairs what. Fails where weir does not.
pub(crate) fn table(node: &mut Node<'_>) -> Result<ExitCode> {
    let mut answers = vec![Vec::new(); DRIFTS.len()];
    for program in [Program::KubeProxy, Program::Weir] {
        node.start(program)?;
        let expected = node.dump()?;
        for ((what, script), answers) in DRIFTS.iter().zip(&mut answers) {
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
            answers.push((repaired, if shows { "" } else { " (before it could be seen)" }));
            if !repaired {
                // The next one begins with a node as it should be; weir makes it one, whoever runs.
                node.stop()?;
                node.start(Program::Weir)?;
                node.stop()?;
                node.start(program)?;
            }
        }
        node.stop()?;
    }
    println!("\n| What others do | kube-proxy | weir |\n|---|---|---|");
    let mut failed = false;
    for ((what, script), answers) in DRIFTS.iter().zip(&answers) {
        let words: Vec<String> = answers
            .iter()
            .map(|(repaired, note)| format!("{}{note}", if *repaired { "repaired" } else { "stays" }))
            .collect();
        println!("| {what}: `{script}` | {} |", words.join(" | "));
        failed |= !answers.last().is_some_and(|(repaired, _)| *repaired);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
