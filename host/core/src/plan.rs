//! From decisions to the wanted kernel state: one fragment per service, one for the node.

mod node;
mod service;

pub use node::{Totals, plan_node};
pub use service::plan_service;
