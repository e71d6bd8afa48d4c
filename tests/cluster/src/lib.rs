//! A real kube-apiserver with etcd on loopback, for tests that need one.
//!
//! ```text
//!  target/cluster (cargo xtask cluster build) ─programs─▶ cluster: etcd ◀─ kube-apiserver ◀─HTTPS─ client, kubectl,
//!  certificates, tokens ──────────────────────────────────▲                                       the program under test
//! ```
//!
//! There is no controller manager: tests themselves write what controllers would, EndpointSlices and statuses.
//! Only a cluster started for nodes with kubelets ([`Cluster::start_for`]) has controllers and a scheduler.
//! Authorization is RBAC with the default roles of every cluster, so tests also check that permissions suffice.
//!
//! It only uses loopback (unless started for nodes), has no fixed ports, and no process outlives its test.

mod certificates;
mod client;
mod cluster;
mod kubeconfig;
mod nodes;
mod programs;
mod resource;
mod server;
mod token;

pub use client::{Answer, Client, Watch};
pub use cluster::{Cluster, GUEST_ADDRESS, GUEST_PORT, NODE_PROXIER};
pub use nodes::Nodes;
pub use programs::{Missing, Programs, folder, programs_or_skip};
pub use token::ServiceAccount;
