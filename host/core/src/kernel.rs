//! What weir requires of a kernel: to read its state, make changes, and count connections. A kernel only executes
//! changes. weir-core decides their order, retries, and which outcomes leave the state in doubt, once for all kernels.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::diff::{Change, Changes, Failures, RulesChange, TableChange, Wanted};
use crate::net::Family;
use crate::rule::{ChainKey, Rule, Table};
use crate::set::{SetEntry, SetKind, SetName};
use crate::state::{Device, KernelState, RealServer, Server, Sysctl, Timeout, VirtualServer};

/// A kernel that can be read and changed.
pub trait Kernel {
    /// Calls `see` with every fact about weir's part of the kernel, and returns the parts that could not be read. All
    /// other parts were read completely.
    ///
    /// # Errors
    /// When too little could be read to continue. The facts passed to `see` until then must be discarded.
    fn read(&mut self, see: &mut dyn FnMut(Fact<'_>)) -> Result<Unread, ReadError>;

    /// Makes changes of one [part](Part) in order and returns one outcome for each. A failed change does not stop
    /// the others.
    fn execute(&mut self, batch: &[Change]) -> Vec<Outcome>;

    /// The number of connections of each of these real servers. A real server that could not be queried is absent.
    fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections;
}

/// One fact about a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// A value below `/proc/sys`.
    Sysctl(&'a Sysctl, i64),
    /// An IPVS timeout, in seconds.
    Timeout(Timeout, u32),
    /// A device of ours.
    Device(Device),
    /// A set.
    Set(SetName, &'a SetKind),
    /// A member of a set.
    Entry(SetName, SetEntry),
    /// A chain; for a built-in chain, only the jumps to ours.
    Chain(ChainKey, &'a Vec<Rule>),
    /// An address on the dummy device.
    Address(IpAddr),
    /// A virtual server with its real servers.
    Server(VirtualServer, &'a Server),
}

/// State that could not be read, and why. weir does not change it until it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Tables whose rules could not be read.
    pub rules: BTreeMap<(Family, Table), Failure>,
}

impl Unread {
    /// Why rules must not be written, if one of their tables could not be read.
    pub(crate) fn of(&self, rules: &RulesChange) -> Option<&Failure> {
        rules.tables.keys().find_map(|table| self.rules.get(&(rules.family, *table)))
    }

    /// Splits changes of rules, so that readable tables do not wait for others.
    pub(crate) fn split(&self, changes: &mut Changes) {
        if self.rules.is_empty() {
            return;
        }
        let all = std::mem::take(&mut changes.0);
        for change in all {
            if let Change::WriteRules(mut rules) = change {
                let unread =
                    |(table, _): &(Table, TableChange)| self.rules.contains_key(&(rules.family, *table));
                let (closed, open) = std::mem::take(&mut rules.tables).into_iter().partition(unread);
                let part = |tables| RulesChange { tables, ..rules.clone() };
                let parts = [part(open), part(closed)].into_iter().filter(|part| !part.tables.is_empty());
                changes.0.extend(parts.map(Change::WriteRules));
            } else {
                changes.0.push(change);
            }
        }
    }
}

/// The number of connections, active and inactive together, of each real server.
pub type Connections = BTreeMap<(VirtualServer, RealServer), u32>;

/// The outcome of a change.
pub type Outcome = Result<(), Failure>;

/// Why a change did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What it means for the next attempt.
    pub kind: FailureKind,
    /// What failed, why, and the fix.
    pub message: String,
}

/// A failure's message with the change that failed. Most messages already start with their change.
pub fn with_change(change: &str, message: &str) -> String {
    if message.starts_with(change) { message.to_owned() } else { format!("{change}: {message}") }
}

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The kernel's state was not what was assumed: read it before trying again.
    Stale,
    /// Not tried, because a change that this one depends on failed.
    Prerequisite,
    /// Not tried, because it failed a moment ago and will be retried later.
    Postponed,
    /// Another program holds the xtables lock, usually for less than a second.
    Locked,
    /// The kernel could not make the change at that moment, for example for lack of memory.
    Busy,
    /// The kernel or a program cannot make the change; a retry helps only after the cause is fixed.
    Refused,
}

/// A failed read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {what}: {message}")]
pub struct ReadError {
    /// What was being read.
    pub what: String,
    /// Why it failed, and the fix.
    pub message: String,
}

/// The part of the kernel that a change concerns; consecutive changes of one part form a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Virtual servers and real servers.
    Ipvs,
    /// Members of sets.
    Entries,
    /// Addresses of the dummy device.
    Addresses,
    /// The connection tracker's flows.
    Flows,
    /// Everything else; such changes are made one at a time.
    Single,
}

impl Change {
    /// The part of the kernel that the change concerns.
    pub fn part(&self) -> Part {
        match self {
            Change::CreateVirtualServer(..)
            | Change::UpdateVirtualServer(..)
            | Change::DeleteVirtualServer(_)
            | Change::AddRealServer(..)
            | Change::SetWeight(..)
            | Change::DeleteRealServer(..) => Part::Ipvs,
            Change::AddEntry(..) | Change::DeleteEntry(..) => Part::Entries,
            Change::AddAddress(_) | Change::DeleteAddress(_) => Part::Addresses,
            Change::ForgetFlows(..) => Part::Flows,
            Change::SetSysctl(..)
            | Change::SetTimeouts(_)
            | Change::CreateDevice(_)
            | Change::DeleteDevice(_)
            | Change::CreateSet(..)
            | Change::ReplaceSet(..)
            | Change::DestroySet(_)
            | Change::WriteRules(_) => Part::Single,
        }
    }
}

/// The kernel's complete state, and what could not be read.
///
/// # Errors
/// Same as [`Kernel::read`].
pub fn snapshot(kernel: &mut impl Kernel) -> Result<(KernelState, Unread), ReadError> {
    let mut state = KernelState::default();
    let unread = kernel.read(&mut |fact| state.note(fact))?;
    Ok((state, unread))
}

/// The kernel's complete state.
///
/// # Errors
/// Same as [`Kernel::read`], and when rules could not be read.
pub fn whole(kernel: &mut impl Kernel) -> Result<KernelState, ReadError> {
    let (state, unread) = snapshot(kernel)?;
    match unread.rules.into_iter().next() {
        None => Ok(state),
        Some(((family, _), failure)) => {
            Err(ReadError { what: format!("{family} rules"), message: failure.message })
        }
    }
}

/// Makes changes in order and returns one outcome for each. A change that depends on a failed one is not tried.
pub fn apply(kernel: &mut impl Kernel, changes: &Changes, wanted: &impl Wanted) -> Vec<Outcome> {
    let mut failures = Failures::default();
    apply_unless(kernel, &changes.0, wanted, &mut failures, |_| None)
}

/// Like [`apply`], but a change for which `refuse` returns a failure is not tried and fails with it.
pub(crate) fn apply_unless(
    kernel: &mut impl Kernel,
    changes: &[Change],
    wanted: &impl Wanted,
    failures: &mut Failures,
    refuse: impl Fn(&Change) -> Option<Failure>,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(changes.len());
    for run in changes.chunk_by(|a, b| a.part() == b.part() && a.part() != Part::Single) {
        // Copied only if a change has to be left out.
        let mut rest: Option<Vec<Change>> = None;
        let mut held = Vec::new();
        for (index, change) in run.iter().enumerate() {
            let forbidden = failures.forbid(change, wanted).map(|why| not_tried(change, why));
            let Some(failure) = forbidden.or_else(|| refuse(change)) else {
                rest.iter_mut().for_each(|rest| rest.push(change.clone()));
                continue;
            };
            // Recorded at once, because changes that depend on this one may follow in the same batch.
            failures.note_failed(change);
            rest.get_or_insert_with(|| run[..index].to_vec());
            held.push((index, failure));
        }
        let mut held = held.into_iter().peekable();
        let mut done = kernel.execute(rest.as_deref().unwrap_or(run)).into_iter();
        for (index, change) in run.iter().enumerate() {
            if let Some((_, failure)) = held.next_if(|(at, _)| *at == index) {
                outcomes.push(Err(failure));
                continue;
            }
            let outcome = done.next().unwrap_or_else(|| Err(unanswered(change)));
            outcomes.push(failures.judge(change, outcome));
        }
    }
    outcomes
}

fn not_tried(change: &Change, why: &str) -> Failure {
    Failure { kind: FailureKind::Prerequisite, message: format!("{change}: not tried, because {why}") }
}

/// A kernel that returns too few outcomes has a bug; what it did is unknown.
fn unanswered(change: &Change) -> Failure {
    Failure {
        kind: FailureKind::Stale,
        message: format!("{change}: weir got no result for this change; this is a bug in weir"),
    }
}

/// Groups failures by cause, because one missing module can make a thousand changes fail. Returns the first failure of
/// each cause, in order, with the number of further ones. Each given failure comes with a value that belongs to the
/// caller, and with the kind and the text of its change.
pub fn by_cause<'a, T>(
    failures: impl IntoIterator<Item = (T, &'static str, impl AsRef<str>, &'a Failure)>,
) -> Vec<(T, &'a Failure, usize)> {
    let mut places = BTreeMap::new();
    let mut causes: Vec<(T, &Failure, usize)> = Vec::new();
    for (value, kind, change, failure) in failures {
        // The message starts with the change.
        let text = failure.message.strip_prefix(change.as_ref()).unwrap_or(&failure.message);
        let place = *places.entry((kind, text)).or_insert(causes.len());
        match causes.get_mut(place) {
            Some((.., others)) => *others += 1,
            None => causes.push((value, failure, 0)),
        }
    }
    causes
}

