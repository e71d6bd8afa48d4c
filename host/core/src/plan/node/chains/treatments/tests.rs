use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::net::{Family, PerFamily};
use crate::node::{Capabilities, DetectLocal, NodeView, ProxyConfig};
use crate::plan::{Totals, plan_node};
use crate::set::{Set, SetName};
use crate::state::KernelState;

/// The policy-related lines of a node that has these sets with this many entries each.
fn lines(sets: &[Set], entries: u32, config: ProxyConfig) -> Vec<String> {
    let counted = |set: &Set| (SetName::new(Family::V4, *set), entries);
    let chosen: Vec<IpAddr> = vec![[192, 0, 2, 10].into(), [192, 0, 2, 11].into()];
    let totals = Totals {
        sets: sets.iter().map(counted).collect::<BTreeMap<_, _>>(),
        snat: PerFamily { v4: chosen, v6: Vec::new() },
        ..Totals::default()
    };
    let view = NodeView::new("node1", None, None, Vec::new(), config, Capabilities::assumed());
    let KernelState { rules, .. } = plan_node(&view, &totals);
    let state = KernelState { rules, ..KernelState::default() };
    let lines = state.lines().into_iter().filter(|line| line.to_lowercase().contains("weir"));
    lines.map(|line| line.replace("rule ip ", "")).collect()
}

fn config() -> ProxyConfig {
    let pods = vec!["10.244.0.0/16".parse().unwrap()];
    ProxyConfig { detect_local: DetectLocal::ClusterCidr(pods), ..ProxyConfig::default() }
}

fn every_set() -> Vec<Set> {
    crate::set::SETS
        .iter()
        .map(|row| row.set)
        .filter(|set| set.is_of_policy())
        .chain([Set::LoopBack])
        .collect()
}

/// In the format of `iptables-save`.
const EVERYTHING: &str = r#"filter KUBE-PROXY-FIREWALL -m comment --comment "weir: sources that a policy shuts out" -m set --match-set WEIR-SOURCE-DENY dst,dst,src -j DROP
filter KUBE-PROXY-FIREWALL -m comment --comment "weir: a policy says who may connect" -m set --match-set WEIR-SOURCE-LIMITED dst,dst -m set ! --match-set WEIR-SOURCE-ALLOW dst,dst,src -j DROP
nat KUBE-SERVICES -m comment --comment "weir: sources that a policy never masquerades" -m set --match-set WEIR-MASQ-EXCEPT dst,dst,src -j ACCEPT
nat KUBE-SERVICES -m comment --comment "weir: masquerading is decided by a policy" -m set --match-set WEIR-MASQ dst,dst -g WEIR-MASQUERADE
nat KUBE-POSTROUTING -m comment --comment "weir: the endpoint is on this node" -m mark --mark 0x1000/0x3000 -m set --match-set KUBE-LOOP-BACK dst,dst,dst -j MARK --set-xmark 0x0/0x7000
nat KUBE-POSTROUTING -m mark ! --mark 0x0/0x3000 -j WEIR-POSTROUTING
chain ip nat WEIR-MASQUERADE
nat WEIR-MASQUERADE -m comment --comment "weir: a policy masquerades all sources" -m set --match-set WEIR-MASQ-ALWAYS dst,dst -j MARK --set-xmark 0x4000/0x4000
nat WEIR-MASQUERADE ! -s 10.244.0.0/16 -m comment --comment "weir: a policy masquerades sources outside the cluster" -m set --match-set WEIR-MASQ-OFF-CLUSTER dst,dst -j MARK --set-xmark 0x4000/0x4000
nat WEIR-MASQUERADE -m comment --comment "weir: a policy masquerades on the way to other nodes" -m set --match-set WEIR-MASQ-REMOTE dst,dst -j MARK --set-xmark 0x5000/0x7000
nat WEIR-MASQUERADE -m comment --comment "weir: a policy chose the first source address" -m set --match-set WEIR-SNAT-1 dst,dst -j MARK --set-xmark 0x6000/0x7000
nat WEIR-MASQUERADE -m comment --comment "weir: a policy chose the second source address" -m set --match-set WEIR-SNAT-2 dst,dst -j MARK --set-xmark 0x7000/0x7000
nat WEIR-MASQUERADE -j ACCEPT
chain ip nat WEIR-POSTROUTING
nat WEIR-POSTROUTING -m mark --mark 0x2000/0x3000 -j WEIR-SNAT-1
nat WEIR-POSTROUTING -m mark --mark 0x3000/0x3000 -j WEIR-SNAT-2
nat WEIR-POSTROUTING -j MARK --set-xmark 0x0/0x3000
chain ip nat WEIR-SNAT-1
nat WEIR-SNAT-1 -j MARK --set-xmark 0x0/0x7000
nat WEIR-SNAT-1 -j SNAT --to-source 192.0.2.10 --random-fully
chain ip nat WEIR-SNAT-2
nat WEIR-SNAT-2 -j MARK --set-xmark 0x0/0x7000
nat WEIR-SNAT-2 -j SNAT --to-source 192.0.2.11 --random-fully"#;

#[test]
fn every_kind_of_decision_has_its_rules_however_many_services_there_are() {
    for entries in [1, 60_000] {
        assert_eq!(lines(&every_set(), entries, config()).join("\n"), EVERYTHING);
    }
}

#[test]
fn only_what_a_decision_needs_is_there() {
    assert_eq!(lines(&[Set::LoopBack], 1, config()), [""; 0]);
    // "Never masqueraded" means in no other set.
    assert_eq!(
        lines(&[Set::Masquerade, Set::LoopBack], 1, config()),
        [EVERYTHING.lines().nth(3).unwrap(), "chain ip nat WEIR-MASQUERADE", "nat WEIR-MASQUERADE -j ACCEPT"]
    );
}

#[test]
fn marks_move_out_of_the_way_of_the_masquerade_bit() {
    for (masquerade_bit, first_slot, all) in [
        (0, "0x4/0x6", "0x7"),
        (1, "0x8/0xc", "0xe"),
        (2, "0x2/0x3", "0x7"),
        (31, "0x40000000/0x60000000", "0xe0000000"),
    ] {
        let lines = lines(&every_set(), 1, ProxyConfig { masquerade_bit, ..config() });
        let rule = format!("nat WEIR-POSTROUTING -m mark --mark {first_slot} -j WEIR-SNAT-1");
        assert!(lines.contains(&rule), "{rule}: {lines:#?}");
        assert!(lines.contains(&format!("nat WEIR-SNAT-1 -j MARK --set-xmark 0x0/{all}")), "{lines:#?}");
    }
}
