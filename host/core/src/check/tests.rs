use super::*;

const SOUND: &str = "\
device kube-ipvs0 dummy
set KUBE-CLUSTER-IP hash:ip,port family inet maxelem 65536
set KUBE-IPVS-IPS hash:ip family inet maxelem 65536
set KUBE-LOAD-BALANCER hash:ip,port family inet maxelem 65536
set KUBE-LOAD-BALANCER-FW hash:ip,port family inet maxelem 65536
set KUBE-NODE-PORT-TCP bitmap:port range 0-65535
set KUBE-6-CLUSTER-IP hash:ip,port family inet6 maxelem 65536
entry KUBE-CLUSTER-IP 10.96.0.10,tcp:53
entry KUBE-IPVS-IPS 10.96.0.10
entry KUBE-NODE-PORT-TCP 53
chain ip nat KUBE-SERVICES
rule ip nat KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
rule ip nat KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
chain ip nat OUTPUT
rule ip nat OUTPUT -j KUBE-SERVICES
address 10.96.0.10
virtual tcp 10.96.0.10:53 rr persistent 60/32
real tcp 10.96.0.10:53 -> 10.244.0.1:53 weight 1
";

fn violations(text: &str) -> Vec<String> {
    check(&text.parse().unwrap()).iter().map(Violation::to_string).collect()
}

#[test]
fn a_sound_state_is_found_sound() {
    assert_eq!(violations(SOUND), [""; 0]);
    assert_eq!(violations(""), [""; 0]);
}

#[test]
fn each_added_line_breaks_one_law() {
    for (line, expected) in [
        ("real tcp 10.96.0.10:53 -> [fd00::1]:53 weight 1", "mixes IPv4 and IPv6"),
        ("virtual tcp 10.96.0.11:53 a_name_of_16_bytes", "not 1 to 15 bytes"),
        ("virtual tcp 10.96.0.11:53 rr flags 0x1c1", "flags 0x1c1"),
        ("virtual tcp 10.96.0.11:53 rr persistent 0/32", "persistence 0/32"),
        ("virtual tcp 10.96.0.11:53 rr persistent 60/33", "persistence 60/33"),
        ("set KUBE-LOOP-BACK hash:ip family inet maxelem 65536", "set KUBE-LOOP-BACK is hash:ip"),
        ("set KUBE-CLUSTER-IP hash:ip,port family inet maxelem 0", "1 entries, but room for only 0"),
        ("entry KUBE-EXTERNAL-IP 10.96.0.10,tcp:53", "has no set"),
        ("entry KUBE-CLUSTER-IP 10.96.0.10", "not match its set's type"),
        ("entry KUBE-6-CLUSTER-IP 10.96.0.10,tcp:53", "not match its set's type and family"),
        ("entry KUBE-CLUSTER-IP 10.96.0.10,udp:53", "has no virtual server"),
        ("entry KUBE-NODE-PORT-TCP 54", "has no virtual server"),
        ("entry KUBE-LOAD-BALANCER-FW 10.96.0.10,tcp:53", "has no counterpart in KUBE-LOAD-BALANCER"),
        ("chain ip filter KUBE-SERVICES", "chain IPv4 filter KUBE-SERVICES"),
        ("rule ip nat KUBE-SERVICES -s ::1/128 -j RETURN", "mixes IPv4 and IPv6"),
        (
            "rule ip nat KUBE-SERVICES -m set --match-set KUBE-6-CLUSTER-IP dst,dst -j ACCEPT",
            "mixes IPv4 and IPv6",
        ),
        (
            "rule ip nat KUBE-SERVICES -m set --match-set KUBE-LOOP-BACK dst,dst -j ACCEPT",
            "KUBE-LOOP-BACK, which",
        ),
        ("rule ip nat OUTPUT -j KUBE-NODE-PORT", "jumps to KUBE-NODE-PORT"),
        ("rule ip nat KUBE-SERVICES -g WEIR-MASQUERADE", "jumps to WEIR-MASQUERADE"),
        ("rule ip nat WEIR-MASQUERADE -j KUBE-SERVICES", "refers to a chain or set of kube-proxy"),
        (
            "rule ip nat WEIR-POSTROUTING -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
            "refers to a chain or set of kube-proxy",
        ),
        ("chain ip filter WEIR-MASQUERADE", "chain IPv4 filter WEIR-MASQUERADE"),
        ("entry KUBE-IPVS-IPS 10.96.0.12", "not on kube-ipvs0"),
    ] {
        let found = violations(&format!("{SOUND}{line}\n"));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].contains(expected), "{line}: {found:?}");
    }
}

#[test]
fn an_address_needs_its_device_its_set_and_a_virtual_server() {
    let found = violations("address 10.96.0.10\n");
    assert_eq!(
        found,
        [
            "addresses exist without the device kube-ipvs0",
            "address 10.96.0.10 has no virtual server",
            "address 10.96.0.10 is not in KUBE-IPVS-IPS, so the host's ports are open on it",
        ]
    );
}
