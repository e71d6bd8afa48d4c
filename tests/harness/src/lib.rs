//! What tests against a real kernel need.
//!
//! ```text
//!  scenario (recorded folder) ─▶ netns (a node) ◀─ weir (the program under test)
//!                                   │
//!                                   └─▶ witness: ipvsadm, ipset, iptables-save, ip ─▶ +/- lines
//!
//!  lab: a cluster, weir in it with its plugins, and tests that take turns
//!  cluster: nodes, pods and a machine outside, with servers and clients, for packets to travel between
//! ```
//!
//! Never: our own reader of the kernel. A bug in it would be on both sides of the comparison.

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
