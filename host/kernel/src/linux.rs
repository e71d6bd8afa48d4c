//! The kernel of this network namespace.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;

use ipnet::IpNet;
use weir_core::diff::Change;
use weir_core::kernel::{Connections, Fact, Failure, FailureKind, Kernel, Outcome, Part, ReadError, Unread};
use weir_core::net::Family;
use weir_core::node::HostAddress;
use weir_core::rule::Table;
use weir_core::sampling::Readings;
use weir_core::state::{KernelState, RealServer, Server, Sysctl, VirtualServer};
use weir_netlink::NetlinkError;

mod device;
mod flows;
mod ipvs;
mod proc_ip_vs;
mod rules;
mod session;
mod sets;
mod traffic;

use crate::{refusals, sysctl};

pub use flows::Forgotten;
pub use traffic::{AllTraffic, Traffic};
pub(crate) use weir_core::causes::with_causes as chain;

/// The kernel of this network namespace, limited to what weir owns.
pub struct Linux {
    families: Vec<Family>,
    ipvs: ipvs::Ipvs,
    sets: sets::Sets,
    device: device::DummyDevice,
    flows: flows::Flows,
    rules: rules::Rules,
}

/// What this crate did, for comparison between runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Netlink messages sent.
    pub messages: u64,
    /// Send calls.
    pub sends: u64,
    /// Receive calls.
    pub receives: u64,
    /// Processes started.
    pub processes: u64,
}

impl std::ops::Sub for Effort {
    type Output = Effort;

    /// What was done since an earlier snapshot.
    fn sub(self, earlier: Effort) -> Effort {
        Effort {
            messages: self.messages - earlier.messages,
            sends: self.sends - earlier.sends,
            receives: self.receives - earlier.receives,
            processes: self.processes - earlier.processes,
        }
    }
}

/// The sysctls that plans may name, read by [`Kernel::read`].
const SYSCTLS: [&str; 7] = [
    "net/ipv4/vs/conntrack",
    "net/ipv4/vs/conn_reuse_mode",
    "net/ipv4/vs/expire_nodest_conn",
    "net/ipv4/vs/expire_quiescent_template",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/arp_announce",
];

/// How often a read disturbed by a concurrent change is repeated.
const READ_TRIES: u32 = 5;

impl Linux {
    /// The kernel, limited to these families. Sockets are opened on first use.
    pub fn new(families: &[Family]) -> Linux {
        Linux {
            families: families.to_vec(),
            ipvs: ipvs::Ipvs::default(),
            sets: sets::Sets::default(),
            device: device::DummyDevice::default(),
            flows: flows::Flows::default(),
            rules: rules::Rules::default(),
        }
    }

    /// Addresses of all interfaces except the dummy device.
    pub fn host_addresses(&mut self) -> Result<Vec<HostAddress>, ReadError> {
        retry("addresses", || self.device.host_addresses())
    }

    /// Whether the dummy device exists.
    ///
    /// # Errors
    /// When that cannot be determined.
    pub fn has_device(&mut self) -> Result<bool, ReadError> {
        retry("devices", || self.device.is_there())
    }

    /// Addresses with a prefix that other programs put on the dummy device. Such a prefix attracts all packets for its
    /// network.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn networks(&mut self) -> Result<Vec<IpNet>, ReadError> {
        retry("addresses", || self.device.networks())
    }

    /// Removes networks from the dummy device and keeps their addresses.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_networks(&mut self, networks: &[IpNet]) -> Outcome {
        self.device
            .remove_networks(networks)
            .map_err(|error| refusals::failure(&error, "remove networks from the dummy device"))
    }

    /// What was done so far.
    pub fn effort(&self) -> Effort {
        let mut effort = Effort { processes: self.rules.processes, ..Effort::default() };
        let counters = [
            self.ipvs.counters(),
            self.sets.counters(),
            self.device.counters(),
            self.flows.counters(),
            self.rules.counters(),
        ];
        for counters in counters {
            effort.messages += counters.messages;
            effort.sends += counters.sends;
            effort.receives += counters.receives;
        }
        effort
    }

    /// Reads the kernel's counters for the real servers of a virtual server in one dump; `None` if they cannot be
    /// read.
    pub fn sample(&mut self, server: VirtualServer) -> Readings {
        self.ipvs.sample(server)
    }

    /// Like [`Linux::sample`], but `None` means that the kernel does not have the virtual server. The cost does not
    /// depend on the other virtual servers.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn readings(&mut self, server: VirtualServer) -> Result<Readings, ReadError> {
        retry("virtual server", || self.ipvs.readings(server))
    }

    /// Traffic through all virtual servers, or `None` if the kernel has no IPVS. One dump, and one read of a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn traffic(&mut self) -> Result<Option<AllTraffic>, ReadError> {
        self.of_ipvs(ipvs::Ipvs::traffic)
    }

    /// The searches for stale UDP flows since the last call.
    pub fn take_forgotten(&mut self) -> Vec<Forgotten> {
        self.flows.take_forgotten()
    }

    /// Reads what a cleanup removes, except rules: virtual servers, sets, the dummy device. A kernel without IPVS
    /// or ipset contributes nothing for those.
    pub fn read_removable(&mut self) -> Result<KernelState, ReadError> {
        let mut state = KernelState::default();
        if self.ipvs.is_there() {
            state.virtual_servers = retry("virtual servers", || self.ipvs.read())?;
        }
        if self.sets.is_there() {
            self.read_sets(&mut |fact| state.note(fact))?;
        }
        (state.devices, state.addresses) = retry("the dummy device", || self.device.read())?;
        Ok(state)
    }

    /// The virtual servers, or `None` if the kernel has no IPVS.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn virtual_servers(&mut self) -> Result<Option<BTreeMap<VirtualServer, Server>>, ReadError> {
        self.of_ipvs(ipvs::Ipvs::read)
    }

    fn of_ipvs<V>(
        &mut self,
        read: fn(&mut ipvs::Ipvs) -> Result<V, ipvs::IpvsError>,
    ) -> Result<Option<V>, ReadError> {
        if !self.ipvs.is_there() {
            return Ok(None);
        }
        retry("virtual servers", || read(&mut self.ipvs)).map(Some)
    }

    /// Reports each set only after it was read completely, because an interrupted read may have seen outdated entries.
    fn read_sets(&mut self, see: &mut dyn FnMut(Fact<'_>)) -> Result<(), ReadError> {
        let families = self.families.clone();
        for name in retry("sets", || self.sets.names(&families))? {
            retry("sets", || self.sets.read(name, see))?;
        }
        Ok(())
    }

    /// Removes the set that a killed run may have left half filled. No rule refers to it.
    pub fn remove_scratch(&mut self) -> Outcome {
        if self.sets.is_there() { self.sets.destroy_scratch() } else { Ok(()) }
    }
}

