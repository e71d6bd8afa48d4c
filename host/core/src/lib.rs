//! weir-core: what the kernel should hold, as one plain value.
//!
//! ```text
//! Event ─▶ Cluster ─dirty─▶ ServiceView ─Policy─▶ Decision ─guard─▶ plan ─▶ KernelState (wanted)
//!                                                                              │
//! kernel ─read─▶ KernelState (actual) ─────────────────────────────────────▶ diff ─▶ Changes ─▶ drain ─▶ Kernel::apply
//! ```
//!
//! Every step is a function from values to values, so that any of them can be printed, compared, checked and
//! simulated. Incremental and full planning are the same function: the wanted state is the union of one fragment
//! per service and one for the node.
//!
//! Never: a clock, the environment, a thread, a log line, an input or output, a `Result` for bad user input
//! (that is a value plus a list of problems), knowledge of netlink or of the Kubernetes API's wire format.

pub mod causes;
pub mod check;
pub mod cluster;
pub mod decision;
pub mod desired;
pub mod diff;
pub mod drain;
pub mod guard;
pub mod kernel;
pub mod net;
pub mod node;
pub mod objects;
pub mod plan;
pub mod planner;
pub mod policy;
pub mod readiness;
pub mod report;
pub mod rule;
pub mod set;
pub mod simulated;
pub mod standing;
pub mod state;
pub mod sync;
pub mod text;
pub mod trace;
pub mod view;
pub mod witness;
