//! weir-kernel: the real kernel behind [`weir_core::kernel::Kernel`].
//!
//! ```text
//! KernelState ◀─read── ipvs + /proc/net/ip_vs, ipset, rtnetlink, iptables-save, /proc/sys
//! Changes ──apply──▶ ipvs, ipset, rtnetlink, conntrack (batches), iptables-restore (one per family), /proc/sys
//! ```
//!
//! This crate is thin by design: weir-core decides what to change, and weir-netlink encodes the messages. This crate
//! groups changes, interprets errors, and runs the two programs without which iptables cannot be reached.
//!
//! It makes no decision about services and starts no shell. It runs only `iptables-restore` to test and change rules,
//! `iptables-save` (of both variants) to read them, and `modprobe` once at start if IPVS is missing.

pub mod capabilities;
pub mod conntrack;
pub mod events;
pub mod iptables;
pub mod linux;
pub mod nftables;
pub mod oom;
pub mod process;
pub mod refusals;
pub mod sysctl;

pub use linux::Linux;
