//! What must change, in an order that is safe at every step.
//!
//! ```text
//! Desired, Actual ─▶ Differences ─order─▶ Changes ─▶ drain ─▶ kernel, where Failures hold back dependent changes
//! ```

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::set::{SetEntry, SetKind, SetName};
use crate::state::{
    DUMMY_DEVICE, Device, KernelState, RealServer, Scheduling, Sysctl, Timeout, VirtualServer, Weight,
};
use crate::text::counted;

mod differences;
mod order;
mod prerequisite;
mod record;
mod rules;

pub use differences::{Differences, Pair, Wanted};
pub use prerequisite::Failures;
pub use record::record;
pub(crate) use record::{record_rules, record_server};
pub use rules::{Direction, RulesChange, TableChange};

/// One change of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a value below `/proc/sys`.
    SetSysctl(Sysctl, i64),
    /// Set IPVS timeouts, in seconds; timeouts not named are kept.
    SetTimeouts(BTreeMap<Timeout, u32>),
    /// Create a device.
    CreateDevice(Device),
    /// Delete a device, with its addresses.
    DeleteDevice(Device),
    /// Create a set.
    CreateSet(SetName, SetKind),
    /// Replace a set with one of another kind and content, atomically.
    ReplaceSet(SetName, SetKind, Vec<SetEntry>),
    /// Destroy a set; no rule may refer to it.
    DestroySet(SetName),
    /// Add a member to a set.
    AddEntry(SetName, SetEntry),
    /// Remove a member of a set.
    DeleteEntry(SetName, SetEntry),
    /// Write iptables rules of one family, all or nothing.
    WriteRules(RulesChange),
    /// Add an address to the dummy device.
    AddAddress(IpAddr),
    /// Remove an address from the dummy device.
    DeleteAddress(IpAddr),
    /// Create a virtual server.
    CreateVirtualServer(VirtualServer, Scheduling),
    /// Change how a virtual server schedules; its connections stay.
    UpdateVirtualServer(VirtualServer, Scheduling),
    /// Delete a virtual server and its real servers.
    DeleteVirtualServer(VirtualServer),
    /// Add a real server.
    AddRealServer(VirtualServer, RealServer, Weight),
    /// Change the weight of a real server.
    SetWeight(VirtualServer, RealServer, Weight),
    /// Delete a real server.
    DeleteRealServer(VirtualServer, RealServer),
    /// Make the connection tracker forget UDP flows to a virtual server, except those answered by these real
    /// servers. The other flows get no more replies, and a client that keeps its port would never be balanced
    /// again.
    ForgetFlows(VirtualServer, BTreeSet<RealServer>),
}

impl Change {
    /// The action and its object as one word, used as a label.
    pub fn kind(&self) -> &'static str {
        match self {
            Change::SetSysctl(..) => "set-sysctl",
            Change::SetTimeouts(_) => "set-timeouts",
            Change::CreateDevice(_) => "create-device",
            Change::DeleteDevice(_) => "delete-device",
            Change::CreateSet(..) => "create-set",
            Change::ReplaceSet(..) => "replace-set",
            Change::DestroySet(_) => "destroy-set",
            Change::AddEntry(..) => "add-entry",
            Change::DeleteEntry(..) => "delete-entry",
            Change::WriteRules(_) => "write-rules",
            Change::AddAddress(_) => "add-address",
            Change::DeleteAddress(_) => "delete-address",
            Change::CreateVirtualServer(..) => "create-virtual-server",
            Change::UpdateVirtualServer(..) => "update-virtual-server",
            Change::DeleteVirtualServer(_) => "delete-virtual-server",
            Change::AddRealServer(..) => "add-real-server",
            Change::SetWeight(..) => "set-weight",
            Change::DeleteRealServer(..) => "delete-real-server",
            Change::ForgetFlows(..) => "forget-flows",
        }
    }
}

/// Changes in the order in which they must be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub Vec<Change>);

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The changes that lead from `actual` to `desired`. Sysctls and timeouts not named in `desired` are kept.
pub fn diff(desired: &KernelState, actual: &KernelState) -> Changes {
    diff_first(desired, actual, &BTreeSet::new())
}

