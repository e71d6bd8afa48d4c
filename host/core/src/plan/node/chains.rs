//! The chains and rules of IPVS mode, in kube-proxy's order (`pkg/proxy/ipvs/proxier.go`, `writeIptablesRules` and
//! `createAndLinkKubeChain`). Their number does not depend on the number of services, except for one rule per
//! port of a load-balancer VIP whose source ranges exclude the node.

use super::{
    Chain, ConnectionState, Family, Match, NodeView, Ports, Protocol, Rule, Sense, Set, SetName, Side, Table,
    Target, Totals, comment, detector,
};
use crate::rule::extension::fit;

type ChainRules = ((Family, Table, Chain), Vec<Rule>);

/// All chains of a family; built-in chains only with their jumps.
pub(super) fn chains(node: &NodeView, totals: &Totals, family: Family) -> Vec<ChainRules> {
    let marks = Marks::of(node);
    let mut writer = Writer { family, totals, mark: marks.masquerade, marks, out: Vec::new() };
    for table in Table::BOTH {
        for chain in table.upstream_chains() {
            writer.out.push(((family, table, chain), Vec::new()));
        }
    }
    writer.write_jumps();
    writer.write_nat(node);
    writer.write_filter();
    writer.write_treatments(node);
    let missing = node.capabilities.missing.get(family);
    writer.out.into_iter().map(|(key, rules)| (key, fit(rules, missing))).collect()
}

mod treatments;

use treatments::Marks;

struct Writer<'a> {
    family: Family,
    totals: &'a Totals,
    mark: u32,
    marks: Marks,
    out: Vec<ChainRules>,
}

const SRC: Side = Side::Source;
const DST: Side = Side::Destination;
const DST_DST: &[Side] = &[DST, DST];

