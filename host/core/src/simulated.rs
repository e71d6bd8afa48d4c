//! A kernel in memory that refuses what the real one refuses, for tests and for trying plans out.
//!
//! Beside our own state it holds what belongs to others, which a correct program never changes, and a script of
//! faults that strike at given operations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::diff::{Change, record};
use crate::kernel::{Connections, Fact, Failure, FailureKind, Kernel, Outcome, ReadError, Unread};
use crate::net::Family;
use crate::rule::{Rule, Table};
use crate::state::{KernelState, RealServer, VirtualServer};

mod refusal;
mod tables;

/// What belongs to others on the same node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Virtual servers, those inside excluded networks for instance.
    pub virtual_servers: BTreeSet<VirtualServer>,
    /// Names of sets.
    pub sets: BTreeSet<String>,
    /// Rules in built-in chains, or in chains of others.
    pub rules: BTreeSet<(Family, Table, String, Rule)>,
    /// Addresses of other devices.
    pub addresses: BTreeSet<IpAddr>,
}

/// Something that goes wrong at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and nothing changes. A read fails whatever the kind.
    Fail(FailureKind),
    /// The change is made, but its answer is lost and it is reported as failed. A read fails.
    Lose(FailureKind),
    /// Of rules, only the first table is written; everything else fails and nothing changes.
    WriteHalf,
    /// The program ends: this operation and all later ones fail, until [`Simulated::restart`].
    Crash,
}

/// What is called with each change that was made and the state after it.
type Observer = Box<dyn FnMut(&Change, &KernelState) + Send>;

/// A kernel in memory.
#[derive(Default)]
pub struct Simulated {
    state: KernelState,
    foreign: Foreign,
    /// Schedulers it knows; `None` for all.
    schedulers: Option<BTreeSet<String>>,
    /// Kept when a real server is deleted: the kernel keeps a deleted one with connections for a while and takes
    /// it up again when it is added (`ip_vs_trash_get_dest`, `net/netfilter/ipvs/ip_vs_ctl.c`).
    connections: Connections,
    /// Families whose rules cannot be read now.
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
    /// A kernel that holds `state` of ours.
    pub fn new(state: KernelState) -> Simulated {
        Simulated { state, ..Simulated::default() }
    }

    /// The same with things of others.
    pub fn with_foreign(mut self, foreign: Foreign) -> Simulated {
        self.foreign = foreign;
        self
    }

    /// The same with these schedulers only.
    pub fn with_schedulers(mut self, names: impl IntoIterator<Item = String>) -> Simulated {
        self.schedulers = Some(names.into_iter().collect());
        self
    }

    /// Faults to come, by the number of the operation from now on, the next one being 0. Each change, read and
    /// question for connections is one operation; changes that are not tried are none.
    pub fn plan_faults(&mut self, script: impl IntoIterator<Item = (u64, Fault)>) {
        self.script = script.into_iter().map(|(n, fault)| (self.operations + n, fault)).collect();
    }

    /// The rules of these families cannot be read until this is called again.
    pub fn hide_rules(&mut self, families: impl IntoIterator<Item = Family>) {
        self.hidden = families.into_iter().collect();
    }

    /// Sets how many connections a real server has, or will have when it is there.
    pub fn set_connections(&mut self, server: VirtualServer, real: RealServer, count: u32) {
        self.connections.insert((server, real), count);
    }

    /// Ends all connections.
    pub fn end_connections(&mut self) {
        self.connections.clear();
    }

    /// Calls `observer` with each change that is made from now on and the state after it.
    pub fn observe(&mut self, observer: impl FnMut(&Change, &KernelState) + Send + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Changes our part of the kernel as another program would, without notifying the daemon.
    pub fn tamper(&mut self, deed: impl FnOnce(&mut KernelState)) {
        deed(&mut self.state);
    }

    /// Works again after a crash.
    pub fn restart(&mut self) {
        self.running = Running::Yes;
    }

    /// Whether a crash struck.
    pub fn has_crashed(&self) -> bool {
        self.running == Running::Crashed
    }

    /// What it holds of ours, whatever the faults.
    pub fn state(&self) -> &KernelState {
        &self.state
    }

    /// What it holds of others.
    pub fn foreign(&self) -> &Foreign {
        &self.foreign
    }

    /// Counts an operation and tells whether a fault strikes it.
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
            // A read that fails has told some of it by then.
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
