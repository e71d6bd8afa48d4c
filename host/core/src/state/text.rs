//! The text form: one sorted line per key, in the words of the glossary. It is the golden format of tests, the
//! output of `plan`, and part of support bundles; a diff has the same lines with `+`, `-` and `~`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{
    DUMMY_DEVICE, Device, KernelState, Persistence, RealServer, SchedulerFlags, Scheduling, Server, Sysctl,
    VirtualServer, Weight,
};
use crate::net::Family;
use crate::rule::{Chain, Ownership, Rule, Table};
use crate::set::{SetEntry, SetName};

/// A line that is not in the text form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a line of a kernel state")]
pub struct ParseError(String);

impl ParseError {
    pub(super) fn new(text: &str) -> ParseError {
        ParseError(text.to_owned())
    }
}

/// The sign of a line in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Wanted but missing.
    Missing,
    /// Present but not wanted.
    Extra,
    /// Present, but with a value other than the wanted one on the line.
    Different,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sign::Missing => "+",
            Sign::Extra => "-",
            Sign::Different => "~",
        })
    }
}

type ChainKey = (Family, Table, Chain);

fn sysctl_line((key, value): (&Sysctl, &i64)) -> String {
    format!("sysctl {} = {value}", key.0)
}
fn set_line((name, kind): (&SetName, &crate::set::SetKind)) -> String {
    format!("set {name} {kind}")
}
fn entry_line(((name, entry), ()): (&(SetName, SetEntry), &())) -> String {
    format!("entry {name} {entry}")
}
fn virtual_line((server, scheduling): (&VirtualServer, &&Scheduling)) -> String {
    format!("virtual {server} {scheduling}")
}
fn real_line(((server, real), weight): (&(VirtualServer, RealServer), &Weight)) -> String {
    format!("real {server} -> {real} weight {}", weight.0)
}

/// How each virtual server schedules.
fn scheduling(state: &KernelState) -> BTreeMap<VirtualServer, &Scheduling> {
    state.virtual_servers.iter().map(|(server, behind)| (*server, &behind.scheduling)).collect()
}

fn weights(state: &KernelState) -> BTreeMap<(VirtualServer, RealServer), Weight> {
    state.real_servers().map(|(server, real, weight)| ((server, real), weight)).collect()
}

fn chain_lines((key, rules): (&ChainKey, &Vec<Rule>)) -> Vec<String> {
    let (family, table, chain) = key;
    let family = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let mut lines = vec![format!("chain {family} {table} {chain}")];
    lines.extend(rules.iter().map(|rule| format!("rule {family} {table} {chain} {rule}")));
    lines
}

impl KernelState {
    /// The lines of the text form, section by section.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let nothing = KernelState::default();
        compare(&nothing, self, |_, line| lines.push(line));
        lines
    }

    /// The lines that must change to get from `self` (actual) to `desired`. Sysctls and timeouts not named in
    /// `desired` do not count: weir has no opinion on them.
    pub fn differences(&self, desired: &KernelState) -> Vec<(Sign, String)> {
        let mut out = Vec::new();
        compare(self, desired, |sign, line| out.push((sign, line)));
        out
    }
}

/// Calls `found` for each line that differs between two states.
fn compare(actual: &KernelState, desired: &KernelState, mut found: impl FnMut(Sign, String)) {
    // Destructured so that a new field cannot be forgotten here.
    let KernelState { sysctls, timeouts, devices, sets, entries, rules, addresses, virtual_servers: _ } =
        desired;
    let known = |sign: Sign| sign != Sign::Extra;
    compare_map(&actual.sysctls, sysctls, sysctl_line, |s, l| {
        if known(s) {
            found(s, l)
        }
    });
    let timeout_line = |(timeout, seconds): (&super::Timeout, &u32)| format!("timeout {timeout} {seconds}");
    compare_map(&actual.timeouts, timeouts, timeout_line, |s, l| {
        if known(s) {
            found(s, l)
        }
    });
    compare_map(&actual.devices, devices, |_| format!("device {DUMMY_DEVICE} dummy"), &mut found);
    compare_map(&actual.sets, sets, set_line, &mut found);
    compare_map(&actual.entries, entries, entry_line, &mut found);
    compare_chains(&actual.rules, rules, &mut found);
    compare_map(&actual.addresses, addresses, |(ip, ())| format!("address {ip}"), &mut found);
    compare_map(&scheduling(actual), &scheduling(desired), virtual_line, &mut found);
    compare_map(&weights(actual), &weights(desired), real_line, &mut found);
}

