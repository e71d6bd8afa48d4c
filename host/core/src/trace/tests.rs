use super::*;

/// A load-balancer VIP with source ranges, a cluster IP, and a node port; the rules are those of kube-proxy.
const STATE: &str = r#"
device kube-ipvs0 dummy
entry KUBE-CLUSTER-IP 10.96.0.10,tcp:53
entry KUBE-IPVS-IPS 10.96.0.10
entry KUBE-IPVS-IPS 203.0.113.1
entry KUBE-LOAD-BALANCER 203.0.113.1,tcp:443
entry KUBE-LOAD-BALANCER-FW 203.0.113.1,tcp:443
entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:443,198.51.100.0/24
entry KUBE-LOOP-BACK 10.244.0.1,tcp:53,10.244.0.1
entry KUBE-NODE-PORT-TCP 30053
chain ip filter INPUT
rule ip filter INPUT -j KUBE-IPVS-FILTER
rule ip filter INPUT -j KUBE-PROXY-FIREWALL
chain ip filter OUTPUT
rule ip filter OUTPUT -j KUBE-IPVS-OUT-FILTER
chain ip filter KUBE-PROXY-FIREWALL
rule ip filter KUBE-PROXY-FIREWALL -m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL
chain ip filter KUBE-SOURCE-RANGES-FIREWALL
rule ip filter KUBE-SOURCE-RANGES-FIREWALL -m set --match-set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src -j RETURN
rule ip filter KUBE-SOURCE-RANGES-FIREWALL -j DROP
chain ip filter KUBE-IPVS-FILTER
rule ip filter KUBE-IPVS-FILTER -m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN
rule ip filter KUBE-IPVS-FILTER -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN
rule ip filter KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable
chain ip filter KUBE-IPVS-OUT-FILTER
rule ip filter KUBE-IPVS-OUT-FILTER -s 203.0.113.1/32 -m ipvs --vproto 6 --vaddr 203.0.113.1 --vport 443 -j DROP
chain ip nat OUTPUT
rule ip nat OUTPUT -j KUBE-SERVICES
chain ip nat PREROUTING
rule ip nat PREROUTING -j KUBE-SERVICES
chain ip nat POSTROUTING
rule ip nat POSTROUTING -j KUBE-POSTROUTING
chain ip nat KUBE-SERVICES
rule ip nat KUBE-SERVICES -p tcp -m tcp --dport 1 -j ACCEPT
rule ip nat KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
rule ip nat KUBE-SERVICES ! -i cni+ -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
rule ip nat KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
chain ip nat KUBE-NODE-PORT
rule ip nat KUBE-NODE-PORT -p tcp -m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ
chain ip nat KUBE-MARK-MASQ
rule ip nat KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
chain ip nat KUBE-POSTROUTING
rule ip nat KUBE-POSTROUTING -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
rule ip nat KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
rule ip nat KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
rule ip nat KUBE-POSTROUTING -j MASQUERADE --random-fully
address 10.96.0.10
address 203.0.113.1
virtual tcp 10.96.0.10:53 rr
virtual tcp 192.0.2.10:30053 rr
virtual tcp 203.0.113.1:443 rr
virtual udp 10.96.0.10:53 rr
real tcp 10.96.0.10:53 -> 10.244.0.1:53 weight 1
real tcp 10.96.0.10:53 -> 10.244.1.1:53 weight 3
real tcp 10.96.0.10:53 -> 10.244.1.2:53 weight 0
real tcp 192.0.2.10:30053 -> 192.0.2.10:8053 weight 1
real tcp 203.0.113.1:443 -> 10.244.1.1:443 weight 1
real udp 10.96.0.10:53 -> 10.244.1.1:53 weight 0
"#;

fn follow(protocol: Protocol, source: &str, destination: &str, origin: Origin) -> Trace {
    let state: KernelState = STATE.parse().unwrap();
    let host =
        [HostAddress { interface: "eth0".to_owned(), address: "192.0.2.10".parse().unwrap(), prefix: 24 }];
    let source = SocketAddr::new(source.parse().unwrap(), 40_000);
    let packet = Packet::new(protocol, source, destination.parse().unwrap(), origin).unwrap();
    trace(&state, &host, &packet)
}

fn by(interface: &str) -> Origin {
    Origin::Interface(interface.to_owned())
}

/// The last line of the result, or all real servers with how they see the source.
fn verdict(source: &str, destination: &str, origin: Origin) -> Vec<String> {
    match follow(Protocol::Tcp, source, destination, origin).verdict {
        Verdict::Delivered(_, ways) => ways
            .iter()
            .map(|way| match &way.source {
                Source::Kept => format!("{} kept", way.real),
                Source::Masqueraded(place, _) => format!("{} {}", way.real, place.chain),
            })
            .collect(),
        other => vec![other.to_string()],
    }
}

