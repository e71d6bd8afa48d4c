//! The guest has what the other tests and the recordings expect.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Interfaces and addresses of the recorded node.
const RECORDED: &str = include_str!("../../../scenarios/data/clusterip-tcp/interfaces.json");

/// Returns the standard output of a shell line that must succeed.
fn sh(line: &str) -> String {
    let output = Command::new("bash").args(["-c", line]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn strings<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

#[test]
fn interfaces_are_the_recorded_ones() {
    let found: Value = serde_json::from_str(&sh("ip -json addr")).unwrap();
    let found: BTreeSet<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|link| {
            let addresses = link["addr_info"].as_array().unwrap().iter();
            let addresses = addresses
                .map(|a| format!("{}/{}", strings(a, "local"), a["prefixlen"]))
                .collect::<BTreeSet<_>>();
            (strings(link, "ifname").to_owned(), strings(link, "operstate").to_owned(), addresses)
        })
        .collect();
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let recorded: BTreeSet<_> = recorded
        .as_array()
        .unwrap()
        .iter()
        .map(|link| {
            let addresses = link["addresses"].as_array().unwrap().iter();
            let addresses = addresses.map(|a| a.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
            (strings(link, "name").to_owned(), strings(link, "state").to_owned(), addresses)
        })
        .collect();
    assert_eq!(found, recorded);
    assert_eq!(sh("hostname"), "node1\n");
}

#[test]
fn every_scheduler_loads() {
    for scheduler in ["rr", "wrr", "lc", "wlc", "sh", "dh", "mh", "sed", "nq", "fo", "ovf", "lblc", "lblcr"] {
        sh(&format!("modprobe ip_vs_{scheduler}"));
    }
}

#[test]
fn ipvs_holds_what_it_is_given() {
    let rules = "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 192.0.2.9:80 -m -w 1\n";
    // Before its first address a namespace has no routing table, and IPVS takes every real server for a broadcast
    // address.
    sh("ip netns add a && ip -netns a link set lo up");
    let found =
        sh(&format!("printf '%s' '{rules}' | ip netns exec a ipvsadm -R && ip netns exec a ipvsadm -Sn"));
    sh("ip netns del a");
    assert_eq!(found, rules);
}

#[test]
fn iptables_match_sets() {
    let script = "\
        ip netns add b; cd /; ip netns exec b bash -ec '
        ipset create s hash:ip,port
        for program in iptables iptables-legacy; do
            $program -w -t nat -A POSTROUTING -m set --match-set s dst,dst -m comment --comment c -j MASQUERADE --random-fully
            $program -w -t nat -S POSTROUTING
        done'";
    let found = sh(script);
    sh("ip netns del b");
    let rule =
        "-A POSTROUTING -m set --match-set s dst,dst -m comment --comment c -j MASQUERADE --random-fully";
    assert_eq!(found.lines().filter(|line| *line == rule).count(), 2, "{found}");
}

#[test]
fn pods_are_namespaces_on_a_bridge() {
    sh("ip netns add c; ip netns exec c bash -ec '
        modprobe br_netfilter; ip link add br0 type bridge; ip link add d0 type dummy; ip link add v0 type veth peer v1
        ip link set v0 master br0'; ip netns del c");
}

#[test]
fn connections_are_tracked() {
    sh("modprobe nf_conntrack_netlink; conntrack -L; modprobe sctp");
    assert!(sh("cat /proc/net/protocols").contains("SCTP"));
}

#[test]
fn time_and_randomness_are_usable() {
    let year: u32 = sh("date +%Y").trim().parse().unwrap();
    assert!(year >= 2026, "{year}");
    assert_eq!(sh("head -c 16 /dev/random | wc -c").trim(), "16");
}
