//! Tools for tests against a real kernel.
//!
//! ```text
//!  scenario (recorded folder) ─▶ netns (a node) ◀─ weir (the program under test)
//!                                   │
//!                                   └─▶ witness: ipvsadm, ipset, iptables-save, ip ─▶ +/- lines
//!
//!  lab: a cluster running weir with its plugins, shared by tests that take turns
//!  cluster: nodes, pods and an outside machine, with servers and clients that exchange packets
//! ```
//!
//! Our own reader of the kernel is never used: a bug in it would affect both sides of the comparison.

pub mod cluster;
pub mod components;
pub mod http;
pub mod lab;
pub mod netns;
pub mod patience;
pub mod policy;
pub mod scenario;
pub mod tap;
pub mod weir;
pub mod witness;
