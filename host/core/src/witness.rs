//! The state in the formats of the tools that administrators trust: `ipvsadm -Sn`, `ipset save`, `iptables-save`
//! and `ip -o addr show`, normalized so that it can be compared line by line.
//!
//! Meaningless differences are left out: counters, hash seeds, bucket sizes and comments.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::net::{Family, Protocol};
use crate::rule::{Ownership, Table};
use crate::set::{SetEntry, SetKind};
use crate::state::{DUMMY_DEVICE, KernelState, SchedulerFlags, Scheduling, VirtualServer};

/// Renders the normalized state: the sections `ipvs`, `ipset`, `iptables`, `ip6tables` and `addresses`.
pub fn render(state: &KernelState) -> String {
    let mut text = String::new();
    section(&mut text, "ipvs", ipvs_lines(state));
    section(&mut text, "ipset", ipset_lines(state));
    section(&mut text, "iptables", rule_lines(state, Family::V4));
    section(&mut text, "ip6tables", rule_lines(state, Family::V6));
    section(&mut text, "addresses", address_lines(state));
    text
}

fn section(text: &mut String, name: &str, lines: Vec<String>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "## {name}");
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
}

/// Virtual servers sorted by line, each followed by its real servers sorted by line.
fn ipvs_lines(state: &KernelState) -> Vec<String> {
    let mut servers: Vec<(String, VirtualServer)> = state
        .virtual_servers
        .iter()
        .map(|(server, how)| {
            (format!("-A {} {}", virtual_words(server), scheduling_words(server, &how.scheduling)), *server)
        })
        .collect();
    servers.sort();
    let mut lines = Vec::new();
    for (line, server) in servers {
        lines.push(line);
        let mut reals: Vec<String> = state
            .real_servers_of(server)
            .map(|(real, weight)| format!("-a {} -r {real} -m -w {}", virtual_words(&server), weight.0))
            .collect();
        reals.sort();
        lines.extend(reals);
    }
    lines
}

fn virtual_words(server: &VirtualServer) -> String {
    let option = match server.protocol {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
        Protocol::Sctp => "--sctp-service",
    };
    format!("{option} {}", server.address)
}

fn scheduling_words(server: &VirtualServer, how: &Scheduling) -> String {
    let mut words = format!("-s {}", how.scheduler);
    if let Some(persistence) = how.persistence {
        let _ = write!(words, " -p {}", persistence.timeout);
        if persistence.prefix != server.family().full_prefix() {
            let _ = match server.family() {
                Family::V4 => write!(words, " -M {}", netmask(persistence.prefix)),
                Family::V6 => write!(words, " -M {}", persistence.prefix),
            };
        }
    }
    if how.flags.contains(SchedulerFlags::ONE_PACKET) {
        words.push_str(" -o");
    }
    let flags = flag_names(how);
    if !flags.is_empty() {
        let _ = write!(words, " -b {}", flags.join(","));
    }
    words
}

fn netmask(prefix: u8) -> std::net::Ipv4Addr {
    let bits = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    std::net::Ipv4Addr::from(bits)
}

/// The names that `ipvsadm` gives to scheduler flags.
fn flag_names(how: &Scheduling) -> Vec<&'static str> {
    let names = match how.scheduler.as_str() {
        "sh" => ["sh-fallback", "sh-port"],
        "mh" => ["mh-fallback", "mh-port"],
        _ => ["flag-1", "flag-2"],
    };
    [SchedulerFlags::FALLBACK, SchedulerFlags::PORT]
        .into_iter()
        .zip(names)
        .filter(|(flag, _)| how.flags.contains(*flag))
        .map(|(_, name)| name)
        .collect()
}

