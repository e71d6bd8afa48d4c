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
//! A change is a request with its own result; one send carries many changes. A read is a dump, which is either
//! complete or an error: an incomplete dump is never returned.
//!
//! Answers from senders other than the kernel are ignored, and every wait has a deadline. This crate starts no
//! process and uses no Kubernetes terms.

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