impl Writer<'_> {
    fn rule(&mut self, table: Table, chain: Chain, rule: Rule) {
        let key = (self.family, table, chain);
        match self.out.iter_mut().find(|(k, _)| *k == key) {
            Some((_, rules)) => rules.push(rule),
            None => self.out.push((key, vec![rule])),
        }
    }

    fn nat(&mut self, chain: Chain, matches: impl Into<Vec<Match>>, target: Target) {
        self.rule(Table::Nat, chain, Rule::when(matches, target));
    }

    fn filter(&mut self, chain: Chain, matches: impl Into<Vec<Match>>, target: Target) {
        self.rule(Table::Filter, chain, Rule::when(matches, target));
    }

    fn has(&self, set: Set) -> bool {
        self.totals.has(self.family, set)
    }

    fn set(&self, set: Set, sides: &[Side]) -> Match {
        Match::Set(Sense::Is, SetName::new(self.family, set).to_string(), sides.to_vec())
    }

    /// A comment and a set match, the usual start of a rule.
    fn commented(&self, set: Set, sides: &[Side]) -> Vec<Match> {
        vec![comment(set.comment()), self.set(set, sides)]
    }

    /// The jumps from built-in chains. kube-proxy inserts each at the top, so the last one comes first.
    fn write_jumps(&mut self) {
        const PORTALS: &str = "kubernetes service portals";
        const FIREWALL: &str = "kube-proxy firewall rules";
        const ACCESS: &str = "kubernetes ipvs access filter";
        let jumps = [
            (Table::Nat, Chain::Output, Chain::KubeServices, PORTALS),
            (Table::Nat, Chain::Prerouting, Chain::KubeServices, PORTALS),
            (Table::Nat, Chain::Postrouting, Chain::KubePostrouting, "kubernetes postrouting rules"),
            (Table::Filter, Chain::Input, Chain::KubeIpvsFilter, ACCESS),
            (Table::Filter, Chain::Input, Chain::KubeProxyFirewall, FIREWALL),
            (Table::Filter, Chain::Input, Chain::KubeNodePort, "kubernetes health check rules"),
            (Table::Filter, Chain::Forward, Chain::KubeProxyFirewall, FIREWALL),
            (Table::Filter, Chain::Forward, Chain::KubeForward, "kubernetes forwarding rules"),
            (Table::Filter, Chain::Output, Chain::KubeIpvsOutFilter, ACCESS),
        ];
        for (table, from, to, text) in jumps {
            self.rule(table, from, Rule::when([comment(text)], Target::Jump(to)));
        }
    }

    fn write_nat(&mut self, node: &NodeView) {
        use Chain::{KubeLoadBalancer, KubeMarkMasq, KubePostrouting, KubeServices};
        let loopback = match self.family {
            Family::V4 => "127.0.0.0/8".parse(),
            Family::V6 => "::1/128".parse(),
        };
        // Masquerading loopback traffic would need route_localnet, which IPVS mode never sets.
        if let Ok(net) = loopback {
            self.nat(KubeServices, [Match::Source(Sense::Is, net)], Target::Return);
        }
        self.write_decided_vips();
        if self.has(Set::LoopBack) {
            let hairpin = self.commented(Set::LoopBack, &[DST, DST, SRC]);
            self.nat(KubePostrouting, hairpin, Target::Masquerade(Ports::Kept));
        }
        self.write_decided_connections();
        if self.has(Set::LoadBalancer) {
            let vip = self.commented(Set::LoadBalancer, DST_DST);
            self.nat(KubeServices, vip, Target::Jump(KubeLoadBalancer));
        }
        if self.has(Set::LoadBalancerLocal) {
            let vip = self.commented(Set::LoadBalancerLocal, DST_DST);
            self.nat(KubeLoadBalancer, vip, Target::Return);
        }
        self.write_node_ports();
        self.write_cluster_ip(node);
        self.write_external_ips();
        let local = [Match::LocalAddress(Sense::Is, DST)];
        self.nat(KubeServices, local, Target::Jump(Chain::KubeNodePort));
        self.nat(KubeLoadBalancer, [], Target::Jump(KubeMarkMasq));
        for set in [Set::ClusterIp, Set::LoadBalancer] {
            if self.has(set) {
                self.nat(KubeServices, [self.set(set, DST_DST)], Target::Accept);
            }
        }
        let mark = self.mark;
        self.nat(KubePostrouting, [Match::Mark(Sense::Not, mark, mark)], Target::Return);
        // The mark is cleared, so that a packet that passes again is not masqueraded twice.
        self.nat(KubePostrouting, [], Target::SetMark(mark, 0));
        let snat = comment("kubernetes service traffic requiring SNAT");
        self.nat(KubePostrouting, [snat], Target::Masquerade(Ports::Random));
        self.nat(KubeMarkMasq, [], Target::SetMark(mark, mark));
    }

    fn write_node_ports(&mut self) {
        let ports = [
            (Protocol::Tcp, Set::NodePortLocalTcp, Set::NodePortTcp, &[DST] as &[Side]),
            (Protocol::Udp, Set::NodePortLocalUdp, Set::NodePortUdp, &[DST]),
            (Protocol::Sctp, Set::NodePortLocalSctp, Set::NodePortSctp, DST_DST),
        ];
        for (protocol, local, all, sides) in ports {
            for (set, target) in [(local, Target::Return), (all, Target::Jump(Chain::KubeMarkMasq))] {
                if self.has(set) {
                    let mut matches = vec![Match::Protocol(protocol)];
                    matches.extend(self.commented(set, sides));
                    self.nat(Chain::KubeNodePort, matches, target);
                }
            }
        }
    }

    /// Which sources are masqueraded on the way to a cluster IP: all, or those outside the cluster, or (if pods
    /// cannot be recognized) only the node itself, whose packets to a VIP have a VIP as their source.
    fn write_cluster_ip(&mut self, node: &NodeView) {
        if !self.has(Set::ClusterIp) {
            return;
        }
        let matches = if node.config.masquerade_all {
            self.commented(Set::ClusterIp, DST_DST)
        } else if let Some(outside) = detector(node, self.family) {
            let mut matches = vec![outside];
            matches.extend(self.commented(Set::ClusterIp, DST_DST));
            matches
        } else {
            self.commented(Set::ClusterIp, &[SRC, DST])
        };
        self.nat(Chain::KubeServices, matches, Target::Jump(Chain::KubeMarkMasq));
    }

    fn write_external_ips(&mut self) {
        for set in [Set::ExternalIp, Set::ExternalIpLocal] {
            if !self.has(set) {
                continue;
            }
            let vip = self.commented(set, DST_DST);
            if set == Set::ExternalIp {
                self.nat(Chain::KubeServices, vip.clone(), Target::Jump(Chain::KubeMarkMasq));
            }
            let mut from_outside = vip.clone();
            from_outside.push(Match::BridgedIn(Sense::Not));
            from_outside.push(Match::LocalAddress(Sense::Not, SRC));
            self.nat(Chain::KubeServices, from_outside, Target::Accept);
            let mut to_here = vip;
            to_here.push(Match::LocalAddress(Sense::Is, DST));
            self.nat(Chain::KubeServices, to_here, Target::Accept);
        }
    }

    fn write_filter(&mut self) {
        use Chain::{KubeForward, KubeIpvsFilter, KubeProxyFirewall, KubeSourceRangesFirewall};
        self.write_sources();
        if self.has(Set::LoadBalancerFw) {
            let vip = self.commented(Set::LoadBalancerFw, DST_DST);
            self.filter(KubeProxyFirewall, vip, Target::Jump(KubeSourceRangesFirewall));
        }
        for set in [Set::LoadBalancerSourceCidr, Set::LoadBalancerSourceIp] {
            if self.has(set) {
                let admitted = self.commented(set, &[DST, DST, SRC]);
                self.filter(KubeSourceRangesFirewall, admitted, Target::Return);
            }
        }
        self.filter(KubeSourceRangesFirewall, [], Target::Drop);
        self.write_closed_to_node();
        let forward = [comment("kubernetes forwarding rules"), Match::Mark(Sense::Is, self.mark, self.mark)];
        self.filter(KubeForward, forward, Target::Accept);
        let established =
            Match::ConnectionState(vec![ConnectionState::Related, ConnectionState::Established]);
        let conntrack = [comment("kubernetes forwarding conntrack rule"), established];
        self.filter(KubeForward, conntrack, Target::Accept);
        let health = self.commented(Set::HealthCheckNodePort, &[DST]);
        self.filter(Chain::KubeNodePort, health, Target::Accept);
        for set in [Set::LoadBalancer, Set::ClusterIp, Set::ExternalIp, Set::ExternalIpLocal] {
            self.filter(KubeIpvsFilter, [self.set(set, DST_DST)], Target::Return);
        }
        self.filter(KubeIpvsFilter, [self.set(Set::HealthCheckNodePort, &[DST])], Target::Return);
        // A VIP is a local address because of the dummy device, but only its service ports are meant to answer.
        let new_to_vip = [Match::ConnectionState(vec![ConnectionState::New]), self.set(Set::IpvsIps, &[DST])];
        self.filter(KubeIpvsFilter, new_to_vip, Target::Reject(self.family));
    }

    fn write_closed_to_node(&mut self) {
        for &(ip, protocol, port) in &self.totals.closed_to_node {
            if Family::of(ip) == self.family {
                let own = [Match::Source(Sense::Is, ip.into()), Match::VirtualServer(protocol, ip, port)];
                self.filter(Chain::KubeIpvsOutFilter, own, Target::Drop);
            }
        }
    }
}