/// Like [`diff`], but turns on the addresses in `first` before all other virtual servers.
pub fn diff_first(desired: &KernelState, actual: &KernelState, first: &BTreeSet<IpAddr>) -> Changes {
    order::order(&Differences::between(desired, actual), desired, first, |_| false)
}

pub(crate) use order::order;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::SetSysctl(key, value) => write!(f, "set sysctl {} = {value}", key.0),
            Change::SetTimeouts(timeouts) => {
                f.write_str("set IPVS timeouts")?;
                timeouts.iter().try_for_each(|(timeout, seconds)| write!(f, " {timeout} {seconds}"))
            }
            Change::CreateDevice(Device::KubeIpvs0) => write!(f, "create device {DUMMY_DEVICE}"),
            Change::DeleteDevice(Device::KubeIpvs0) => write!(f, "delete device {DUMMY_DEVICE}"),
            Change::CreateSet(name, kind) => write!(f, "create set {name} {kind}"),
            Change::ReplaceSet(name, kind, entries) => {
                write!(f, "replace set {name} {kind} ({})", counted(entries.len(), "entry"))
            }
            Change::DestroySet(name) => write!(f, "destroy set {name}"),
            Change::AddEntry(name, entry) => write!(f, "add entry {name} {entry}"),
            Change::DeleteEntry(name, entry) => write!(f, "delete entry {name} {entry}"),
            Change::WriteRules(rules) => write!(f, "write {rules}"),
            Change::AddAddress(ip) => write!(f, "add address {ip}"),
            Change::DeleteAddress(ip) => write!(f, "delete address {ip}"),
            Change::CreateVirtualServer(server, how) => write!(f, "create virtual server {server} {how}"),
            Change::UpdateVirtualServer(server, how) => write!(f, "update virtual server {server} {how}"),
            Change::DeleteVirtualServer(server) => write!(f, "delete virtual server {server}"),
            Change::AddRealServer(server, real, weight) => {
                write!(f, "add real server {server} -> {real} weight {}", weight.0)
            }
            Change::SetWeight(server, real, weight) => {
                write!(f, "set weight of {server} -> {real} to {}", weight.0)
            }
            Change::DeleteRealServer(server, real) => write!(f, "delete real server {server} -> {real}"),
            Change::ForgetFlows(server, kept) => {
                write!(f, "delete flows to {server}")?;
                match kept.len() {
                    0 => Ok(()),
                    number => write!(f, " except those to {}", counted(number, "real server")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sets of both source filters: a Service's source ranges and a policy's allowed sources.
    const FILTERS: &str = "\
set KUBE-LOAD-BALANCER-FW hash:ip,port family inet maxelem 65536
set KUBE-LOAD-BALANCER-SOURCE-CIDR hash:ip,port,net family inet maxelem 65536
set WEIR-SOURCE-LIMITED hash:ip,port family inet maxelem 65536
set WEIR-SOURCE-ALLOW hash:ip,port,net family inet maxelem 65536
";

    fn changes(desired: &str, actual: &str) -> Vec<String> {
        let [desired, actual] = [desired, actual].map(|text| text.parse::<KernelState>().unwrap());
        diff(&desired, &actual).0.iter().map(Change::to_string).collect()
    }

    #[test]
    fn a_real_server_is_quiesced_when_its_successor_takes_connections() {
        let state = |a: u16, b: u16| {
            format!(
                "virtual tcp 10.96.0.2:53 wrr
real tcp 10.96.0.2:53 -> 10.244.0.1:53 weight {a}
real tcp 10.96.0.2:53 -> 10.244.0.2:53 weight {b}
"
            )
        };
        assert_eq!(
            changes(&state(0, 1), &state(1, 0)),
            [
                "set weight of tcp 10.96.0.2:53 -> 10.244.0.2:53 to 1",
                "set weight of tcp 10.96.0.2:53 -> 10.244.0.1:53 to 0",
            ]
        );
    }

    /// If the object's ranges start to admit a source and a policy starts to deny it in the same round, the source
    /// is never let in.
    #[test]
    fn what_closes_comes_before_what_admits_to_a_closed_vip() {
        let closed = format!("{FILTERS}entry KUBE-LOAD-BALANCER-FW 203.0.113.1,tcp:53\n");
        let desired = format!(
            "{closed}\
entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:53,10.0.0.0/8
entry WEIR-SOURCE-LIMITED 203.0.113.1,tcp:53
entry WEIR-SOURCE-ALLOW 203.0.113.1,tcp:53,192.0.2.0/24
"
        );
        assert_eq!(
            changes(&desired, &closed),
            [
                "add entry WEIR-SOURCE-ALLOW 203.0.113.1,tcp:53,192.0.2.0/24",
                "add entry WEIR-SOURCE-LIMITED 203.0.113.1,tcp:53",
                "add entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:53,10.0.0.0/8",
            ]
        );
    }

    /// If both filters of a VIP change, a source that each of them admits at some time is never let in, unless both
    /// admit it in one of the plans.
    #[test]
    fn two_filters_stop_admitting_before_they_admit_others() {
        let closed = format!(
            "{FILTERS}\
entry KUBE-LOAD-BALANCER-FW 203.0.113.1,tcp:53
entry KUBE-LOAD-BALANCER-FW 203.0.113.2,tcp:53
entry WEIR-SOURCE-LIMITED 203.0.113.1,tcp:53
entry WEIR-SOURCE-LIMITED 203.0.113.2,tcp:53
"
        );
        let actual = format!(
            "{closed}\
entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:53,10.0.0.0/8
entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.2,tcp:53,10.0.0.0/8
entry WEIR-SOURCE-ALLOW 203.0.113.1,tcp:53,192.0.2.0/24
"
        );
        let desired = format!(
            "{closed}\
entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:53,192.0.2.0/24
entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.2,tcp:53,10.1.0.0/16
entry WEIR-SOURCE-ALLOW 203.0.113.1,tcp:53,10.0.0.0/8
"
        );
        assert_eq!(
            changes(&desired, &actual),
            [
                "delete entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:53,10.0.0.0/8",
                "delete entry WEIR-SOURCE-ALLOW 203.0.113.1,tcp:53,192.0.2.0/24",
                "add entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:53,192.0.2.0/24",
                "add entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.2,tcp:53,10.1.0.0/16",
                "add entry WEIR-SOURCE-ALLOW 203.0.113.1,tcp:53,10.0.0.0/8",
                "delete entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.2,tcp:53,10.0.0.0/8",
            ]
        );
    }

    /// A source that was both admitted and denied, and is now neither, is never let in during the change.
    #[test]
    fn permissions_go_before_what_denied_the_same_source() {
        let closed = "\
set WEIR-SOURCE-LIMITED hash:ip,port family inet maxelem 65536
set WEIR-SOURCE-ALLOW hash:ip,port,net family inet maxelem 65536
set WEIR-SOURCE-DENY hash:ip,port,net family inet maxelem 65536
entry WEIR-SOURCE-LIMITED 10.96.0.2,tcp:53
chain ip filter KUBE-PROXY-FIREWALL
";
        let actual = format!(
            "{closed}\
entry WEIR-SOURCE-ALLOW 10.96.0.2,tcp:53,10.0.0.0/8
entry WEIR-SOURCE-DENY 10.96.0.2,tcp:53,10.0.0.0/8
rule ip filter KUBE-PROXY-FIREWALL -m set --match-set WEIR-SOURCE-DENY dst,dst,src -j DROP
"
        );
        assert_eq!(
            changes(closed, &actual),
            [
                "delete entry WEIR-SOURCE-ALLOW 10.96.0.2,tcp:53,10.0.0.0/8",
                "write IPv4 rules (1 chain, 0 jumps)",
                "delete entry WEIR-SOURCE-DENY 10.96.0.2,tcp:53,10.0.0.0/8",
            ]
        );
    }
}