/// Repeats a read while concurrent changes disturb it.
fn retry<V, E: std::error::Error>(
    what: &str,
    mut read: impl FnMut() -> Result<V, E>,
) -> Result<V, ReadError> {
    let mut last = read_error(what, &NetlinkError::Interrupted { operation: "read" });
    for _ in 0..READ_TRIES {
        match read() {
            Ok(value) => return Ok(value),
            Err(error) => last = read_error(what, &error),
        }
    }
    Err(last)
}

pub(crate) fn netlink_family(family: Family) -> weir_netlink::Family {
    match family {
        Family::V4 => weir_netlink::Family::V4,
        Family::V6 => weir_netlink::Family::V6,
    }
}

fn read_error(what: &str, error: &dyn std::error::Error) -> ReadError {
    ReadError { what: what.to_owned(), message: chain(error) }
}

impl Kernel for Linux {
    fn read(&mut self, see: &mut dyn FnMut(Fact<'_>)) -> Result<Unread, ReadError> {
        for path in SYSCTLS {
            let key = Sysctl::new(path);
            if let Some(value) = sysctl::read(&key).map_err(|e| read_error("sysctls", &e))? {
                see(Fact::Sysctl(&key, value));
            }
        }
        for (timeout, seconds) in retry("IPVS timeouts", || self.ipvs.read_timeouts())? {
            see(Fact::Timeout(timeout, seconds));
        }
        let families = self.families.clone();
        for (server, behind) in &retry("virtual servers", || self.ipvs.read())? {
            if families.contains(&server.family()) {
                see(Fact::Server(*server, behind));
            }
        }
        self.read_sets(see)?;
        let (devices, addresses) = retry("the dummy device", || self.device.read())?;
        devices.keys().for_each(|device| see(Fact::Device(*device)));
        let addresses = addresses.keys().filter(|ip| families.contains(&Family::of(**ip)));
        addresses.for_each(|ip| see(Fact::Address(*ip)));
        let mut unread = Unread::default();
        for family in families {
            let (chains, tables) = match self.rules.read(family) {
                Ok(read) => read,
                Err(failure) => (BTreeMap::new(), Table::BOTH.map(|table| (table, failure.clone())).into()),
            };
            chains.iter().for_each(|(key, rules)| see(Fact::Chain(*key, rules)));
            unread.rules.extend(
                tables.into_iter().map(|(table, failure)| ((family, table), unreadable(table, failure))),
            );
        }
        Ok(unread)
    }

    fn execute(&mut self, batch: &[Change]) -> Vec<Outcome> {
        let Some(first) = batch.first() else { return Vec::new() };
        match first.part() {
            Part::Ipvs => self.ipvs.apply(batch),
            Part::Entries => self.sets.apply_entries(batch),
            Part::Addresses => self.device.apply(batch),
            Part::Flows => self.flows.forget(batch),
            Part::Single => batch.iter().map(|change| self.apply_single(change)).collect(),
        }
    }

    fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections {
        self.ipvs.connections(servers)
    }
}

fn unreadable(table: Table, failure: Failure) -> Failure {
    // Unlike a write, a read does not wait for a lock that will soon be free.
    let kind = FailureKind::Refused;
    Failure { kind, message: format!("cannot read the table {table}: {}", failure.message) }
}

impl Linux {
    fn apply_single(&mut self, change: &Change) -> Outcome {
        match change {
            Change::SetSysctl(key, value) => sysctl::write(key, *value)
                .map_err(|error| Failure { kind: FailureKind::Refused, message: chain(&error) }),
            Change::SetTimeouts(timeouts) => self.ipvs.set_timeouts(timeouts),
            Change::CreateDevice(_) => self.device.create(),
            Change::DeleteDevice(_) => self.device.delete(),
            Change::CreateSet(name, kind) => self.sets.create(*name, kind),
            Change::ReplaceSet(name, kind, entries) => self.sets.replace(*name, kind, entries),
            Change::DestroySet(name) => self.sets.destroy(*name),
            Change::WriteRules(rules) => self.rules.write(rules),
            Change::AddEntry(..)
            | Change::DeleteEntry(..)
            | Change::AddAddress(_)
            | Change::DeleteAddress(_)
            | Change::CreateVirtualServer(..)
            | Change::UpdateVirtualServer(..)
            | Change::DeleteVirtualServer(_)
            | Change::AddRealServer(..)
            | Change::SetWeight(..)
            | Change::DeleteRealServer(..)
            | Change::ForgetFlows(..) => {
                let message = format!("{change}: not supported outside a batch; this is a bug in weir");
                Err(Failure { kind: FailureKind::Refused, message })
            }
        }
    }
}
