//! The state machine: records what happened, and brings the kernel in sync when that is due.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use weir_core::cluster::Event;
use weir_core::kernel::ReadError;
use weir_core::net::Family;
use weir_core::node::{Capabilities, NodeView, ProxyConfig};
use weir_core::objects::ObjectName;
use weir_core::planner::Planner;
use weir_core::policy::{Policy, Reads};
use weir_core::readiness::Readiness;
use weir_core::report::Report;
use weir_core::standing::Scope;
use weir_core::sync::Syncer;
use weir_policy::Replacement;

use crate::agenda::Agenda;
use crate::hints::Hints;
use crate::host::Host;
use crate::message::{Done, Input, Listed, Output, Successor};
use crate::missing::Missing;
use crate::others::Others;
use crate::warning::Warning;

pub(crate) mod overview;
mod sampling;
mod telling;
mod upkeep;
mod warnings;

/// How often cached answers of plugins are checked, and how many.
const POLICY_AUDIT: Duration = Duration::from_secs(60);
const POLICY_SAMPLE: usize = 8;

/// How long a start waits for this node's object, as kube-proxy does.
pub(crate) const NODE_WAIT: Duration = Duration::from_secs(30);

/// How long a start waits for the node's pod networks if masquerading depends on them. kube-proxy exits afterwards;
/// weir starts serving, and uses the networks once they are known.
const NETWORKS_WAIT: Duration = Duration::from_secs(300);

/// The pause before addresses are read again after a failure.
const ADDRESSES_RETRY: Duration = Duration::from_secs(1);

/// The initial state of a daemon.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The name of this node.
    pub node_name: String,
    /// `bindAddress`: the node's main address in its family, instead of the one in the Node object.
    pub bind_address: Option<IpAddr>,
    /// The configuration.
    pub proxy: ProxyConfig,
    /// What the kernel can do.
    pub capabilities: Capabilities,
    /// Whether the objects come from an API server, so that this node's object is worth waiting for.
    pub from_api_server: bool,
    /// The time in seconds since 1970 when [`Host::time`] was zero. The time given to policies is derived from it, so
    /// that setting the clock does not make answers expire at once or never.
    pub epoch: u64,
    /// Whether the initial policy was configured, so that replacing it is a change.
    pub configured: bool,
    /// The readiness of endpoints as known to an earlier process.
    pub readiness: Readiness,
}

/// A node's daemon.
pub struct Daemon<H> {
    setup: Setup,
    planner: Planner,
    syncer: Syncer<H>,
    agenda: Agenda,
    others: Others,
    hints: Hints,
    listed: Listed,
    followed: Option<Reads>,
    next_policy: Option<Box<dyn Successor>>,
    /// Deleted services that are still in the plan.
    deleted: BTreeSet<ObjectName>,
    /// The last reports that depend on other services or on the node.
    shared: Vec<Report>,
    stranded: BTreeMap<(Scope, Family), u64>,
    /// When the daemon started, and when plugin answers are checked next.
    started: Duration,
    next_policy_audit: Duration,
    /// Whether services of all families have worked at least once.
    serving: bool,
    /// Whether there was a round.
    begun: bool,
    /// Whether all objects have been seen; nothing is written before.
    complete: bool,
    /// Whether the node's addresses have been read; nothing is written before.
    addresses_known: bool,
    /// Whether addresses may have changed since they were read; the next round reads them once.
    addresses_changed: bool,
    /// Why addresses could not be read the last time.
    addresses_error: Option<ReadError>,
    /// Whether this node's object was deleted.
    node_is_gone: bool,
    /// Lists that policies need and that have not arrived.
    missing: Missing,
    /// The warnings that have been told and are still in force.
    warnings: Vec<Warning>,
    /// Whether the last round could not write rules; a match may be missing.
    rules_failed: bool,
    /// When the last part of the counters was read.
    sampled: Option<Duration>,
    /// Data from earlier rounds for the overview.
    notes: overview::Notes,
    outputs: Vec<Output>,
}

