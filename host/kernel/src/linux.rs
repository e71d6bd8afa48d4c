//! The kernel of this network namespace.

use std::collections::BTreeMap;

use weir_core::diff::{Change, Changes, Failures};
use weir_core::kernel::{Connections, Failure, FailureKind, Kernel, Outcome, ReadError};
use weir_core::net::Family;
use weir_core::node::HostAddress;
use weir_core::state::{KernelState, RealServer, Scheduling, Sysctl, VirtualServer};
use weir_netlink::NetlinkError;

mod device;
mod flows;
mod ipvs;
mod proc_ip_vs;
mod rules;
mod session;
mod sets;

use crate::sysctl;

pub use flows::Forgotten;
pub(crate) use weir_core::causes::with_causes as chain;

/// The kernel of this network namespace, as far as weir owns it.
pub struct Linux {
    families: Vec<Family>,
    /// Rules that could not be read the last time, if that is no reason to give up: see [`Linux::without_unread_rules`].
    unread: Option<BTreeMap<Family, Failure>>,
    ipvs: ipvs::Ipvs,
    sets: sets::Sets,
    device: device::DummyDevice,
    flows: flows::Flows,
    rules: rules::Rules,
}

/// What this crate did, to be compared between runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Netlink messages sent.
    pub messages: u64,
    /// Calls that sent them.
    pub sends: u64,
    /// Calls that received answers.
    pub receives: u64,
    /// Processes started.
    pub processes: u64,
}

impl std::ops::Sub for Effort {
    type Output = Effort;

    /// What was done since an earlier moment.
    fn sub(self, earlier: Effort) -> Effort {
        Effort {
            messages: self.messages - earlier.messages,
            sends: self.sends - earlier.sends,
            receives: self.receives - earlier.receives,
            processes: self.processes - earlier.processes,
        }
    }
}

/// The sysctls that plans may name; what [`Kernel::read`] reads.
const SYSCTLS: [&str; 7] = [
    "net/ipv4/vs/conntrack",
    "net/ipv4/vs/conn_reuse_mode",
    "net/ipv4/vs/expire_nodest_conn",
    "net/ipv4/vs/expire_quiescent_template",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/arp_announce",
];

/// How often a read that a concurrent change disturbed is repeated.
const READ_TRIES: u32 = 5;

impl Linux {
    /// The kernel, limited to these families. Sockets are opened when they are needed.
    pub fn new(families: &[Family]) -> Linux {
        Linux {
            families: families.to_vec(),
            unread: None,
            ipvs: ipvs::Ipvs::default(),
            sets: sets::Sets::default(),
            device: device::DummyDevice::default(),
            flows: flows::Flows::default(),
            rules: rules::Rules::default(),
        }
    }

    /// Goes on where the rules of a family cannot be read, as somebody does who brings the kernel to a plan: [`Kernel::read`]
    /// then says that there are none, and [`Kernel::apply`] writes none, but fails with what kept them from being read.
    /// So that family's rules count as missing, which holds up what must not be without them, and nothing else.
    pub fn without_unread_rules(mut self) -> Linux {
        self.unread = Some(BTreeMap::new());
        self
    }

    /// Addresses of all interfaces but the dummy device, and why if they cannot be read.
    pub fn host_addresses(&mut self) -> Result<Vec<HostAddress>, ReadError> {
        retry("addresses", || self.device.host_addresses())
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

    /// The searches for UDP flows that had to be forgotten, since somebody asked last.
    pub fn take_forgotten(&mut self) -> Vec<Forgotten> {
        self.flows.take_forgotten()
    }

    /// What a cleanup removes, but rules: virtual servers, sets, the dummy device. A kernel without IPVS or ipset
    /// has nothing of theirs.
    pub fn read_removable(&mut self) -> Result<KernelState, ReadError> {
        let mut state = KernelState::default();
        if self.ipvs.is_there() {
            (state.virtual_servers, state.real_servers) = retry("virtual servers", || self.ipvs.read())?;
        }
        if self.sets.is_there() {
            (state.sets, state.entries) = retry("sets", || self.sets.read(&self.families))?;
        }
        (state.devices, state.addresses) = retry("the dummy device", || self.device.read())?;
        Ok(state)
    }

    /// The virtual servers, or `None` where the kernel has no IPVS.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn virtual_servers(&mut self) -> Result<Option<BTreeMap<VirtualServer, Scheduling>>, ReadError> {
        if !self.ipvs.is_there() {
            return Ok(None);
        }
        retry("virtual servers", || self.ipvs.read()).map(|(servers, _)| Some(servers))
    }

    /// Removes the set that a killed run may have left half filled; no rule names it.
    pub fn remove_scratch(&mut self) -> Outcome {
        if self.sets.is_there() { self.sets.destroy_scratch() } else { Ok(()) }
    }

