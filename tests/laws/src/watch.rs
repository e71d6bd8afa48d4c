//! Checks the state after each change between two plans.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use weir_core::diff::Change;
use weir_core::net::Family;
use weir_core::rule::{Chain, Match, Rule, Table, Target};
use weir_core::set::{Set, SetEntry, SetName};
use weir_core::state::{KernelState, VirtualServer, Weight};

/// What may be observed on the way from one state to the other.
pub struct Bounds {
    /// The lines in both states.
    both: KernelState,
    after: KernelState,
    /// VIPs with source limits, in each plan that has them.
    filtered: BTreeSet<(VirtualServer, Limit)>,
    /// The rules that block the node itself from a VIP, with the VIP.
    closed: BTreeSet<(VirtualServer, Rule)>,
}

impl Bounds {
    /// Computes what these states allow. What is open in one of them may be open on the way.
    pub fn new(before: &KernelState, after: &KernelState) -> Bounds {
        let filtered = [before, after].into_iter().flat_map(limits);
        let open = |(vip, limit): &(VirtualServer, Limit), state: &KernelState| {
            state.virtual_servers.contains_key(vip) && !is_filtered(*vip, *limit, state)
        };
        let filtered = filtered.filter(|vip| !open(vip, before) && !open(vip, after)).collect();
        let is_closed = |(vip, rule): &(VirtualServer, Rule), state: &KernelState| {
            !state.virtual_servers.contains_key(vip) || closing(state).contains(&(*vip, rule.clone()))
        };
        let closed = closing(before).into_iter().chain(closing(after));
        let closed = closed.filter(|vip| is_closed(vip, before) && is_closed(vip, after)).collect();
        Bounds { both: intersection(before, after), after: after.clone(), filtered, closed }
    }

    /// Returns what is in both plans but not in the state.
    pub fn lost(&self, state: &KernelState) -> Vec<String> {
        let mut lost = Vec::new();
        let both = &self.both;
        lost.extend(
            both.virtual_servers
                .keys()
                .filter(|s| !state.virtual_servers.contains_key(s))
                .map(|s| format!("{s} is missing")),
        );
        let addresses = both.addresses.keys().filter(|ip| !state.addresses.contains_key(ip));
        lost.extend(addresses.map(|ip| format!("address {ip} is missing")));
        lost.extend(
            both.entries
                .keys()
                .filter(|e| !state.entries.contains_key(e))
                .map(|(n, e)| format!("entry {n} {e} is missing")),
        );
        for (server, real, weight) in both.real_servers() {
            if weight != Weight::QUIESCED
                && state.weight(server, real).is_none_or(|now| now == Weight::QUIESCED)
            {
                lost.push(format!("{server} -> {real} takes no connections"));
            }
        }
        for (place, rules) in &both.rules {
            let now = state.rules.get(place);
            let gone = rules.iter().filter(|rule| !now.is_some_and(|now| now.contains(rule)));
            lost.extend(gone.map(|rule| format!("rule {rule} is missing in {}", place.2)));
        }
        lost
    }

    /// Addresses that answer before, or longer than, their servers.
    pub fn half_up(&self, change: &Change, state: &KernelState) -> Vec<String> {
        let mut found = Vec::new();
        let served: BTreeSet<IpAddr> = state.virtual_servers.keys().map(|s| s.address.ip()).collect();
        for ip in state.addresses.keys() {
            if !served.contains(ip) {
                found.push(format!("{ip} has no virtual server"));
            }
        }
        if let Change::AddAddress(ip) = change {
            for (server, real, _) in
                self.after.real_servers().filter(|(server, ..)| server.address.ip() == *ip)
            {
                if state.weight(server, real).is_none() {
                    found.push(format!("{server} -> {real} is missing"));
                }
            }
        }
        found
    }

    /// VIPs that can be reached past their source ranges, and open host ports on VIPs.
    pub fn open_filters(&self, state: &KernelState) -> Vec<String> {
        let mut found = Vec::new();
        for (vip, limit) in &self.filtered {
            if state.virtual_servers.contains_key(vip) && !is_filtered(*vip, *limit, state) {
                found.push(limit.passed_at(*vip));
            }
        }
        let closing = closing(state);
        for (vip, rule) in &self.closed {
            if state.virtual_servers.contains_key(vip) && !closing.contains(&(*vip, rule.clone())) {
                found.push(format!(
                    "{vip} can be reached from the node itself, although a rule should block it"
                ));
            }
        }
        for ip in state.addresses.keys() {
            let closed = (SetName::new(Family::of(*ip), Set::IpvsIps), SetEntry::Ip(*ip));
            if !state.entries.contains_key(&closed) {
                found.push(format!("the host's ports on {ip} are open"));
            }
        }
        found
    }
}

