//! The interface of policies, which decide how services are handled.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decision::Decision;
use crate::node::NodeView;
use crate::objects::{Node, ObjectName, Service};
use crate::report::Report;
use crate::sampling::{Sampler, Wish};
use crate::view::ServiceView;

/// Decides how services are handled.
pub trait Policy: Any {
    /// Returns one answer per view, in order. If the number of answers is wrong, all answers are ignored.
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided>;

    /// What the policy reads beyond Services, EndpointSlices and this node.
    fn reads(&self) -> Reads {
        Reads::default()
    }

    /// The statistics that the policy needs about a service's real servers, and how often.
    fn wishes(&self, _service: &Service) -> BTreeSet<Wish> {
        BTreeSet::new()
    }

    /// Called when a service is deleted; anything remembered about it may be dropped.
    fn forget(&mut self, _service: &ObjectName) {}

    /// Some services for which the policy remembers answers; each call returns different services.
    fn sample(&mut self, _count: usize) -> Vec<ObjectName> {
        Vec::new()
    }

    /// Checks whether the remembered answers for these services are the ones that the policy would give now, and
    /// reports differences. Unlike all other methods, it may ask questions whose answers no decision needs.
    fn audit(&mut self, _views: &[ServiceView], _around: &Surroundings<'_>) -> Vec<Report> {
        Vec::new()
    }
}

/// What a policy may read in addition to the services it is called for.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// This node.
    pub node: &'a NodeView,
    /// All nodes of the cluster that were seen, including this one, by name.
    pub nodes: &'a BTreeMap<String, Arc<Node>>,
    /// The counters of real servers.
    pub counts: &'a Sampler,
    /// Seconds since 1970.
    pub now: u64,
}

/// An answer of a policy for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The decision; not clamped yet.
    pub decision: Decision,
    /// Why, from each plugin that had a part in it; only for `explain`.
    pub notes: Vec<Note>,
    /// What went wrong.
    pub reports: Vec<Report>,
    /// When to call again although nothing changed, in seconds since 1970.
    pub expires: Option<u64>,
}

impl From<Decision> for Decided {
    fn from(decision: Decision) -> Decided {
        Decided { decision, notes: Vec::new(), reports: Vec::new(), expires: None }
    }
}

/// Why a plugin gave its answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The plugin.
    pub plugin: String,
    /// The interface it was called through: `filter`, `scheduler` or `masquerade`.
    pub hook: &'static str,
    /// What it answered, in one line.
    pub answer: String,
    /// Its reason; empty if it gave none.
    pub reason: String,
}

/// What a policy reads beyond what a node reads anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Nodes other than this one: a change to any node causes new decisions.
    pub nodes: bool,
    /// Namespaces.
    pub namespaces: bool,
    /// Since when endpoints have been ready, which is only tracked if a policy reads it.
    pub ready_since: bool,
}

impl Reads {
    /// The union of what both read.
    pub fn and(self, other: Reads) -> Reads {
        Reads {
            nodes: self.nodes || other.nodes,
            namespaces: self.namespaces || other.namespaces,
            ready_since: self.ready_since || other.ready_since,
        }
    }
}

/// kube-proxy's behaviour.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn;

impl Policy for BuiltIn {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        views.iter().map(|view| Decision::upstream(view, around.node).into()).collect()
    }
}
