//! From decisions to the desired state, for one service and for the node.

mod node;
mod service;

pub use node::{SNAT_SLOTS, Totals, plan_node};
pub(crate) use node::{detector, room};
pub use service::plan_service;
