//! The kernel's state as printed by the programs that administrators trust, in the normal form described in
//! `tests/scenarios/data/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use similar::{ChangeTag, TextDiff};

use crate::netns::Netns;
use crate::patience::{self, AUDITED};

mod rules;

/// The sections and the commands that print them. `ip` lists all interfaces, because it fails for a missing one.
const WITNESSES: [(&str, &str); 8] = [
    ("ipvs", "ipvsadm -Sn"),
    ("ipset", "ipset save"),
    ("iptables", "iptables-save"),
    ("ip6tables", "ip6tables-save"),
    ("addresses", "ip -o addr show"),
    ("link", "ip -o link show"),
    ("timeouts", "ipvsadm -L --timeout"),
    ("sysctl", "cd /proc/sys; for key in $SYSCTLS; do echo \"$key=$(cat $key)\"; done"),
];

/// The network sysctls that a service proxy must set, or must not touch.
const SYSCTLS: &str = "net/ipv4/vs/conntrack net/ipv4/vs/conn_reuse_mode net/ipv4/vs/expire_nodest_conn \
    net/ipv4/vs/expire_quiescent_template net/ipv4/ip_forward net/ipv4/conf/all/arp_ignore \
    net/ipv4/conf/all/arp_announce net/ipv4/conf/all/route_localnet";

/// The dummy device of IPVS mode.
const DUMMY_DEVICE: &str = "kube-ipvs0";

/// How long a state must stay unchanged to count as reached.
const HOLD: Duration = Duration::from_millis(400);

/// Sections of lines, ordered such that equal dumps mean equal states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    sections: BTreeMap<String, Vec<String>>,
}

impl Dump {
    /// Reads the current state of a namespace.
    ///
    /// # Errors
    /// When one of the programs fails.
    pub fn of(netns: &Netns) -> Result<Dump> {
        Ok(Dump::printed(&printed(netns)?))
    }

    /// Parses the output of [`printed`].
    pub fn printed(text: &str) -> Dump {
        Dump::parse(text, normal)
    }

    /// Parses a recording, or the output of `weir plan --output kernel`.
    pub fn recorded(text: &str) -> Dump {
        Dump::parse(text, recorded)
    }

    fn parse(text: &str, normal: fn(&str, Vec<&str>) -> Vec<String>) -> Dump {
        let sections =
            split(text).into_iter().map(|(name, lines)| (name.to_owned(), normal(name, lines))).collect();
        Dump { sections }
    }