#[test]
fn who_is_masqueraded_on_the_way_to_a_cluster_ip() {
    let service = "10.96.0.10:53";
    assert_eq!(verdict("10.244.0.9", service, by("cni0")), ["10.244.0.1:53 kept", "10.244.1.1:53 kept"]);
    assert_eq!(
        verdict("198.51.100.7", service, by("eth0")),
        ["10.244.0.1:53 KUBE-POSTROUTING", "10.244.1.1:53 KUBE-POSTROUTING"]
    );
    // An endpoint that reaches itself must be masqueraded; otherwise it would reply to itself directly.
    assert_eq!(
        verdict("10.244.0.1", service, by("cni0")),
        ["10.244.0.1:53 KUBE-POSTROUTING", "10.244.1.1:53 kept"]
    );
    // The host's own packets have no input interface.
    assert_eq!(verdict("10.96.0.10", service, Origin::Host)[1], "10.244.1.1:53 KUBE-POSTROUTING");
    let dropped = verdict("127.0.0.1", service, Origin::Host);
    assert_eq!(dropped, ["is dropped by IPVS: a loopback address cannot reach another machine"]);
}

#[test]
fn source_ranges_are_asked() {
    let service = "203.0.113.1:443";
    assert_eq!(verdict("198.51.100.7", service, by("eth0")), ["10.244.1.1:443 kept"]);
    let dropped = verdict("192.0.2.77", service, by("eth0"));
    assert_eq!(dropped, ["is dropped by filter KUBE-SOURCE-RANGES-FIREWALL: -j DROP"]);
    // The host has the VIP as its source, which only the chain after IPVS sees.
    let dropped = verdict("203.0.113.1", service, Origin::Host);
    assert!(dropped[0].starts_with("is dropped by filter KUBE-IPVS-OUT-FILTER"), "{dropped:?}");
}

#[test]
fn a_local_real_server_is_reached_without_masquerading() {
    assert_eq!(verdict("198.51.100.7", "192.0.2.10:30053", by("eth0")), ["192.0.2.10:8053 kept"]);
}

#[test]
fn what_no_virtual_server_has() {
    let refused = verdict("198.51.100.7", "10.96.0.10:22", by("eth0"));
    assert!(refused[0].starts_with("is refused by filter KUBE-IPVS-FILTER"), "{refused:?}");
    assert!(verdict("10.96.0.10", "10.96.0.10:22", Origin::Host)[0].starts_with("is refused by filter"));
    assert_eq!(
        verdict("198.51.100.7", "192.0.2.10:22", by("eth0")),
        ["is delivered to the host itself: no virtual server has this destination"]
    );
    assert_eq!(
        verdict("10.244.0.1", "198.51.100.7:80", by("cni0")),
        ["continues, because no virtual server has its destination; source kept"]
    );
}

#[test]
fn quiesced_real_servers_do_not_count() {
    let trace = follow(Protocol::Udp, "10.244.0.9", "10.96.0.10:53", by("cni0"));
    assert!(matches!(trace.verdict, Verdict::Refused(..)), "the set only contains the tcp port: {trace}");
    let host = follow(Protocol::Udp, "10.96.0.10", "10.96.0.10:53", Origin::Host);
    assert!(matches!(host.verdict, Verdict::NoRealServer(_)), "{host}");
}

#[test]
fn steps_tell_the_rules_that_applied() {
    let trace = follow(Protocol::Tcp, "198.51.100.7", "203.0.113.1:443", by("eth0"));
    assert_eq!(
        trace.to_string(),
        "nat PREROUTING: -j KUBE-SERVICES
nat KUBE-SERVICES: unknown rule, assumed not to match: -p tcp -m tcp --dport 1 -j ACCEPT
nat KUBE-SERVICES: -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
203.0.113.1 is an address of this node
filter INPUT: -j KUBE-IPVS-FILTER
filter KUBE-IPVS-FILTER: -m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN
filter INPUT: -j KUBE-PROXY-FIREWALL
filter KUBE-PROXY-FIREWALL: -m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL
filter KUBE-SOURCE-RANGES-FIREWALL: -m set --match-set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src -j RETURN
IPVS has virtual server tcp 203.0.113.1:443 rr
filter OUTPUT: -j KUBE-IPVS-OUT-FILTER
nat POSTROUTING: -j KUBE-POSTROUTING
nat KUBE-POSTROUTING: -m mark ! --mark 0x4000/0x4000 -j RETURN
goes through virtual server tcp 203.0.113.1:443 to 10.244.1.1:443 (weight 1), source kept
"
    );
}

#[test]
fn families_do_not_mix() {
    let v6 = "[fd00::1]:53".parse().unwrap();
    assert!(Packet::new(Protocol::Tcp, "10.0.0.1:1".parse().unwrap(), v6, Origin::Host).is_err());
}