fn compare_map<K: Ord, V: PartialEq>(
    actual: &BTreeMap<K, V>,
    desired: &BTreeMap<K, V>,
    line: impl Fn((&K, &V)) -> String,
    mut found: impl FnMut(Sign, String),
) {
    for (key, value) in actual.iter().filter(|(key, _)| !desired.contains_key(key)) {
        found(Sign::Extra, line((key, value)));
    }
    for (key, value) in desired {
        match actual.get(key) {
            None => found(Sign::Missing, line((key, value))),
            Some(old) if old != value => found(Sign::Different, line((key, value))),
            Some(_) => {}
        }
    }
}

/// Chains are compared rule by rule; a chain of ours whose rules only changed order is one `~ chain` line. In
/// built-in chains, the position and the number of our jumps do not count.
fn compare_chains(
    actual: &BTreeMap<ChainKey, Vec<Rule>>,
    desired: &BTreeMap<ChainKey, Vec<Rule>>,
    found: &mut impl FnMut(Sign, String),
) {
    let keys: BTreeSet<&ChainKey> = actual.keys().chain(desired.keys()).collect();
    for key in keys {
        let old = actual.get(key).map(|rules| chain_lines((key, rules))).unwrap_or_default();
        let new = desired.get(key).map(|rules| chain_lines((key, rules))).unwrap_or_default();
        if old == new {
            continue;
        }
        let extra: Vec<&String> = old.iter().filter(|line| !new.contains(line)).collect();
        let missing: Vec<&String> = new.iter().filter(|line| !old.contains(line)).collect();
        if extra.is_empty() && missing.is_empty() && key.2.ownership() == Ownership::Own {
            found(Sign::Different, new[0].clone());
        }
        extra.into_iter().for_each(|line| found(Sign::Extra, line.clone()));
        missing.into_iter().for_each(|line| found(Sign::Missing, line.clone()));
    }
}

impl fmt::Display for KernelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for KernelState {
    type Err = ParseError;

    /// Parses the text form; blank lines are skipped. The order of lines only matters for the rules of one chain,
    /// and a real server must come after its virtual server.
    fn from_str(text: &str) -> Result<KernelState, ParseError> {
        let mut state = KernelState::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            read_line(&mut state, line).ok_or_else(|| ParseError::new(line))?;
        }
        Ok(state)
    }
}

fn read_line(state: &mut KernelState, line: &str) -> Option<()> {
    let (kind, rest) = line.split_once(' ')?;
    match kind {
        "sysctl" => {
            let (path, value) = rest.split_once(" = ")?;
            state.sysctls.insert(Sysctl::new(path), value.parse().ok()?);
        }
        "timeout" => {
            let (timeout, seconds) = rest.split_once(' ')?;
            state.timeouts.insert(timeout.parse().ok()?, seconds.parse().ok()?);
        }
        "device" if rest == format!("{DUMMY_DEVICE} dummy") => {
            state.devices.insert(Device::KubeIpvs0, ());
        }
        "set" => {
            let (name, kind) = rest.split_once(' ')?;
            state.sets.insert(name.parse().ok()?, kind.parse().ok()?);
        }
        "entry" => {
            let (name, entry) = rest.split_once(' ')?;
            let (name, entry): (SetName, SetEntry) = (name.parse().ok()?, entry.parse().ok()?);
            state.entries.insert((name, entry), ());
        }
        "chain" => {
            state.rules.entry(read_place(rest)?.0).or_default();
        }
        "rule" => {
            let (place, rule) = read_place(rest)?;
            state.rules.entry(place).or_default().push(Rule::parse(rule));
        }
        "address" => {
            state.addresses.insert(rest.parse::<IpAddr>().ok()?, ());
        }
        "virtual" => {
            let (server, scheduling) = read_virtual(rest)?;
            state.virtual_servers.insert(server, Server::new(read_scheduling(scheduling)?));
        }
        "real" => {
            let (server, rest) = read_virtual(rest)?;
            let (real, weight) = rest.strip_prefix("-> ")?.split_once(" weight ")?;
            let (real, weight) = (RealServer(real.parse().ok()?), Weight(weight.parse().ok()?));
            state.virtual_servers.get_mut(&server)?.real_servers.insert(real, weight);
        }
        _ => return None,
    }
    Some(())
}

