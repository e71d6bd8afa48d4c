//! The pipeline from events to the wanted state, for one node.

use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cluster::{Cluster, Dirty, Event};
use crate::deadlines::Deadlines;
use crate::decision::Decision;
use crate::desired::Desired;
use crate::guard::clamp;
use crate::net::Family;
use crate::node::NodeView;
use crate::objects::{Node, ObjectName};
use crate::plan::plan_service;
use crate::policy::{Decided, Policy, Reads, Surroundings};
use crate::readiness::Readiness;
use crate::report::Report;
use crate::sampling::Sampler;
use crate::standing::Standing;
use crate::state::KernelState;
use crate::tally::Tally;
use crate::view::ServiceView;
use crate::wants::Wants;

mod claims;
mod outside;
pub mod samples;

pub use outside::Outside;

/// Keeps the wanted state up to date: events go in, plans come out. Only services that an event affects are
/// decided and planned again.
pub struct Planner {
    cluster: Cluster,
    policy: Box<dyn Policy>,
    node: NodeView,
    desired: Desired,
    dirty: BTreeSet<ObjectName>,
    reports: BTreeMap<ObjectName, Vec<Report>>,
    readiness: Readiness,
    sampler: Sampler,
    /// When a policy wants to be called again for a service, in seconds since 1970.
    expiries: Deadlines<u64>,
    /// For services with externally visible status.
    standings: BTreeMap<ObjectName, Standing>,
    /// Each service's share of the total tally.
    tallies: BTreeMap<ObjectName, Tally>,
    tally: Tally,
    /// The previous external view of services whose view changed since the last [`Planner::take_outside`].
    before: BTreeMap<ObjectName, Outside>,
    /// Whether a VIP may be another node's address, once determined.
    asks_for_nodes: Cell<Option<bool>>,
}

/// How a service's part of the plan came about, step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was known about the service.
    pub view: ServiceView,
    /// What the policy answered.
    pub decided: Decided,
    /// The decision after the guard.
    pub clamped: Decision,
    /// The reports of the guard and the planner.
    pub reports: Vec<Report>,
    /// What the service requires in the kernel.
    pub wants: Wants,
}

/// The complete wanted state, with the reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the kernel should hold.
    pub state: KernelState,
    /// What was refused, clamped or overruled, sorted by service.
    pub reports: Vec<Report>,
    /// Externally visible status by service, apart from VIPs; services without any are left out.
    pub standings: BTreeMap<ObjectName, Standing>,
}

/// A policy that was called for all services but does not decide yet.
pub struct Candidate<'p, P> {
    planner: &'p mut Planner,
    /// The policy.
    pub policy: P,
    /// The number of services whose decision would change.
    pub changed: usize,
    /// The number of services.
    pub services: usize,
}

impl Planner {
    /// A planner that has seen no objects.
    pub fn new(node: NodeView, policy: Box<dyn Policy>) -> Planner {
        Planner {
            cluster: Cluster::default(),
            policy,
            node,
            desired: Desired::default(),
            dirty: BTreeSet::new(),
            reports: BTreeMap::new(),
            readiness: Readiness::default(),
            sampler: Sampler::default(),
            expiries: Deadlines::default(),
            standings: BTreeMap::new(),
            tallies: BTreeMap::new(),
            tally: Tally::default(),
            before: BTreeMap::new(),
            asks_for_nodes: Cell::default(),
        }
    }

    /// Restores what an earlier process knew about the readiness of endpoints.
    pub fn set_readiness(&mut self, readiness: Readiness) {
        self.readiness = readiness;
    }

    /// The readiness of endpoints, to be saved for a later process.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Replaces the policy; everything is decided again.
    pub fn set_policy(&mut self, policy: Box<dyn Policy>) {
        self.policy = policy;
        self.redecide_all();
    }

    /// Makes the next plan decide everything again.
    pub fn redecide_all(&mut self) {
        self.dirty.extend(self.cluster.service_names().cloned());
    }

    /// The policy, if it is one of this type.
    pub fn policy<P: Policy>(&self) -> Option<&P> {
        let policy: &dyn Any = &*self.policy;
        policy.downcast_ref()
    }

    /// The policy, mutable for maintenance, if it is one of this type.
    pub fn policy_mut<P: Policy>(&mut self) -> Option<&mut P> {
        let policy: &mut dyn Any = &mut *self.policy;
        policy.downcast_mut()
    }

    /// What the policy reads beyond what a node reads anyway.
    pub fn reads(&self) -> Reads {
        self.policy.reads()
    }

