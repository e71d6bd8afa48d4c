//! `weir diff` shows differences and changes nothing.

use anyhow::{Result, ensure};
use weir_harness::witness::Dump;

use crate::stage::Stage;

const TAMPERING: &str = "
    ipvsadm -e -t 10.96.1.10:80 -r 10.244.0.10:8080 -m -w 0
    ipvsadm -d -t 10.96.1.10:80 -r 10.244.1.10:8080
    ipvsadm -A -u 10.96.77.7:53 -s rr
    ipset del KUBE-CLUSTER-IP 10.96.1.10,tcp:80
    ipset add KUBE-IPVS-IPS 10.96.77.7
    iptables -t nat -D KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
    ip addr add 10.96.77.7/32 dev kube-ipvs0
    echo 0 > /proc/sys/net/ipv4/vs/expire_nodest_conn
";

const DIFFERENCES: [&str; 8] = [
    "+ entry KUBE-CLUSTER-IP 10.96.1.10,tcp:80",
    "+ real tcp 10.96.1.10:80 -> 10.244.1.10:8080 weight 1",
    "+ rule ip nat KUBE-SERVICES -s 127.0.0.0/8 -j RETURN",
    "- address 10.96.77.7",
    "- entry KUBE-IPVS-IPS 10.96.77.7",
    "- virtual udp 10.96.77.7:53 rr",
    "~ real tcp 10.96.1.10:80 -> 10.244.0.10:8080 weight 1",
    "~ sysctl net/ipv4/vs/expire_nodest_conn = 1",
];

pub(crate) fn diff_is_honest() -> Result<()> {
    let stage = Stage::named("clusterip-tcp")?;
    stage.leave()?;
    let answer = stage.weir().ask("diff", &[])?;
    ensure!(answer.status == Some(0) && answer.stdout.is_empty(), "{answer:?}");

    stage.netns.script(TAMPERING)?;
    let tampered = Dump::of(&stage.netns)?;
    let answer = stage.weir().ask("diff", &[])?;
    let mut lines: Vec<&str> = answer.stdout.lines().collect();
    lines.sort_unstable();
    ensure!(answer.status == Some(1) && lines == DIFFERENCES, "{:?}\n{}", answer.status, answer.stdout);
    Dump::of(&stage.netns)?.expect(&tampered)
}
