//! The rules of both families, read only when they may have changed.

use std::collections::BTreeMap;

use weir_core::diff::RulesChange;
use weir_core::kernel::{Failure, FailureKind, Outcome};
use weir_core::net::Family;
use weir_core::rule::Table;
use weir_netlink::Counters;
use weir_netlink::rules::{Client, Generation, legacy};

use super::session::Session;
use super::{chain, netlink_family};
use crate::iptables;
use crate::iptables::save::Chains;

/// Reads and writes rules, and counts the processes started.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) processes: u64,
    session: Session<Client>,
    last: BTreeMap<Family, (Fingerprint, Chains)>,
}

/// Tables that could not be read, and why.
pub(super) type Unread = BTreeMap<Table, Failure>;

/// If two fingerprints are equal, the rules of a family were not touched in between.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    /// The nf_tables transaction counter; absent if the kernel has no nf_tables.
    generation: Option<Generation>,
    /// A hash of each x_tables table; absent if the kernel has no such table.
    legacy: Vec<Option<u64>>,
}

impl Rules {
    pub(super) fn counters(&self) -> Counters {
        self.session.counters()
    }

    /// Our chains, and the tables that could not be read. A process is started only if rules were touched since
    /// the last call and the tables contain our chains, or if it is not yet known whether they can be read.
    pub(super) fn read(&mut self, family: Family) -> Result<(Chains, Unread), Failure> {
        let (fingerprint, names) = self.look(family)?;
        if let Some((known, chains)) = self.last.get(&family)
            && *known == fingerprint
        {
            return Ok((chains.clone(), Unread::new()));
        }
        let own = |name: &String| Table::BOTH.iter().any(|t| t.own_chains().iter().any(|c| c.name() == name));
        let (mut chains, mut unread) = (Chains::new(), Unread::new());
        if names.iter().any(own) || !(names.is_empty() || self.last.contains_key(&family)) {
            self.processes += 1;
            let saved = iptables::save(family);
            chains = iptables::save::parse(family, &saved.text);
            unread = saved.unread;
        }
        // The fingerprint belongs to these rules only if nothing changed while they were read. A read failure can
        // be fixed without changing any rule, so its fingerprint is not kept.
        if unread.is_empty() && self.look(family)?.0 == fingerprint {
            self.last.insert(family, (fingerprint, chains.clone()));
        }
        Ok((chains, unread))
    }

    pub(super) fn write(&mut self, change: &RulesChange) -> Outcome {
        self.processes += 1;
        iptables::restore(change)
    }

    /// The fingerprint, and the names of all chains in the relevant tables.
    fn look(&mut self, family: Family) -> Result<(Fingerprint, Vec<String>), Failure> {
        let failed =
            |error: &dyn std::error::Error| Failure { kind: FailureKind::Busy, message: chain(error) };
        let generation = self.session.call(Client::generation).map_err(|e| failed(&e))?;
        let mut names = Vec::new();
        if generation.is_some() {
            let chains = self.session.call(|c| c.chains(netlink_family(family))).map_err(|e| failed(&e))?;
            let ours =
                chains.into_iter().flatten().filter(|c| Table::BOTH.iter().any(|t| t.name() == c.table));
            names.extend(ours.map(|c| c.name));
        }
        let mut fingerprints = Vec::new();
        for table in Table::BOTH {
            let found = legacy::table(netlink_family(family), table.name()).map_err(|e| failed(&e))?;
            fingerprints.push(found.as_ref().map(|table| table.fingerprint));
            names.extend(found.into_iter().flat_map(|table| table.chains));
        }
        Ok((Fingerprint { generation, legacy: fingerprints }, names))
    }
}
