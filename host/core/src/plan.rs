//! From decisions to the wanted kernel state: one fragment per service, one for the node.

mod node;
mod service;

pub(crate) use node::detector;
pub use node::{SNAT_SLOTS, Totals, plan_node};
pub use service::{Fragment, plan_service};