fn ipset_lines(state: &KernelState) -> Vec<String> {
    let mut lines: Vec<String> = state
        .sets
        .iter()
        .map(|(name, kind)| match kind {
            SetKind::Hash { set_type, family, max_elements } => {
                let family = match family {
                    Family::V4 => "inet",
                    Family::V6 => "inet6",
                };
                format!("create {name} {set_type} family {family} hashsize 1024 maxelem {max_elements}")
            }
            SetKind::Bitmap | SetKind::Foreign(_) => format!("create {name} {kind}"),
        })
        .collect();
    lines.extend(state.entries.keys().map(|(name, entry)| format!("add {name} {}", entry_words(entry))));
    lines.sort();
    lines
}

/// Like [`SetEntry`]'s output, except that `ipset` omits the prefix length of a single address.
fn entry_words(entry: &SetEntry) -> String {
    match entry {
        SetEntry::IpPortNet(ip, protocol, port, net) if net.prefix_len() == net.max_prefix_len() => {
            format!("{ip},{protocol}:{port},{}", net.addr())
        }
        entry => entry.to_string(),
    }
}

fn rule_lines(state: &KernelState, family: Family) -> Vec<String> {
    let mut lines = Vec::new();
    for table in Table::BOTH {
        let mut chains: Vec<_> = state
            .rules
            .keys()
            .filter(|(f, t, chain)| (*f, *t) == (family, table) && chain.ownership() == Ownership::Own)
            .map(|(_, _, chain)| *chain)
            .collect();
        if chains.is_empty() {
            continue;
        }
        chains.sort_by_key(|chain| chain.name());
        lines.push(format!("*{table}"));
        lines.extend(table.built_in_chains().iter().map(|chain| format!(":{chain} ACCEPT")));
        lines.extend(chains.iter().map(|chain| format!(":{chain} -")));
        for chain in table.built_in_chains().iter().chain(&chains) {
            let rules = state.rules.get(&(family, table, *chain)).into_iter().flatten();
            lines.extend(rules.map(|rule| format!("-A {chain} {rule}")));
        }
        lines.push("COMMIT".to_owned());
    }
    lines
}

fn address_lines(state: &KernelState) -> Vec<String> {
    let mut lines: Vec<String> = state
        .addresses
        .keys()
        .map(|ip| match ip {
            IpAddr::V4(_) => format!("inet {ip}/32 scope global {DUMMY_DEVICE}"),
            IpAddr::V6(_) => format!("inet6 {ip}/128 scope global"),
        })
        .collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_words() {
        let state: KernelState = "\
set KUBE-LOAD-BALANCER-SOURCE-CIDR hash:ip,port,net family inet maxelem 65536
set KUBE-NODE-PORT-TCP bitmap:port range 0-65535
entry KUBE-LOAD-BALANCER-SOURCE-CIDR 198.51.100.1,tcp:443,10.1.2.3/32
chain ip nat KUBE-MARK-MASQ
rule ip nat KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
address 10.96.0.10
address fd00::1
virtual udp [fd00::1]:53 mh flags 0x10 persistent 120/64
virtual tcp 10.96.0.10:53 rr persistent 30/24
real tcp 10.96.0.10:53 -> 10.0.1.4:53 weight 0
"
        .parse()
        .unwrap();
        assert_eq!(
            render(&state),
            "\
## ipvs
-A -t 10.96.0.10:53 -s rr -p 30 -M 255.255.255.0
-a -t 10.96.0.10:53 -r 10.0.1.4:53 -m -w 0
-A -u [fd00::1]:53 -s mh -p 120 -M 64 -b mh-port
## ipset
add KUBE-LOAD-BALANCER-SOURCE-CIDR 198.51.100.1,tcp:443,10.1.2.3
create KUBE-LOAD-BALANCER-SOURCE-CIDR hash:ip,port,net family inet hashsize 1024 maxelem 65536
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
## iptables
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:KUBE-MARK-MASQ -
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
## ip6tables
## addresses
inet 10.96.0.10/32 scope global kube-ipvs0
inet6 fd00::1/128 scope global
"
        );
    }
}
