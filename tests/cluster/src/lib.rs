//! A real kube-apiserver with etcd on loopback, for tests that need one.
//!
//! ```text
//!  target/cluster (cargo xtask cluster build) ─programs─▶ cluster: etcd ◀─ kube-apiserver ◀─HTTPS─ client, kubectl,
//!  certificates, tokens ──────────────────────────────────▲                                       the program under test
//! ```
//!
//! There is no controller manager: what controllers would write, EndpointSlices and statuses, tests write themselves.
//! Authorization is RBAC with the roles that every cluster has, so that a test also tells whether permissions suffice.
//!
//! Never: anything but loopback, a port known beforehand, a process that outlives its test.

mod certificates;
mod client;
mod cluster;
mod kubeconfig;
mod programs;
mod resource;
mod server;
mod token;

pub use client::{Answer, Client, Watch};
pub use cluster::{Cluster, GUEST_ADDRESS, GUEST_PORT, NODE_PROXIER};
pub use programs::{Missing, Programs, folder, programs_or_skip};
pub use token::ServiceAccount;
