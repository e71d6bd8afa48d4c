//! weir-kernel: the real kernel behind [`weir_core::kernel::Kernel`].
//!
//! ```text
//! KernelState ◀─read── ipvs + /proc/net/ip_vs, ipset, rtnetlink, iptables-save, /proc/sys
//! Changes ──apply──▶ ipvs, ipset, rtnetlink, conntrack (batches), iptables-restore (one per family), /proc/sys
//! ```
//!
//! Thin on purpose: what to change was decided by weir-core, how a message looks is weir-netlink's. Left for this
//! crate are grouping, the meaning of errors, and the two programs without which iptables cannot be reached.
//!
//! Never: a decision about services, a shell, a process other than `iptables-restore` to change and
//! `iptables-save` (of both variants) to read, `modprobe` once at start where IPVS is missing.

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