    /// When a policy wants to be called again although nothing changed, in seconds since 1970.
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiries.next()
    }

    /// The names of all services, sorted.
    pub fn service_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.cluster.service_names()
    }

    /// Applies an event and returns whether anything must be planned again.
    pub fn apply(&mut self, event: Event) -> bool {
        let service = match &event {
            Event::Service(service) => Some(service.name.clone()),
            Event::ServiceGone(name) => Some(name.clone()),
            _ => None,
        };
        let before = service.as_ref().and_then(|name| self.cluster.service(name)).cloned();
        let dirty = self.cluster.apply(event);
        if let Some(name) = service {
            self.note_claims(before.as_deref(), self.cluster.service(&name).cloned().as_deref());
        }
        match dirty {
            Dirty::Services(names) => self.dirty.extend(names),
            // The node's view is built by the caller, who knows the addresses and the configuration.
            Dirty::Node => return true,
            Dirty::AllNodes(_) if self.policy.reads().nodes => self.redecide_all(),
            Dirty::AllNodes(services) => self.dirty.extend(services),
            Dirty::Namespace(namespace) if self.policy.reads().namespaces => {
                let of_it = self.cluster.service_names().filter(|name| name.namespace == namespace);
                self.dirty.extend(of_it.cloned());
            }
            Dirty::Namespace(_) => {}
        }
        !self.dirty.is_empty()
    }

    /// This node's object, as last seen.
    pub fn node_object(&self) -> Option<&Node> {
        self.cluster.node().map(|node| &**node)
    }

    /// The view of the node used for plans.
    pub fn node(&self) -> &NodeView {
        &self.node
    }

    /// Replaces the view of the node; if it differs, everything is planned again.
    pub fn set_node(&mut self, mut node: NodeView) {
        node.vips_here = self.vips_here(&node);
        node.others = self.node.others;
        if node != self.node {
            self.node = node;
            self.asks_for_nodes.set(None);
            self.redecide_all();
        }
    }

    /// The complete wanted state, for a policy that does not depend on time.
    pub fn plan(&mut self) -> Plan {
        self.plan_at(0)
    }

    /// The complete wanted state at a time in seconds since 1970.
    pub fn plan_at(&mut self, now: u64) -> Plan {
        self.update(now);
        Plan { state: self.desired.state(), reports: self.reports(), standings: self.standings.clone() }
    }

    /// Plans again what events, the node, the policy or the time (in seconds since 1970) require.
    pub fn update(&mut self, now: u64) {
        self.dirty.extend(self.expiries.due(now).cloned());
        self.plan_dirty(now);
        if self.policy.reads().ready_since {
            self.readiness.settle();
        } else {
            self.readiness.pause();
        }
    }

    /// Plans the API server's service and the node before everything else, and returns whether that was possible:
    /// the service must exist and share no address, because the owner of a shared address is only known once all
    /// services are planned. Only for an empty kernel: any other content would count as unwanted.
    pub fn update_first(&mut self, now: u64) -> bool {
        let name = ObjectName::new("default", "kubernetes");
        if !self.stands_alone(&name) || !self.dirty.remove(&name) {
            return false;
        }
        let others = std::mem::replace(&mut self.dirty, BTreeSet::from([name]));
        self.plan_dirty(now);
        self.dirty.extend(others);
        true
    }

    fn plan_dirty(&mut self, now: u64) {
        let views = self.take_dirty_views(now);
        let decided = self.decide(&views, now);
        for (view, decided) in views.into_iter().zip(decided) {
            self.replace(&view, decided);
        }
        self.desired.set_first(self.first());
        self.desired.settle(&self.node);
    }

    /// The desired state, for applying it to a kernel.
    pub fn desired(&mut self) -> &mut Desired {
        &mut self.desired
    }

    /// What was refused, clamped or overruled, sorted by service.
    pub fn reports(&self) -> Vec<Report> {
        let mut reports: Vec<Report> = self.reports.values().flatten().cloned().collect();
        reports.extend(self.shared_reports());
        reports.sort();
        reports
    }

    /// Externally visible status by service, apart from VIPs; services without any are left out.
    pub fn standings(&self) -> &BTreeMap<ObjectName, Standing> {
        &self.standings
    }

    /// How a service's part of the plan came about, or `None` if there is no such service. Changes nothing except
    /// the policy's memory.
    pub fn explain(&mut self, name: &ObjectName, now: u64) -> Option<Explanation> {
        let mut view = ServiceView::new(&self.cluster, name, &self.node)?;
        view.note_readiness(&self.readiness);
        let decided = self.decide(std::slice::from_ref(&view), now).remove(0);
        let (clamped, mut reports) = clamp(&view, decided.decision.clone(), &self.node);
        let (wants, more) = plan_service(&view, &clamped, &self.node);
        reports.extend(more);
        Some(Explanation { view, decided, clamped, reports, wants })
    }

    /// The views of all services, as a policy would get them.
    pub fn views(&self) -> Vec<ServiceView> {
        let view = |name| ServiceView::new(&self.cluster, name, &self.node);
        let mut views: Vec<ServiceView> = self.cluster.service_names().filter_map(view).collect();
        views.iter_mut().for_each(|view| view.note_readiness(&self.readiness));
        views
    }

    /// Asks another policy about all services. The current policy stays in use unless the other policy is accepted.
    pub fn consider<P: Policy>(&mut self, mut policy: P, now: u64) -> Candidate<'_, P> {
        let views = self.views();
        let before = self.decide(&views, now);
        let after = policy.decide(&views, &self.surroundings(now));
        let clamped = |view: &ServiceView, decided: Decided| clamp(view, decided.decision, &self.node).0;
        let pairs = views.iter().zip(before).zip(after);
        let changed = pairs
            .filter_map(|((view, before), after)| {
                (clamped(view, before) != clamped(view, after)).then_some(())
            })
            .count();
        Candidate { planner: self, policy, changed, services: views.len() }
    }

    /// What a policy may read in addition to views.
    pub fn surroundings(&self, now: u64) -> Surroundings<'_> {
        Surroundings { node: &self.node, nodes: self.cluster.nodes(), counts: &self.sampler, now }
    }

    /// The views of the services to be planned again; deleted services are removed at once.
    fn take_dirty_views(&mut self, now: u64) -> Vec<ServiceView> {
        let names = std::mem::take(&mut self.dirty);
        let watched = self.policy.reads().ready_since;
        let mut views = Vec::with_capacity(names.len());
        for name in names {
            match ServiceView::new(&self.cluster, &name, &self.node) {
                Some(mut view) => {
                    self.sampler.want(&name, self.policy.wishes(&view.service), Duration::from_secs(now));
                    if watched {
                        self.readiness.observe(&view, now);
                        view.note_readiness(&self.readiness);
                    }
                    views.push(view);
                }
                None => self.forget(&name),
            }
        }
        views
    }

    /// Services and endpoints by state, as of the last plan.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn count(&mut self, name: &ObjectName, tally: Option<Tally>) {
        let before = match tally {
            Some(tally) => self.tallies.insert(name.clone(), tally),
            None => self.tallies.remove(name),
        };
        self.tally += tally.unwrap_or_default();
        self.tally -= before.unwrap_or_default();
    }

    fn forget(&mut self, name: &ObjectName) {
        self.desired.remove(name);
        self.show(name, Outside::default());
        self.count(name, None);
        self.readiness.forget(name);
        self.sampler.forget(name);
        self.expiries.set(name, None);
        self.policy.forget(name);
    }

    /// Makes the policy check some of its remembered answers, and returns what it found.
    pub fn audit_policy(&mut self, count: usize, now: u64) -> Vec<Report> {
        let names = self.policy.sample(count);
        let view = |name| ServiceView::new(&self.cluster, name, &self.node);
        let mut views: Vec<ServiceView> = names.iter().filter_map(view).collect();
        views.iter_mut().for_each(|view| view.note_readiness(&self.readiness));
        let around =
            Surroundings { node: &self.node, nodes: self.cluster.nodes(), counts: &self.sampler, now };
        self.policy.audit(&views, &around)
    }

    /// Returns one answer per view, the built-in one if the policy gave none.
    pub fn decide(&mut self, views: &[ServiceView], now: u64) -> Vec<Decided> {
        let around =
            Surroundings { node: &self.node, nodes: self.cluster.nodes(), counts: &self.sampler, now };
        let decided = self.policy.decide(views, &around);
        if decided.len() == views.len() {
            return decided;
        }
        views.iter().map(|view| Decision::upstream(view, &self.node).into()).collect()
    }

    /// Replaces a service's part of the plan.
    fn replace(&mut self, view: &ServiceView, decided: Decided) {
        let name = &view.service.name;
        let (decision, clamps) = clamp(view, decided.decision, &self.node);
        let (wants, more) = plan_service(view, &decision, &self.node);
        let reports = [decided.reports, clamps, more].concat();
        self.expiries.set(name, decided.expires);
        let standing = Standing::of(view, &decision);
        self.show(name, Outside { reports, standing });
        self.count(name, Some(Tally::of(view, &decision)));
        self.desired.replace(&view.service, wants);
    }

    fn first(&self) -> BTreeSet<std::net::IpAddr> {
        let name = ObjectName::new("default", "kubernetes");
        let service = self.cluster.service(&name);
        Family::BOTH
            .into_iter()
            .filter_map(|family| service.and_then(|service| *service.cluster_ips.get(family)))
            .collect()
    }
}

impl<P: Policy> Candidate<'_, P> {
    /// Makes this policy decide everything from now on.
    pub fn accept(self) {
        self.planner.set_policy(Box::new(self.policy));
    }
}

#[cfg(test)]
mod tests;
