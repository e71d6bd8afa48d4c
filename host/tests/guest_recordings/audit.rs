//! Changes made by other programs.

use anyhow::{Context, Result};

use crate::stage::Stage;

/// Each of these happens on nodes: by another tool, a firewall reload, or a person.
const TAMPERING: [(&str, &str); 2] = [
    (
        "single items changed",
        "ipvsadm -e -t 10.96.1.10:80 -r 10.244.0.10:8080 -m -w 7
         ipvsadm -a -t 10.96.1.10:80 -r 10.244.9.9:8080 -m
         ipvsadm -E -t 10.96.4.10:443 -s wrr -p 600
         ipset flush KUBE-CLUSTER-IP
         ipset add KUBE-LOOP-BACK 10.244.9.9,tcp:8080,10.244.9.9
         iptables -t nat -F KUBE-SERVICES
         iptables -t nat -I KUBE-POSTROUTING -j RETURN
         iptables -t filter -D INPUT -m comment --comment 'kubernetes ipvs access filter' -j KUBE-IPVS-FILTER
         ip addr del 10.96.1.10/32 dev kube-ipvs0
         ip addr add 10.96.99.99/32 dev kube-ipvs0
         echo 0 > /proc/sys/net/ipv4/vs/conntrack",
    ),
    (
        "whole objects removed",
        "ipvsadm -C
         ip link del kube-ipvs0
         iptables -t nat -D PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES
         ip6tables -t filter -F
         ipset create other hash:ip,port counters
         ipset swap other KUBE-CLUSTER-IP
         ipset destroy other",
    ),
];

pub(crate) fn audit_repairs() -> Result<()> {
    let stage = Stage::named("cluster-cidr")?.with_ipvs("syncPeriod", "5s")?;
    // With all capabilities, because a sysctl is among the repairs.
    let mut running = stage.weir().run_privileged()?;
    let expected = stage.recorded()?;
    stage.settle(&running, &expected)?;
    for (what, script) in TAMPERING {
        stage.netns.script(script)?;
        stage.settle(&running, &expected).context(what)?;
    }
    running.expect_health()
}