fn read_place(text: &str) -> Option<(ChainKey, &str)> {
    let mut words = text.splitn(4, ' ');
    let family = match words.next()? {
        "ip" => Family::V4,
        "ip6" => Family::V6,
        _ => return None,
    };
    let table = words.next()?;
    let table = Table::BOTH.into_iter().find(|t| t.name() == table)?;
    let chain = words.next()?;
    let chain = *Chain::ALL.iter().find(|c| c.name() == chain)?;
    Some(((family, table, chain), words.next().unwrap_or("")))
}

fn read_virtual(text: &str) -> Option<(VirtualServer, &str)> {
    let mut words = text.splitn(3, ' ');
    let protocol = words.next()?.parse().ok()?;
    let address = words.next()?.parse().ok()?;
    Some((VirtualServer { protocol, address }, words.next()?))
}

fn read_scheduling(text: &str) -> Option<Scheduling> {
    let mut words = text.split(' ');
    let scheduler = words.next().filter(|name| !name.is_empty())?.to_owned();
    let mut scheduling = Scheduling { scheduler, flags: SchedulerFlags::default(), persistence: None };
    while let Some(word) = words.next() {
        match word {
            "flags" => {
                let flags = words.next()?.strip_prefix("0x")?;
                scheduling.flags = SchedulerFlags(u32::from_str_radix(flags, 16).ok()?);
            }
            "persistent" => {
                let (timeout, prefix) = words.next()?.split_once('/')?;
                let (timeout, prefix) = (timeout.parse().ok()?, prefix.parse().ok()?);
                scheduling.persistence = Some(Persistence { timeout, prefix });
            }
            _ => return None,
        }
    }
    Some(scheduling)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
sysctl net/ipv4/ip_forward = 1
timeout tcp 700
device kube-ipvs0 dummy
set KUBE-CLUSTER-IP hash:ip,port family inet maxelem 65536
entry KUBE-CLUSTER-IP 10.96.0.10,tcp:53
chain ip nat KUBE-MARK-MASQ
rule ip nat KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
address 10.96.0.10
virtual tcp 10.96.0.10:53 mh flags 0x10 persistent 120/32
virtual tcp [fd00::1]:53 rr
real tcp 10.96.0.10:53 -> 10.0.1.4:53 weight 1
";

    #[test]
    fn text_is_read_back() {
        let state: KernelState = TEXT.parse().unwrap();
        assert_eq!(state.to_string(), TEXT);
        for text in ["virtual tcp 10.96.0.10:53", "real tcp 10.96.0.10:53 -> 10.0.1.4:53 weight 1"] {
            assert!(text.parse::<KernelState>().is_err(), "{text}");
        }
    }

    #[test]
    fn differences_are_signed_lines() {
        let actual: KernelState = TEXT.parse().unwrap();
        let desired: KernelState = TEXT
            .replace("weight 1", "weight 5")
            .replace("address 10.96.0.10", "address 10.96.0.11")
            .replace("sysctl net/ipv4/ip_forward = 1\n", "")
            .parse()
            .unwrap();
        let lines: Vec<String> =
            actual.differences(&desired).iter().map(|(sign, line)| format!("{sign} {line}")).collect();
        assert_eq!(
            lines,
            [
                "- address 10.96.0.10",
                "+ address 10.96.0.11",
                "~ real tcp 10.96.0.10:53 -> 10.0.1.4:53 weight 5"
            ]
        );
        assert!(actual.differences(&actual).is_empty());
    }

    #[test]
    fn the_place_of_a_jump_in_a_built_in_chain_is_no_difference() {
        let state = |text: &str| text.parse::<KernelState>().unwrap();
        let (a, b) =
            ("rule ip filter INPUT -j KUBE-NODE-PORT\n", "rule ip filter INPUT -j KUBE-IPVS-FILTER\n");
        assert!(state(&format!("{a}{b}")).differences(&state(&format!("{b}{a}"))).is_empty());
        assert_eq!(state(a).differences(&state(&format!("{b}{a}"))).len(), 1);
    }
}
