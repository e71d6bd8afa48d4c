//! A kernel in memory that refuses what the real one refuses, for tests and for trying out plans.
//!
//! In addition to our own state, it holds objects of other programs, which weir must never change, and a script of
//! faults for given operations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::diff::{Change, record};
use crate::kernel::{Connections, Fact, Failure, FailureKind, Kernel, Outcome, ReadError, Unread};
use crate::net::Family;
use crate::rule::{Rule, Table};
use crate::state::{KernelState, RealServer, VirtualServer};

mod refusal;
mod tables;

/// Objects of other programs on the same node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Virtual servers, for example those in excluded networks.
    pub virtual_servers: BTreeSet<VirtualServer>,
    /// Names of sets.
    pub sets: BTreeSet<String>,
    /// Rules in built-in chains, or in chains of other programs.
    pub rules: BTreeSet<(Family, Table, String, Rule)>,
    /// Addresses of other devices.
    pub addresses: BTreeSet<IpAddr>,
}

/// A fault in one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and nothing changes. A read fails whatever the kind.
    Fail(FailureKind),
    /// The change is made, but its result is lost and reported as a failure. A read fails.
    Lose(FailureKind),
    /// For rules, only the first table is written; everything else fails and nothing changes.
    WriteHalf,
    /// The program crashes: this operation and all later ones fail, until [`Simulated::restart`].
    Crash,
}

/// Called with each change that was made and the state after it.
type Observer = Box<dyn FnMut(&Change, &KernelState) + Send>;

/// A kernel in memory.
#[derive(Default)]
pub struct Simulated {
    state: KernelState,
    foreign: Foreign,
    /// Schedulers it knows; `None` for all.
    schedulers: Option<BTreeSet<String>>,
    /// Kept when a real server is deleted: the kernel keeps a deleted one with connections for a while and reuses
    /// it when it is added again (`ip_vs_trash_get_dest`, `net/netfilter/ipvs/ip_vs_ctl.c`).
    connections: Connections,
    /// Families whose rules cannot be read at the moment.
    hidden: BTreeSet<Family>,
    script: BTreeMap<u64, Fault>,
    operations: u64,
    running: Running,
    observer: Option<Observer>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Running {
    #[default]
    Yes,
    Crashed,
}

impl Simulated {
    /// A kernel with this state of ours.
    pub fn new(state: KernelState) -> Simulated {
        Simulated { state, ..Simulated::default() }
    }

    /// Adds objects of other programs.
    pub fn with_foreign(mut self, foreign: Foreign) -> Simulated {
        self.foreign = foreign;
        self
    }

    /// Limits the kernel to these schedulers.
    pub fn with_schedulers(mut self, names: impl IntoIterator<Item = String>) -> Simulated {
        self.schedulers = Some(names.into_iter().collect());
        self
    }

    /// Plans faults by the number of the operation, counted from 0 for the next one. Each change, read and query
    /// for connections is one operation; changes that are not tried do not count.
    pub fn plan_faults(&mut self, script: impl IntoIterator<Item = (u64, Fault)>) {
        self.script = script.into_iter().map(|(n, fault)| (self.operations + n, fault)).collect();
    }

    /// Makes the rules of these families unreadable until this is called again.
    pub fn hide_rules(&mut self, families: impl IntoIterator<Item = Family>) {
        self.hidden = families.into_iter().collect();
    }

    /// Sets how many connections a real server has, or will have once it exists.
    pub fn set_connections(&mut self, server: VirtualServer, real: RealServer, count: u32) {
        self.connections.insert((server, real), count);
    }

    /// Ends all connections.
    pub fn end_connections(&mut self) {
        self.connections.clear();
    }

