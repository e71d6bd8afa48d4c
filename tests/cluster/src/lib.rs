//! A real kube-apiserver with etcd on loopback, for tests that need one.
//!
//! ```text
//!  target/cluster (cargo xtask cluster build) ─programs─▶ cluster: etcd ◀─ kube-apiserver ◀─HTTPS─ client, kubectl,
//!  certificates, tokens ──────────────────────────────────▲                                       the program under test
//! ```
//!
//! There is no controller manager: what controllers would write, EndpointSlices and statuses, tests write themselves.
//! Only a cluster that is started for nodes with kubelets ([`Cluster::start_for`]) has controllers and a scheduler.
//! Authorization is RBAC with the roles that every cluster has, so that a test also tells whether permissions suffice.
//!
//! Never: anything but loopback (unless for nodes), a port known beforehand, a process that outlives its test.

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
