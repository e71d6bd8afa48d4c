//! Typed messages for the kernel interfaces a service proxy needs, over one blocking netlink socket.
//!
//! ```text
//!  ipvs  ipset  route  conntrack  rules             typed requests and answers, one module per kernel subsystem
//!    └─────┴──────┴───────┴─────────┘
//!              socket                                sequence numbers, batches, deadlines, counters
//!                 │
//!             Transport                              sendto / recvfrom; tests put a fault script here
//! ```
//!
//! A change is a request whose answer is a result of its own; many of them travel in one send. A reading is a dump:
//! it is complete, or it is an error.
//!
//! Never: a smaller dump instead of an error; an answer from another sender than the kernel; waiting without a
//! deadline; a started process; Kubernetes' words.

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