impl KernelState {
    /// Adds a fact.
    pub fn note(&mut self, fact: Fact<'_>) {
        match fact {
            Fact::Sysctl(key, value) => drop(self.sysctls.insert(key.clone(), value)),
            Fact::Timeout(timeout, seconds) => drop(self.timeouts.insert(timeout, seconds)),
            Fact::Device(device) => drop(self.devices.insert(device, ())),
            Fact::Set(name, kind) => drop(self.sets.insert(name, kind.clone())),
            Fact::Entry(name, entry) => drop(self.entries.insert((name, entry), ())),
            Fact::Chain(key, rules) => drop(self.rules.insert(key, rules.clone())),
            Fact::Address(ip) => drop(self.addresses.insert(ip, ())),
            Fact::Server(server, behind) => drop(self.virtual_servers.insert(server, behind.clone())),
        }
    }

    /// Calls `see` with each fact.
    pub fn tell(&self, see: &mut dyn FnMut(Fact<'_>)) {
        self.sysctls.iter().for_each(|(key, value)| see(Fact::Sysctl(key, *value)));
        self.timeouts.iter().for_each(|(timeout, seconds)| see(Fact::Timeout(*timeout, *seconds)));
        self.devices.keys().for_each(|device| see(Fact::Device(*device)));
        self.sets.iter().for_each(|(name, kind)| see(Fact::Set(*name, kind)));
        self.entries.keys().for_each(|(name, entry)| see(Fact::Entry(*name, *entry)));
        self.rules.iter().for_each(|(key, rules)| see(Fact::Chain(*key, rules)));
        self.addresses.keys().for_each(|ip| see(Fact::Address(*ip)));
        self.virtual_servers.iter().for_each(|(server, behind)| see(Fact::Server(*server, behind)));
    }
}
