//! Invariants that hold for every plan, whatever the objects and the policy, and for every kernel at rest.
//!
//! A virtual server whose real servers are all quiesced is not a violation: a service without endpoints may have
//! several draining real servers. In plans, the guard prevents such virtual servers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::net::{Family, Protocol};
use crate::rule::{Chain, Place, Rule};
use crate::set::{SetEntry, SetKind, SetName};
use crate::state::{
    DUMMY_DEVICE, Device, KernelState, Persistence, RealServer, SchedulerFlags, Scheduling, VirtualServer,
};

mod rules;
mod sets;

/// A violated invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A virtual server and a real server of different families.
    #[error("real {0} -> {1} mixes IPv4 and IPv6")]
    MixedServers(VirtualServer, RealServer),
    /// A scheduler name that does not fit into the kernel's field.
    #[error("virtual {0} has the scheduler `{1}`, which is not 1 to {SCHEDULER_BYTES} bytes long")]
    BadScheduler(VirtualServer, String),
    /// Flags that are not scheduler flags.
    #[error("virtual {0} has the flags {flags:#x}, and some of them are not scheduler flags", flags = .1.0)]
    BadFlags(VirtualServer, SchedulerFlags),
    /// A persistence timeout of 0, or a prefix that is 0 or longer than an address.
    #[error(
        "virtual {0} has the persistence {timeout}/{prefix} (seconds/prefix length), but the timeout must be at least \
         1 and the prefix from 1 to the length of an address",
        timeout = .1.timeout, prefix = .1.prefix
    )]
    BadPersistence(VirtualServer, Persistence),
    /// A set whose type or family does not match its name.
    #[error("set {0} is {1}, but its name requires another type or family")]
    OddSet(SetName, SetKind),
    /// More entries than the set has room for.
    #[error("set {0} has {1} entries, but room for only {2}")]
    FullSet(SetName, usize, u32),
    /// An entry without its set.
    #[error("entry {0} {1} has no set")]
    NoSet(SetName, SetEntry),
    /// An entry of another type or family than its set.
    #[error("entry {0} {1} does not match its set's type and family")]
    OddEntry(SetName, SetEntry),
    /// A VIP or node port without a virtual server.
    #[error("entry {0} {1} has no virtual server")]
    Unserved(SetName, SetEntry),
    /// An entry that only makes sense together with an entry in another set.
    #[error("entry {0} {1} has no counterpart in {2}")]
    Alone(SetName, SetEntry, SetName),
    /// A chain in the wrong table.
    #[error("chain {0} is in the wrong table")]
    OddChain(Place),
    /// A rule with an address or a set of another family.
    #[error("rule {0} {1} mixes IPv4 and IPv6")]
    MixedRule(Place, Rule),
    /// A rule in one of weir's own chains that refers to a chain or set of kube-proxy, which kube-proxy may want
    /// to remove.
    #[error(
        "rule {0} {1} is in one of weir's own chains but refers to a chain or set of kube-proxy, which kube-proxy may \
         want to remove"
    )]
    Entangled(Place, Rule),
    /// A rule that refers to a missing set.
    #[error("a rule in {0} refers to the set {1}, which does not exist")]
    UnknownSet(Place, String),
    /// A jump to a missing chain.
    #[error("a rule in {0} jumps to {1}, which does not exist")]
    UnknownChain(Place, Chain),
    /// Addresses without the device to hold them.
    #[error("addresses exist without the device {DUMMY_DEVICE}")]
    NoDevice,
    /// An address without a virtual server.
    #[error("address {0} has no virtual server")]
    UnusedAddress(IpAddr),
    /// An address on which the host's own ports answer.
    #[error("address {0} is not in {1}, so the host's ports are open on it")]
    OpenAddress(IpAddr, SetName),
    /// An address that is listed as bound but is not on the device.
    #[error("address {0} is in {1} but not on {DUMMY_DEVICE}")]
    UnboundAddress(IpAddr, SetName),
}

/// The maximum length of a scheduler name (`IP_VS_SCHEDNAME_MAXLEN` is 16 with the terminating zero,
/// `include/uapi/linux/ip_vs.h`).
const SCHEDULER_BYTES: usize = 15;

/// All violations in a state.
pub fn check(state: &KernelState) -> Vec<Violation> {
    let ports = state.virtual_servers.keys().map(|s| (s.family(), s.protocol, s.address.port())).collect();
    let mut check = Check { state, ports, found: Vec::new() };
    check.servers();
    check.addresses();
    check.sets();
    check.entries();
    check.rules();
    check.found
}

struct Check<'a> {
    state: &'a KernelState,
    /// The family, protocol and port of each virtual server, whatever its address.
    ports: BTreeSet<(Family, Protocol, u16)>,
    found: Vec<Violation>,
}

impl Check<'_> {
    fn servers(&mut self) {
        for (server, behind) in &self.state.virtual_servers {
            self.scheduling(*server, &behind.scheduling);
            let other = behind.real_servers.keys().filter(|real| Family::of(real.0.ip()) != server.family());
            self.found.extend(other.map(|real| Violation::MixedServers(*server, *real)));
        }
    }

    fn scheduling(&mut self, server: VirtualServer, scheduling: &Scheduling) {
        let Scheduling { scheduler, flags, persistence } = scheduling;
        if !(1..=SCHEDULER_BYTES).contains(&scheduler.len()) {
            self.found.push(Violation::BadScheduler(server, scheduler.clone()));
        }
        if !SchedulerFlags::ALL.contains(*flags) {
            self.found.push(Violation::BadFlags(server, *flags));
        }
        if let Some(persistence) = persistence {
            let prefixes = 1..=server.family().full_prefix();
            if persistence.timeout == 0 || !prefixes.contains(&persistence.prefix) {
                self.found.push(Violation::BadPersistence(server, *persistence));
            }
        }
    }

    fn addresses(&mut self) {
        let addresses = &self.state.addresses;
        if !addresses.is_empty() && !self.state.devices.contains_key(&Device::KubeIpvs0) {
            self.found.push(Violation::NoDevice);
        }
        let served: BTreeSet<IpAddr> = self.state.virtual_servers.keys().map(|s| s.address.ip()).collect();
        let unused = addresses.keys().filter(|ip| !served.contains(ip));
        self.found.extend(unused.map(|ip| Violation::UnusedAddress(*ip)));
        for family in Family::BOTH {
            let set = SetName::new(family, crate::set::Set::IpvsIps);
            let open = addresses.keys().filter(|ip| Family::of(**ip) == family);
            let open = open.filter(|ip| !self.state.entries.contains_key(&(set, SetEntry::Ip(**ip))));
            self.found.extend(open.map(|ip| Violation::OpenAddress(*ip, set)));
            for entry in self.state.entries_of(set) {
                if let SetEntry::Ip(ip) = entry
                    && !addresses.contains_key(&ip)
                {
                    self.found.push(Violation::UnboundAddress(ip, set));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