    /// Calls `observer` with each change made from now on and the state after it.
    pub fn observe(&mut self, observer: impl FnMut(&Change, &KernelState) + Send + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Changes our part of the kernel as another program would, without notifying the daemon.
    pub fn tamper(&mut self, deed: impl FnOnce(&mut KernelState)) {
        deed(&mut self.state);
    }

    /// Recovers from a crash.
    pub fn restart(&mut self) {
        self.running = Running::Yes;
    }

    /// Whether a crash occurred.
    pub fn has_crashed(&self) -> bool {
        self.running == Running::Crashed
    }

    /// Our state, regardless of faults.
    pub fn state(&self) -> &KernelState {
        &self.state
    }

    /// The objects of other programs.
    pub fn foreign(&self) -> &Foreign {
        &self.foreign
    }

    /// Counts an operation and returns the fault planned for it, if any.
    fn next_fault(&mut self) -> Option<Fault> {
        let fault = self.script.remove(&self.operations);
        self.operations += 1;
        if fault == Some(Fault::Crash) {
            self.running = Running::Crashed;
        }
        match self.running {
            Running::Yes => fault,
            Running::Crashed => Some(Fault::Crash),
        }
    }

    fn attempt(&mut self, change: &Change) -> Outcome {
        match self.next_fault() {
            None => self.make(change),
            Some(Fault::Fail(kind)) => Err(failure(kind, change, "a fault was planned")),
            Some(Fault::Lose(kind)) => {
                self.make(change)?;
                Err(failure(kind, change, "the answer was lost"))
            }
            Some(Fault::WriteHalf) => {
                if let Change::WriteRules(rules) = change
                    && let Some(half) = tables::first_table(rules)
                {
                    self.make(&Change::WriteRules(half))?;
                }
                Err(failure(FailureKind::Refused, change, "it was interrupted"))
            }
            Some(Fault::Crash) => Err(failure(FailureKind::Refused, change, "the program ended")),
        }
    }

    fn make(&mut self, change: &Change) -> Outcome {
        if let Change::WriteRules(rules) = change {
            self.state.rules = tables::written(&self.state, &self.foreign, rules)
                .map_err(|(kind, why)| failure(kind, change, &why))?;
        } else {
            refusal::check(self, change).map_err(|(kind, why)| failure(kind, change, why))?;
            record(&mut self.state, change);
        }
        if let Some(observer) = &mut self.observer {
            observer(change, &self.state);
        }
        Ok(())
    }
}

fn failure(kind: FailureKind, change: &Change, why: &str) -> Failure {
    Failure { kind, message: format!("{change}: {why}") }
}

impl Kernel for Simulated {
    fn read(&mut self, see: &mut dyn FnMut(Fact<'_>)) -> Result<Unread, ReadError> {
        let fault = self.next_fault();
        let mut left = fault.map(|_| self.state.entries.len());
        self.state.tell(&mut |fact| {
            let hidden = matches!(fact, Fact::Chain((family, ..), _) if self.hidden.contains(&family));
            // A failing read may already have reported some facts.
            let lost = left.as_mut().is_some_and(|left| {
                *left = left.saturating_sub(1);
                *left == 0
            });
            if !hidden && !lost {
                see(fact);
            }
        });
        match fault {
            None => {
                let hidden = self.hidden.iter().flat_map(|family| Table::BOTH.map(|table| (*family, table)));
                let failure =
                    Failure { kind: FailureKind::Refused, message: "they cannot be read".to_owned() };
                Ok(Unread { rules: hidden.map(|table| (table, failure.clone())).collect() })
            }
            Some(_) => Err(ReadError {
                what: "the simulated kernel".to_owned(),
                message: "a fault was planned".to_owned(),
            }),
        }
    }

    fn execute(&mut self, batch: &[Change]) -> Vec<Outcome> {
        batch.iter().map(|change| self.attempt(change)).collect()
    }

    fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections {
        if self.next_fault().is_some() {
            return Connections::new();
        }
        servers
            .iter()
            .filter(|(server, real)| self.state.weight(*server, *real).is_some())
            .map(|key| (*key, self.connections.get(key).copied().unwrap_or(0)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
