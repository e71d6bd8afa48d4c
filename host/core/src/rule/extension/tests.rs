use super::*;

fn fitted(rules: &[&str], missing: &[Extension]) -> Vec<String> {
    let rules = rules.iter().map(|text| Rule::parse(text)).collect();
    fit(rules, &missing.iter().copied().collect()).iter().map(Rule::to_string).collect()
}

#[test]
fn the_table_is_in_the_order_of_the_variants() {
    for row in &EXTENSIONS {
        assert_eq!(row.extension.row().name, row.name);
    }
}

/// The tested example must be what rules use, or a probe would say nothing about them.
#[test]
fn an_example_uses_its_extension() {
    for row in EXTENSIONS.iter().filter(|row| row.extension != Extension::Ipvs) {
        for example in Family::BOTH.map(|family| row.example(family)) {
            assert!(Rule::parse(example).extensions().contains(&row.extension), "{example}");
        }
    }
}

#[test]
fn what_is_always_true_or_can_be_said_otherwise_keeps_its_rule() {
    let external = "-m comment --comment \"Kubernetes service external ip + port\" -m set --match-set KUBE-EXTERNAL-IP \
                    dst,dst -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT";
    assert_eq!(
        fitted(&[external], &[Extension::Comment, Extension::BridgePort]),
        ["-m set --match-set KUBE-EXTERNAL-IP dst,dst -m addrtype ! --src-type LOCAL -j ACCEPT"]
    );
    let closed = "-m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with \
                  icmp-port-unreachable";
    assert_eq!(
        fitted(&[closed], &[Extension::Reject]),
        ["-m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j DROP"]
    );
    assert_eq!(
        fitted(&["-j SNAT --to-source 192.0.2.1 --random-fully"], &[Extension::Snat]),
        ["-j MASQUERADE --random-fully"]
    );
}

/// Without the rule that exempts unmarked packets, everything that leaves the node would be masqueraded.
#[test]
fn nothing_is_masqueraded_that_a_missing_match_would_have_spared() {
    let hairpin = "-m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE";
    let rest = [
        "-m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-j MARK --set-xmark 0x4000/0x0",
        "-j MASQUERADE --random-fully",
    ];
    let all: Vec<&str> = std::iter::once(hairpin).chain(rest).collect();
    assert_eq!(fitted(&all, &[Extension::Mark]), [hairpin]);
    assert_eq!(fitted(&all, &[Extension::Masquerade]), [rest[0], rest[1]]);
    assert_eq!(fitted(&all, &[]), all);
}

/// A rule that closes ports is never left out: the kernel refuses it, and the VIPs whose ports it should close do
/// not come up.
#[test]
fn what_closes_ports_stays_in_the_plan() {
    let closed = "-m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with \
                  icmp-port-unreachable";
    assert_eq!(fitted(&[closed], &[Extension::ConnectionState, Extension::Set]), [closed]);
}
