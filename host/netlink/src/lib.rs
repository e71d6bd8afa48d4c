//! Typed messages for the kernel interfaces needed by a service proxy, over one blocking netlink socket.
//!
//! ```text
//!  ipvs  ipset  route  conntrack  rules             typed requests and answers, one module per kernel subsystem
//!    └─────┴──────┴───────┴─────────┘
//!              socket                                sequence numbers, batches, deadlines, counters
//!                 │
//!             Transport                              sendto / recvfrom; tests put a fault script here
//! ```
//!
//! A change is a request with its own result; many changes travel in one send. A reading is a dump, which is
//! either complete or an error.
//!
//! This crate never returns a partial dump instead of an error, accepts an answer from a sender other than the
//! kernel, waits without a deadline, starts a process, or uses Kubernetes terms.

mod attribute;
pub mod conntrack;
mod family;
pub mod ipset;
pub mod ipvs;
mod netfilter;
pub mod route;
pub mod rules;
pub mod socket;

pub use attribute::DecodeError;
pub use family::{Family, TransportProtocol};
pub use socket::{Counters, Errno, NetlinkError};
