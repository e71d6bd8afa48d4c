//! The seam between objects and plans: who decides.

use crate::decision::Decision;
use crate::node::NodeView;
use crate::view::ServiceView;

/// Decides how services are handled.
pub trait Policy {
    /// One decision per view, in order. An answer of another length is treated by the guard as no answer.
    fn decide(&mut self, views: &[ServiceView], node: &NodeView) -> Vec<Decision>;
}

/// kube-proxy's behaviour.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn;

impl Policy for BuiltIn {
    fn decide(&mut self, views: &[ServiceView], node: &NodeView) -> Vec<Decision> {
        views.iter().map(|view| Decision::upstream(view, node)).collect()
    }
}
