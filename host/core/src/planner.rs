//! The pipeline from events to the wanted state, for one node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::cluster::{Cluster, Dirty, Event};
use crate::decision::Decision;
use crate::desired::Desired;
use crate::guard::clamp;
use crate::net::Family;
use crate::node::NodeView;
use crate::objects::{Node, ObjectName};
use crate::plan::plan_service;
use crate::policy::Policy;
use crate::report::{Reason, Report};
use crate::state::KernelState;
use crate::view::ServiceView;

/// Keeps the wanted state up to date: events go in, plans come out. Only services that an event touched are
/// decided and planned again.
pub struct Planner {
    cluster: Cluster,
    policy: Box<dyn Policy>,
    node: NodeView,
    desired: Desired,
    dirty: BTreeSet<ObjectName>,
    reports: BTreeMap<ObjectName, Vec<Report>>,
}

/// The wanted state with what a person should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The wanted state.
    pub state: KernelState,
    /// What was refused, clamped or overruled, sorted by service.
    pub reports: Vec<Report>,
    /// Addresses to turn on before all others: those of the API server's service.
    pub first: BTreeSet<IpAddr>,
    /// Networks in which virtual servers that are not in the plan belong to somebody else.
    pub excluded: Vec<IpNet>,
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
        }
    }

    /// Takes note of an event and says whether anything must be planned again.
    pub fn apply(&mut self, event: Event) -> bool {
        match self.cluster.apply(event) {
            Dirty::Services(names) => self.dirty.extend(names),
            // The node's view is made by the caller, who knows addresses and configuration.
            Dirty::Node => return true,
        }
        !self.dirty.is_empty()
    }

    /// This node's object, as last seen.
    pub fn node_object(&self) -> Option<&Node> {
        self.cluster.node().map(|node| &**node)
    }

    /// The view of the node that plans are made with.
    pub fn node(&self) -> &NodeView {
        &self.node
    }

    /// Replaces the view of the node; everything is planned again if it differs.
    pub fn set_node(&mut self, node: NodeView) {
        if node != self.node {
            self.node = node;
            self.dirty.extend(self.cluster.service_names().cloned());
        }
    }

    /// The wanted state.
    pub fn plan(&mut self) -> Plan {
        let names = std::mem::take(&mut self.dirty);
        let mut views = Vec::with_capacity(names.len());
        for name in names {
            match ServiceView::new(&self.cluster, &name, &self.node) {
                Some(view) => views.push(view),
                None => {
                    self.desired.remove(&name);
                    self.reports.remove(&name);
                }
            }
        }
        let mut decisions = self.policy.decide(&views, &self.node);
        if decisions.len() != views.len() {
            decisions = views.iter().map(|view| Decision::upstream(view, &self.node)).collect();
        }
        for (view, decision) in views.iter().zip(decisions) {
            let (decision, mut reports) = clamp(view, decision, &self.node);
            let (fragment, more) = plan_service(view, &decision, &self.node);
            reports.extend(more);
            self.desired.replace(&view.service, fragment);
            self.reports.insert(view.service.name.clone(), reports);
        }
        let (state, conflicts) = self.desired.state(&self.node);
        let mut reports: Vec<Report> = self.reports.values().flatten().cloned().chain(conflicts).collect();
        reports.extend(self.left_out(&state));
        reports.sort();
        Plan { state, reports, first: self.first(), excluded: self.node.config.exclude_cidrs.clone() }
    }

    fn first(&self) -> BTreeSet<IpAddr> {
        let name = ObjectName::new("default", "kubernetes");
        let service = self.cluster.service(&name);
        Family::BOTH
            .into_iter()
            .filter_map(|family| service.and_then(|service| *service.cluster_ips.get(family)))
            .collect()
    }

    /// A report per service whose rule was left out because the kernel cannot run it.
    fn left_out(&self, state: &KernelState) -> Vec<Report> {
        if self.node.capabilities.ipvs_match == crate::node::Switch::On {
            return Vec::new();
        }
        let closed = crate::plan::Totals::of(state).closed_to_node;
        let mut reports = Vec::new();
        for (ip, protocol, port) in closed {
            let owner = self
                .cluster
                .service_names()
                .find(|name| self.cluster.service(name).is_some_and(|s| s.load_balancer_ips.contains(&ip)));
            if let Some(owner) = owner {
                reports.push(Report {
                    service: owner.clone(),
                    reason: Reason::RuleLeftOut,
                    message: format!(
                        "this node can reach {ip}:{port}/{protocol} although its source ranges leave it out, \
                         because the kernel has no `ipvs` match: `modprobe xt_ipvs`"
                    ),
                });
            }
        }
        reports
    }
}
