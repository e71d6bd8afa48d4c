//! The daemon's state as one bounded value after each round: what `weir status` shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_core::kernel::{FailureKind, ReadError, by_cause};
use weir_core::objects::ObjectName;
use weir_core::report::{Reason, Report};
use weir_core::state::{RealServer, VirtualServer};
use weir_core::tally::Tally;
use weir_core::trace::{Packet, Trace, example, trace};

use crate::host::Host;
use crate::message::Done;
use crate::warning::Warning;

use super::Daemon;

/// The most failure causes that are listed individually.
const CAUSES: usize = 20;

/// The most draining real servers that are listed individually; `weir top` shows their deadlines.
const LEAVING: usize = 500;

/// The daemon's state. Its size does not grow with the cluster. Times are those of [`Host::time`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// What must be known before anything may be written; `None` once everything is.
    pub awaits: Option<Awaited>,
    /// Since when every round has made all its changes; `None` while something fails.
    pub in_step_since: Option<Duration>,
    /// The last round that changed something.
    pub last_change: Option<LastChange>,
    /// Failing changes that are being retried, by cause: at most 20.
    pub pending: Vec<Pending>,
    /// How many changes fail.
    pub failing: usize,
    /// How many changes are held back because they depend on a failing one.
    pub held: usize,
    /// Since when the kernel cannot be read, and why.
    pub unread: Option<(Duration, ReadError)>,
    /// Services and endpoints by state.
    pub tally: Tally,
    /// How many real servers are draining.
    pub draining: usize,
    /// The first 500 draining real servers.
    pub leaving: Vec<Leaving>,
    /// The conditions under which the plan may differ from what the cluster asks for.
    pub warnings: Vec<Warning>,
    /// Reports about services, by reason.
    pub reports: BTreeMap<Reason, Reported>,
    /// A packet and its path through this node, as of the last audit.
    pub example: Option<Arc<(Packet, Trace)>>,
}

/// What must be known before anything may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The node's addresses, which could not be read yet.
    Addresses,
    /// A complete list of Services and EndpointSlices.
    Services,
    /// This node's object.
    Node,
    /// The pod networks in this node's object.
    Networks,
    /// Nodes or namespaces that plugins read.
    PolicyObjects,
}

/// A round that changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastChange {
    /// When it finished.
    pub at: Duration,
    /// How long it took, planning included.
    pub took: Duration,
    /// How many changes it made.
    pub made: usize,
}

/// Changes that fail for the same cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The first of these changes, as text.
    pub change: String,
    /// Why, and how to fix it.
    pub why: String,
    /// The kind of the failure.
    pub kind: FailureKind,
    /// When the first of these changes first failed.
    pub since: Duration,
    /// How many other changes fail for this cause.
    pub others: usize,
}

/// A real server that is kept for its connections until it can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its virtual server.
    pub server: VirtualServer,
    /// The real server.
    pub real: RealServer,
    /// Since when it has been draining.
    pub since: Duration,
    /// When it is removed even if it has connections; `None` = only once it has no connections.
    pub deadline: Option<Duration>,
}

/// Reports with the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// How many services the reports are about.
    pub services: usize,
    /// One of the reports.
    pub example: Report,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Awaited::Addresses => "this node's addresses, which cannot be read",
            Awaited::Services => "the first complete list of Services and EndpointSlices",
            Awaited::Node => "this node's Node object",
            Awaited::Networks => "podCIDRs in this node's Node object",
            Awaited::PolicyObjects => "the Nodes or Namespaces that plugins read",
        })
    }
}

/// State kept between rounds for the overview.
#[derive(Debug, Default)]
pub(super) struct Notes {
    in_step_since: Option<Duration>,
    last_change: Option<LastChange>,
    held: usize,
    unread: Option<(Duration, ReadError)>,
    /// The services with reports about themselves, by reason.
    reported: BTreeMap<Reason, BTreeSet<ObjectName>>,
    example: Option<Arc<(Packet, Trace)>>,
}