    /// The lines of a section.
    pub fn section(&self, name: &str) -> &[String] {
        self.sections.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns this dump with all sections of the other dump replaced.
    #[must_use]
    pub fn with(mut self, other: &Dump) -> Dump {
        self.sections.extend(other.sections.clone());
        self
    }

    /// Returns this dump with one section replaced by that of the other dump.
    #[must_use]
    pub fn with_section(mut self, name: &str, other: &Dump) -> Dump {
        self.sections.insert(name.to_owned(), other.section(name).to_vec());
        self
    }

    /// Readable lines, empty if there is no difference: `+` is present but not expected, `-` is expected but
    /// missing.
    pub fn differences(&self, expected: &Dump) -> String {
        let mut text = String::new();
        let names: BTreeSet<&String> = self.sections.keys().chain(expected.sections.keys()).collect();
        for name in names {
            let (old, new) = (expected.section(name), self.section(name));
            if old == new {
                continue;
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "## {name}");
            let [old, new] = [old, new].map(|lines| lines.iter().map(String::as_str).collect::<Vec<_>>());
            for change in TextDiff::from_slices(&old, &new).iter_all_changes() {
                if change.tag() != ChangeTag::Equal {
                    let _ = writeln!(text, "{} {}", change.tag(), change.value());
                }
            }
        }
        text
    }

    /// Fails if there are differences.
    ///
    /// # Errors
    /// The differences.
    pub fn expect(&self, expected: &Dump) -> Result<()> {
        let differences = self.differences(expected);
        ensure!(differences.is_empty(), "the kernel differs (+ unexpected, - missing):\n{differences}");
        Ok(())
    }
}

/// Returns the programs' output for a namespace, section by section.
///
/// # Errors
/// When one of the programs fails.
pub fn printed(netns: &Netns) -> Result<String> {
    let mut script = format!("SYSCTLS='{SYSCTLS}'\n");
    for (section, command) in WITNESSES {
        // Writing to a string cannot fail.
        let _ = writeln!(script, "echo '## {section}'\n{command}");
    }
    netns.script(&script)
}

/// Converts the output to the form of the recordings; `iptables-save` is unchanged except for comments and
/// counters.
pub fn recording(printed: &str) -> String {
    let mut sections = split(printed);
    let mut text = String::new();
    for (section, _) in WITNESSES {
        let lines = sections.remove(section).unwrap_or_default();
        let lines = match section {
            "iptables" | "ip6tables" => lines.into_iter().filter_map(rules::recorded).collect(),
            _ => normal(section, lines),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "## {section}");
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn split(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut lines = None;
    for line in text.lines() {
        if let Some(section) = line.strip_prefix("## ") {
            lines = Some(sections.entry(section).or_default());
        } else if let Some(lines) = &mut lines {
            lines.push(line);
        }
    }
    sections
}

/// Waits until a namespace has the expected state and keeps it.
///
/// # Errors
/// The differences that remain after a generous time, or that reappeared.
pub fn settle(netns: &Netns, expected: &Dump) -> Result<()> {
    patience::until(AUDITED, || Dump::of(netns)?.expect(expected))?;
    hold(netns, expected)
}

/// Checks again after a moment: a transient state does not count.
///
/// # Errors
/// The differences.
pub fn hold(netns: &Netns, expected: &Dump) -> Result<()> {
    sleep(HOLD);
    Dump::of(netns)?.expect(expected).context("the state did not last")
}

/// Converts the programs' output to normal form.
fn normal(section: &str, lines: Vec<&str>) -> Vec<String> {
    let lines = lines.into_iter();
    match section {
        "ipvs" => ipvs(lines.map(str::trim_end).map(str::to_owned).collect()),
        "ipset" => sorted(lines.map(set_line)),
        "iptables" | "ip6tables" => rules::canonical(lines),
        "addresses" => sorted(lines.filter_map(address_line)),
        "link" => lines.filter_map(link_lines).flatten().collect(),
        _ => lines.map(str::to_owned).collect(),
    }
}

/// A recording is already in normal form, except for the order of lines where order has no meaning. Connection
/// tracking limits are left out, because they belong to the whole kernel and not to a namespace.
fn recorded(section: &str, lines: Vec<&str>) -> Vec<String> {
    let lines = lines.into_iter();
    match section {
        "iptables" | "ip6tables" => rules::canonical(lines),
        "ipvs" => ipvs(lines.map(str::to_owned).collect()),
        "sysctl" => lines.filter(|line| !line.starts_with("net/netfilter/")).map(str::to_owned).collect(),
        _ => lines.map(str::to_owned).collect(),
    }
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// Virtual servers sorted by address, each followed by its real servers.
fn ipvs(mut lines: Vec<String>) -> Vec<String> {
    let server = |line: &str| line.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ");
    lines.sort_by_cached_key(|line| (server(line), line.clone()));
    lines
}

/// Removes ` initval 0x…` and ` bucketsize N`, which are random or depend on the version.
fn set_line(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if matches!(word, "initval" | "bucketsize") {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// `7: kube-ipvs0    inet 10.96.0.1/32 scope global kube-ipvs0\       valid_lft forever preferred_lft forever`
fn address_line(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip(1);
    let device = words.next()?;
    let rest: Vec<&str> = words.take_while(|word| *word != "valid_lft").collect();
    let text = rest.join(" ").trim_end_matches(['\\', ' ']).to_owned();
    (device == DUMMY_DEVICE && !text.starts_with("inet6 fe80:")).then_some(text)
}

/// `3: kube-ipvs0: <BROADCAST,NOARP> mtu 1500 qdisc noop state DOWN mode DEFAULT group default …`
fn link_lines(line: &str) -> Option<[String; 2]> {
    let (_, rest) = line.split_once(&format!(": {DUMMY_DEVICE}: <"))?;
    let (flags, rest) = rest.split_once("> ")?;
    let flags: Vec<&str> = flags.split(',').filter(|flag| *flag != "BROADCAST").collect();
    let (properties, _) = rest.split_once(" mode ")?;
    Some([flags.join(","), properties.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
## ipvs
-A -t 10.96.0.2:53 -s rr 
-a -t 10.96.0.2:53 -r 10.0.0.2:53 -m -w 1
-a -t 10.96.0.2:53 -r 10.0.0.1:53 -m -w 1
-A -t 10.96.0.1:443 -s rr
## ipset
create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xa34d
add KUBE-CLUSTER-IP 10.96.0.1,tcp:443
## addresses
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
7: kube-ipvs0    inet 10.96.0.1/32 scope global kube-ipvs0\\       valid_lft forever preferred_lft forever
7: kube-ipvs0    inet6 fe80::1/64 scope link \\       valid_lft forever preferred_lft forever
7: kube-ipvs0    inet6 fd00::1/128 scope global \\       valid_lft forever preferred_lft forever
## link
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000
7: kube-ipvs0: <BROADCAST,NOARP> mtu 1500 qdisc noop state DOWN mode DEFAULT group default qlen 1000
";
    const RECORDED: &str = "\
## ipvs
-A -t 10.96.0.1:443 -s rr
-A -t 10.96.0.2:53 -s rr
-a -t 10.96.0.2:53 -r 10.0.0.1:53 -m -w 1
-a -t 10.96.0.2:53 -r 10.0.0.2:53 -m -w 1
## ipset
add KUBE-CLUSTER-IP 10.96.0.1,tcp:443
create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536
## addresses
inet 10.96.0.1/32 scope global kube-ipvs0
inet6 fd00::1/128 scope global
## link
NOARP
mtu 1500 qdisc noop state DOWN
";

    #[test]
    fn what_programs_print_becomes_the_recorded_form() {
        let printed = Dump::parse(PRINTED, normal);
        assert_eq!(printed.differences(&Dump::recorded(RECORDED)), "");
    }

    #[test]
    fn a_recording_is_equal_to_what_it_was_made_from() {
        let rules = "## iptables\n# by iptables-save\n*nat\n:A ACCEPT [7:420]\n-A A -j Y\nCOMMIT\n";
        let printed = format!("{PRINTED}{rules}");
        let text = recording(&printed);
        assert_eq!(Dump::recorded(&text).section("iptables"), Dump::printed(&printed).section("iptables"));
        assert!(text.contains(":A ACCEPT\n-A A -j Y\nCOMMIT\n") && !text.contains("# by"));
        let made = Dump::recorded(&text);
        for section in ["ipvs", "ipset", "addresses", "link"] {
            assert_eq!(made.section(section), Dump::printed(&printed).section(section));
        }
    }

    #[test]
    fn differences_name_section_and_line() {
        let printed = Dump::parse(&PRINTED.replace("10.0.0.2:53 -m -w 1", "10.0.0.2:53 -m -w 0"), normal);
        assert_eq!(
            printed.differences(&Dump::recorded(RECORDED)),
            "## ipvs\n- -a -t 10.96.0.2:53 -r 10.0.0.2:53 -m -w 1\n+ -a -t 10.96.0.2:53 -r 10.0.0.2:53 -m -w 0\n"
        );
        let up = Dump::parse(&PRINTED.replace("NOARP>", "NOARP,UP>"), normal);
        assert_eq!(up.differences(&Dump::recorded(RECORDED)), "## link\n- NOARP\n+ NOARP,UP\n");
    }

    #[test]
    fn a_missing_section_is_a_difference() {
        let printed = Dump::parse("## ipvs\n", normal);
        assert!(printed.differences(&Dump::recorded(RECORDED)).contains("- add KUBE-CLUSTER-IP"));
    }
}