impl<H: Host> Daemon<H> {
    /// A daemon that knows only its setup. Its first step starts a round.
    pub fn new(setup: Setup, mut host: H, policy: Box<dyn Policy>) -> Daemon<H> {
        let now = host.time();
        let (period, pause) = (setup.proxy.sync_period, setup.proxy.min_sync_period);
        let mut planner = Planner::new(view(&setup, None, Vec::new(), setup.capabilities.clone()), policy);
        planner.set_readiness(setup.readiness.clone());
        Daemon {
            planner,
            syncer: Syncer::new(host, period),
            agenda: Agenda::new(period, pause, now),
            setup,
            others: Others::default(),
            hints: Hints::default(),
            listed: Listed::default(),
            followed: None,
            next_policy: None,
            deleted: BTreeSet::new(),
            shared: Vec::new(),
            stranded: BTreeMap::new(),
            started: now,
            next_policy_audit: now + POLICY_AUDIT,
            serving: false,
            begun: false,
            complete: false,
            addresses_known: false,
            addresses_changed: false,
            addresses_error: None,
            node_is_gone: false,
            missing: Missing::default(),
            warnings: Vec::new(),
            rules_failed: false,
            sampled: None,
            notes: overview::Notes::default(),
            outputs: Vec::new(),
        }
    }

    /// Processes an input at the time `now` of [`Host::time`], does what is due, and returns the outputs in order.
    pub fn step(&mut self, input: Input, now: Duration) -> Vec<Output> {
        if !matches!(input, Input::Time) {
            self.agenda.request(now);
            // Until all objects are known, kube-proxy does not count changes as requests that could be late, except
            // for its node's zone (Q37).
            let in_zone = self.planner.node_object().is_some_and(|node| node.zone().is_some());
            if self.complete || in_zone || !self.addresses_known {
                self.tell(Output::Requested);
            }
        }
        match input {
            Input::Objects { events, listed } => self.hear(events, listed),
            Input::AddressesChanged => self.addresses_changed = true,
            Input::Policy(successor) => self.next_policy = Some(successor),
            Input::Time => {}
        }
        if self.agenda.next() <= now {
            self.round(now);
            self.warn(now);
            let overview = self.overview();
            self.tell(Output::Overview(Box::new(overview)));
        } else {
            // Sampling must not delay a change.
            self.sample(now);
        }
        std::mem::take(&mut self.outputs)
    }

    /// When the next step has something to do if no input arrives before.
    pub fn next(&self) -> Duration {
        self.next_sampling().into_iter().fold(self.agenda.next(), Duration::min)
    }

    /// Whether the next step reads and compares everything.
    pub fn audit_is_due(&self, now: Duration) -> bool {
        self.agenda.audit_is_due(now)
    }

    /// Whether enough is known to write to the kernel.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether the kernel is as desired, as far as is known.
    pub fn is_as_desired(&self) -> bool {
        self.syncer.is_as_desired()
    }

    /// The machine.
    pub fn host(&mut self) -> &mut H {
        self.syncer.kernel()
    }

    /// The planner, with the plan and its reasons.
    pub fn planner(&self) -> &Planner {
        &self.planner
    }

    /// The planner, to take records from its policy.
    pub fn planner_mut(&mut self) -> &mut Planner {
        &mut self.planner
    }

    /// The time given to policies at `now`, in seconds since 1970.
    pub fn policy_time(&self, now: Duration) -> u64 {
        self.setup.epoch + now.as_secs()
    }