fn intersection(a: &KernelState, b: &KernelState) -> KernelState {
    let mut both = a.clone();
    both.virtual_servers.retain(|server, _| b.virtual_servers.contains_key(server));
    for (server, behind) in &mut both.virtual_servers {
        let takes = |real| b.weight(*server, real).is_some_and(|weight| weight != Weight::QUIESCED);
        behind.real_servers.retain(|real, _| takes(*real));
    }
    both.addresses.retain(|ip, ()| b.addresses.contains_key(ip));
    both.entries.retain(|entry, ()| b.entries.contains_key(entry));
    for (place, rules) in &mut both.rules {
        rules.retain(|rule| b.rules.get(place).is_some_and(|other| other.contains(rule)));
    }
    both
}

/// What limits the sources of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Limit {
    /// The source ranges of the object.
    Ranges,
    /// A policy's list of allowed sources.
    Allow,
    /// One network of a policy's list of denied sources.
    Deny(IpNet),
}

impl Limit {
    /// What is wrong if packets pass this limit of a VIP.
    fn passed_at(self, vip: VirtualServer) -> String {
        match self {
            Limit::Ranges => format!("{vip} can be reached from outside its source ranges"),
            Limit::Allow => format!("{vip} can be reached from sources that a policy does not allow"),
            Limit::Deny(net) => format!("{vip} can be reached from {net}, which a policy denies"),
        }
    }
}

/// The VIPs with limits.
fn limits(state: &KernelState) -> impl Iterator<Item = (VirtualServer, Limit)> {
    state.entries.keys().filter_map(|(name, entry)| match (name.set, *entry) {
        (Set::LoadBalancerFw, SetEntry::IpPort(ip, protocol, port)) => {
            Some((VirtualServer::new(protocol, ip, port), Limit::Ranges))
        }
        (Set::SourceLimited, SetEntry::IpPort(ip, protocol, port)) => {
            Some((VirtualServer::new(protocol, ip, port), Limit::Allow))
        }
        (Set::SourceDeny, SetEntry::IpPortNet(ip, protocol, port, net)) => {
            Some((VirtualServer::new(protocol, ip, port), Limit::Deny(net)))
        }
        _ => None,
    })
}

/// The rules that block the node itself from a VIP, with the VIP.
fn closing(state: &KernelState) -> BTreeSet<(VirtualServer, Rule)> {
    let rules = state.rules.iter().filter(|((.., chain), _)| *chain == Chain::KubeIpvsOutFilter);
    let vip = |rule: &Rule| match rule {
        Rule::Known(matches, Target::Drop) => matches.iter().find_map(|test| match test {
            Match::VirtualServer(protocol, ip, port) => Some(VirtualServer::new(*protocol, *ip, *port)),
            _ => None,
        }),
        _ => None,
    };
    rules.flat_map(|(_, rules)| rules).filter_map(|rule| Some((vip(rule)?, rule.clone()))).collect()
}

/// Whether packets to a VIP meet a limit: its entry, the path to the rule that checks it, and the drop.
fn is_filtered(vip: VirtualServer, limit: Limit, state: &KernelState) -> bool {
    let family = vip.family();
    let (ip, port) = (vip.address.ip(), vip.address.port());
    let (set, entry) = match limit {
        Limit::Ranges => (Set::LoadBalancerFw, SetEntry::IpPort(ip, vip.protocol, port)),
        Limit::Allow => (Set::SourceLimited, SetEntry::IpPort(ip, vip.protocol, port)),
        Limit::Deny(net) => (Set::SourceDeny, SetEntry::IpPortNet(ip, vip.protocol, port, net)),
    };
    let set = SetName::new(family, set);
    let rules =
        |chain| state.rules.get(&(family, Table::Filter, chain)).map(Vec::as_slice).unwrap_or_default();
    let jump = |chain: Chain, to: Chain| rules(chain).iter().any(|rule| rule.jump() == Some(to));
    let stops = |rule: &Rule| match limit {
        Limit::Ranges => {
            rule.jump() == Some(Chain::KubeSourceRangesFirewall)
                && rules(Chain::KubeSourceRangesFirewall).last() == Some(&Rule::always(Target::Drop))
        }
        Limit::Allow | Limit::Deny(_) => rule.drops(),
    };
    let asks = |rule: &Rule| rule.sets().any(|name| name == set.to_string()) && stops(rule);
    state.entries.contains_key(&(set, entry))
        && jump(Chain::Input, Chain::KubeProxyFirewall)
        && rules(Chain::KubeProxyFirewall).iter().any(asks)
}