    fn read_state(&mut self) -> Result<KernelState, ReadError> {
        let mut state = KernelState::default();
        for path in SYSCTLS {
            let key = Sysctl::new(path);
            let value = sysctl::read(&key).map_err(|e| read_error("sysctls", &e))?;
            state.sysctls.extend(value.map(|value| (key, value)));
        }
        state.timeouts = retry("IPVS timeouts", || self.ipvs.read_timeouts())?;
        (state.virtual_servers, state.real_servers) = retry("virtual servers", || self.ipvs.read())?;
        (state.sets, state.entries) = retry("sets", || self.sets.read(&self.families))?;
        (state.devices, state.addresses) = retry("the dummy device", || self.device.read())?;
        state.addresses.retain(|ip, ()| self.families.contains(&Family::of(*ip)));
        state.virtual_servers.retain(|server, _| self.families.contains(&server.family()));
        state.real_servers.retain(|(server, _), _| self.families.contains(&server.family()));
        self.unread.as_mut().map(BTreeMap::clear);
        for family in &self.families {
            match (self.rules.read(*family), &mut self.unread) {
                (Ok(chains), _) => state.rules.extend(chains),
                (Err(mut failure), Some(unread)) => {
                    failure.message = format!("they cannot be read: {}", failure.message);
                    // Nothing is known of a lock that would soon be free.
                    failure.kind = FailureKind::Refused;
                    unread.insert(*family, failure);
                }
                (Err(failure), None) => {
                    return Err(ReadError { what: "rules".to_owned(), message: failure.message });
                }
            }
        }
        Ok(state)
    }
}

/// Repeats a read while it is disturbed by changes of others.
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

fn forbidden(change: &Change, why: &str) -> Failure {
    Failure { kind: FailureKind::Prerequisite, message: format!("{change}: not tried, because {why}") }
}

/// Which part of the kernel a change concerns; neighbours of one part travel together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Ipvs,
    Entries,
    Addresses,
    Flows,
    Single,
}

fn part(change: &Change) -> Part {
    match change {
        Change::CreateVirtualServer(..)
        | Change::UpdateVirtualServer(..)
        | Change::DeleteVirtualServer(_)
        | Change::AddRealServer(..)
        | Change::SetWeight(..)
        | Change::DeleteRealServer(..) => Part::Ipvs,
        Change::AddEntry(..) | Change::DeleteEntry(..) => Part::Entries,
        Change::AddAddress(_) | Change::DeleteAddress(_) => Part::Addresses,
        Change::ForgetFlows(..) => Part::Flows,
        _ => Part::Single,
    }
}

impl Kernel for Linux {
    fn read(&mut self) -> Result<KernelState, ReadError> {
        self.read_state()
    }

    fn apply(&mut self, changes: &Changes) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(changes.0.len());
        let mut failures = Failures::default();
        for run in changes.0.chunk_by(|a, b| part(a) == part(b) && part(a) != Part::Single) {
            let forbidden: Vec<Option<Failure>> = run
                .iter()
                .map(|change| {
                    let why = failures.forbid(change)?;
                    // At once: what depends on it may follow in this very run.
                    failures.note_failed(change);
                    Some(forbidden(change, why))
                })
                .collect();
            let allowed: Vec<Change> =
                run.iter().zip(&forbidden).filter(|(_, f)| f.is_none()).map(|(c, _)| c.clone()).collect();
            let mut done = self.apply_run(&allowed).into_iter();
            for (change, forbidden) in run.iter().zip(forbidden) {
                let outcome = match forbidden {
                    Some(failure) => Err(failure),
                    None => done.next().unwrap_or(Ok(())),
                };
                match &outcome {
                    Ok(()) => failures.note_made(change),
                    Err(_) => failures.note_failed(change),
                }
                outcomes.push(outcome);
            }
        }
        outcomes
    }

    fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections {
        self.ipvs.connections(servers)
    }
}

impl Linux {
    /// Makes changes of one part, in one batch.
    fn apply_run(&mut self, run: &[Change]) -> Vec<Outcome> {
        let Some(first) = run.first() else { return Vec::new() };
        match part(first) {
            Part::Ipvs => self.ipvs.apply(run),
            Part::Entries => self.sets.apply_entries(run),
            Part::Addresses => self.device.apply(run),
            Part::Flows => self.flows.forget(run),
            Part::Single => run.iter().map(|change| self.apply_single(change)).collect(),
        }
    }

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
            Change::WriteRules(rules) => {
                match self.unread.iter().find_map(|unread| unread.get(&rules.family)) {
                    Some(failure) => Err(failure.clone()),
                    None => self.rules.write(rules),
                }
            }
            // Every other change travels in a batch of its part.
            _ => Ok(()),
        }
    }
}