impl Notes {
    pub(super) fn round_ended(&mut self, done: &Done, now: Duration) {
        let made = done.round.made();
        if made > 0 {
            self.last_change = Some(LastChange { at: now, took: done.planning + done.kernel, made });
        }
        let held = |kind| kind == FailureKind::Prerequisite;
        self.held = done.round.failures().filter(|(_, failure)| held(failure.kind)).count();
        self.unread = None;
        let since = self.in_step_since.unwrap_or(now);
        self.in_step_since = done.round.succeeded().then_some(since);
    }

    pub(super) fn could_not_read(&mut self, error: &ReadError, now: Duration) {
        let since = self.unread.as_ref().map_or(now, |(since, _)| *since);
        (self.unread, self.in_step_since) = (Some((since, error.clone())), None);
    }

    /// Replaces the reports of a service.
    pub(super) fn reported(&mut self, service: &ObjectName, reports: &[Report]) {
        for services in self.reported.values_mut() {
            services.remove(service);
        }
        for report in reports {
            self.reported.entry(report.reason).or_default().insert(service.clone());
        }
    }
}

impl<H: Host> Daemon<H> {
    pub(super) fn overview(&mut self) -> Overview {
        let failing = self.syncer.failing().count();
        let of = self.syncer.failing().map(|retry| (retry, retry.kind, &retry.change, &retry.failure));
        let pending = by_cause(of).into_iter().take(CAUSES).map(|(retry, failure, others)| Pending {
            change: retry.change.clone(),
            why: failure.message.clone(),
            kind: failure.kind,
            since: retry.since,
            others,
        });
        let pending = pending.collect();
        let reports = self.reports_by_reason();
        let leaving = self.syncer.leaving(self.planner.desired());
        let leaving = leaving.take(LEAVING).map(|((server, real), since, deadline)| Leaving {
            server,
            real,
            since,
            deadline,
        });
        let leaving = leaving.collect();
        Overview {
            awaits: self.awaits(),
            in_step_since: self.notes.in_step_since,
            last_change: self.notes.last_change,
            pending,
            failing,
            held: self.notes.held,
            unread: self.notes.unread.clone(),
            tally: self.planner.tally(),
            leaving,
            draining: self.syncer.draining(),
            warnings: self.warnings.clone(),
            reports,
            example: self.notes.example.clone(),
        }
    }

    /// Traces a packet through the plan. Only done in audits, which cost far more.
    pub(super) fn follow_example(&mut self) {
        let desired = self.planner.desired();
        let bound = desired.servers().filter(|(_, want)| want.bound);
        let found = example(bound.map(|(server, want)| (server, &want.server)));
        let found = found.map(|(server, packet)| (desired.excerpt(server), packet));
        let host = &self.planner.node().host_addresses;
        self.notes.example = found.map(|(state, packet)| {
            let trace = trace(&state, host, &packet);
            Arc::new((packet, trace))
        });
    }

    fn awaits(&self) -> Option<Awaited> {
        if self.complete {
            return None;
        }
        Some(if !self.addresses_known {
            Awaited::Addresses
        } else if !self.listed.services {
            Awaited::Services
        } else {
            match self.planner.node_object() {
                None => Awaited::Node,
                Some(_) if self.lacks_networks() => Awaited::Networks,
                Some(_) if !self.listed.own_node => Awaited::Node,
                Some(_) => Awaited::PolicyObjects,
            }
        })
    }

    fn reports_by_reason(&self) -> BTreeMap<Reason, Reported> {
        let mut all: BTreeMap<Reason, Reported> = BTreeMap::new();
        for (reason, services) in &self.notes.reported {
            let reports = services.first().map(|first| self.planner.outside(first).reports);
            let example = reports.into_iter().flatten().find(|report| report.reason == *reason);
            let reported = example.map(|example| Reported { services: services.len(), example });
            all.extend(reported.map(|reported| (*reason, reported)));
        }
        // A service may have several reports with one reason, and some of its own too.
        let mut counted = BTreeSet::new();
        for report in &self.shared {
            let own = self.notes.reported.get(&report.reason);
            let is_own = own.is_some_and(|services| services.contains(&report.service));
            if !is_own && counted.insert((report.reason, &report.service)) {
                let first = || Reported { services: 0, example: report.clone() };
                all.entry(report.reason).or_insert_with(first).services += 1;
            }
        }
        all
    }
}