    fn tell(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// Records changes in the cluster.
    fn hear(&mut self, events: Vec<Event>, listed: Listed) {
        self.listed = listed;
        let mut node_changed = false;
        for event in events {
            match &event {
                Event::NodeGone => {
                    // kube-proxy exits here and leaves the node unchanged. A plan for a node without addresses and
                    // networks would open node ports everywhere.
                    self.node_is_gone = true;
                    continue;
                }
                Event::ServiceGone(name) => {
                    self.hints.forget(name);
                    self.deleted.insert(name.clone());
                }
                Event::Node(_) => (node_changed, self.node_is_gone) = (true, false),
                _ => {}
            }
            self.planner.apply(event);
        }
        if node_changed {
            let old = self.planner.node();
            let (addresses, capabilities) = (old.host_addresses.clone(), old.capabilities.clone());
            let view = view(&self.setup, self.planner.node_object(), addresses, capabilities);
            self.planner.set_node(view);
        }
    }

    /// If addresses cannot be read, the last known ones stay in use.
    fn refresh_addresses(&mut self) {
        match self.host().addresses() {
            Ok(addresses) => {
                let mut view = self.planner.node().clone();
                view.host_addresses = addresses;
                self.planner.set_node(view);
                (self.addresses_known, self.addresses_changed) = (true, false);
                self.addresses_error = None;
            }
            Err(error) => {
                self.addresses_changed = true;
                self.addresses_error = Some(error);
            }
        }
    }

    /// What the current policies and the next ones read.
    fn policy_reads(&self) -> Reads {
        let next = self.next_policy.as_ref().map(|next| next.reads());
        self.planner.reads().and(next.unwrap_or_default())
    }

    /// The objects to follow: those that policies read, and Nodes while a VIP may be a node's address.
    fn reads(&self) -> Reads {
        let reads = self.policy_reads();
        let asked = self.planner.asks_for_nodes() && self.others.are_followed();
        Reads { nodes: reads.nodes || asked, ..reads }
    }

    fn follow(&mut self, reads: Reads) {
        if self.followed.replace(reads) != Some(reads) {
            self.tell(Output::Follow(reads));
        }
    }

    /// Whether enough is known for a plan. Once true, it stays true.
    fn completes(&mut self, now: Duration) -> bool {
        // Without addresses, node ports would be deleted, and VIPs that are addresses of the node bound to the dummy
        // device.
        if self.complete || !self.addresses_known {
            return self.complete;
        }
        let wait = match self.planner.node_object() {
            _ if self.lacks_networks() => NETWORKS_WAIT,
            Some(_) => Duration::ZERO,
            None => NODE_WAIT,
        };
        let waited = now.saturating_sub(self.started);
        if (self.setup.from_api_server && waited < wait) || !self.listed.covers(Reads::default()) {
            return false;
        }
        let reads = self.reads();
        self.follow(reads);
        // These objects may never arrive if permissions are missing, and traffic must not wait forever. After an outage
        // of the API server, lists arrive one by one, so the wait starts when all others are there.
        self.missing.note(reads, self.listed, now);
        if !self.listed.covers(reads) && self.missing.overdue(reads, now).is_none() {
            return false;
        }
        if reads.nodes && !self.listed.nodes && self.planner.asks_for_nodes() {
            self.others.give_up();
        }
        self.complete = true;
        self.tell(Output::Requested);
        true
    }

    /// Follows the objects that are needed, and lets VIPs wait for them.
    fn await_others(&mut self, now: Duration) {
        if self.setup.from_api_server && !self.policy_reads().nodes {
            self.others.count(self.planner.surroundings(0).nodes.len());
        }
        let reads = self.reads();
        self.follow(reads);
        let needed = self.planner.asks_for_nodes();
        let others = self.others.judge(needed, self.listed.nodes, now);
        self.planner.set_other_nodes(others);
    }

    /// Asks plugins some questions again that have cached answers.
    fn audit_policy(&mut self, now: Duration) {
        if now < self.next_policy_audit {
            return;
        }
        self.next_policy_audit = now + POLICY_AUDIT;
        let reports = self.planner.audit_policy(POLICY_SAMPLE, self.policy_time(now));
        self.outputs.extend(reports.into_iter().map(Output::Report));
    }

    /// Activates new plugins, if there are any, once the objects that they and the current plugins read are known,
    /// because `maxChange` limits changes of decisions. Current plugins whose lists are overdue decide without them.
    fn exchange_policy(&mut self, time: u64, now: Duration) {
        let (listed, current) = (self.listed, self.planner.reads());
        if !listed.covers(current) && self.missing.overdue(current, now).is_none() {
            return;
        }
        let Some(next) = self.next_policy.take_if(|next| listed.covers(next.reads())) else { return };
        let replacement = next.replace(&mut self.planner, time, !self.setup.configured);
        self.setup.configured |= matches!(replacement, Replacement::Taken { .. });
        self.tell(Output::Replaced(replacement));
    }

    fn round(&mut self, started: Duration) {
        let audit = self.agenda.audit_is_due(started);
        if audit {
            self.audit_policy(started);
            self.look_after_node();
        }
        if audit || self.addresses_changed || !self.addresses_known {
            self.refresh_addresses();
        }
        if !self.completes(started) {
            let now = self.host().time();
            self.agenda.postponed(started, now);
            return;
        }
        self.await_others(started);
        let time = self.policy_time(started);
        self.exchange_policy(time, started);
        self.missing.note(self.policy_reads(), self.listed, started);
        // Serving the API server reads the whole kernel, and has already reported its own planning time.
        let (read_all, begun) = match self.serve_api_server(time, started) {
            true => (false, self.host().time()),
            false => (audit, started),
        };
        self.planner.update(time);
        self.tell_of_plan(started);
        let planned = self.host().time();
        match self.synchronise(read_all, planned - begun) {
            Ok(next) => {
                if audit {
                    self.follow_example();
                }
                let now = self.host().time();
                self.agenda.done(started, now, next.map(|next| next.saturating_sub(planned)));
                let expiry = self.planner.next_expiry();
                let expiry = expiry.map(|at| Duration::from_secs(at.saturating_sub(self.setup.epoch)));
                let addresses = self.addresses_changed.then_some(now + ADDRESSES_RETRY);
                let others = self.others.deadline();
                // Lists due before `started` have been warned about.
                let lists = self.missing.deadlines().filter(|due| *due > started);
                expiry
                    .into_iter()
                    .chain(addresses)
                    .chain(others)
                    .chain(lists)
                    .for_each(|at| self.agenda.expect(at));
            }
            Err(error) => {
                let now = self.host().time();
                self.agenda.failed(started, now);
                self.notes.could_not_read(&error, now);
                self.tell(Output::Unread(error));
            }
        }
    }

    /// On a booting node everything waits for the API server's VIP, so it is served before thousands of others.
    /// Returns whether that was done now.
    fn serve_api_server(&mut self, time: u64, started: Duration) -> bool {
        if std::mem::replace(&mut self.begun, true) || !self.host().is_untouched() {
            return false;
        }
        if !self.planner.update_first(time) {
            return false;
        }
        let planning = self.host().time() - started;
        // Failures are reported by the round that follows.
        let done = self.change(planning);
        self.outputs.extend(done.ok().map(Output::Round));
        true
    }

    /// Brings the kernel in sync with the plan, and returns when the next round has something to do.
    fn synchronise(&mut self, audit: bool, mut planning: Duration) -> Result<Option<Duration>, ReadError> {
        let was_certain = self.syncer.is_certain();
        let mut done = self.change(planning)?;
        // An uncertain state needs no audit: it has just been read and compared.
        if audit && was_certain {
            if !done.round.changes.is_empty() {
                self.tell_of_round(done);
                planning = Duration::ZERO;
            }
            // The round's own changes are done, so anything that the audit has to change was changed by other
            // programs, unless the contents of the kernel were unknown.
            let drift = self.syncer.is_certain();
            self.syncer.audit();
            done = Done { drift, ..self.change(planning)? };
            if done.round.changes.is_empty() {
                self.agenda.audited(done.kernel);
            }
        }
        let next = done.round.next;
        self.tell_of_round(done);
        Ok(next)
    }

    fn change(&mut self, planning: Duration) -> Result<Done, ReadError> {
        let began = self.host().time();
        let round = self.syncer.round(self.planner.desired(), began)?;
        let kernel = self.host().time() - began;
        Ok(Done { round, drift: false, planning, kernel })
    }
}

fn view(
    setup: &Setup,
    node: Option<&weir_core::objects::Node>,
    addresses: Vec<weir_core::node::HostAddress>,
    capabilities: Capabilities,
) -> NodeView {
    NodeView::new(&setup.node_name, node, setup.bind_address, addresses, setup.proxy.clone(), capabilities)
}

#[cfg(test)]
mod tests;
