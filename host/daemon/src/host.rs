//! What the daemon needs from its machine.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_core::kernel::{Kernel, ReadError};
use weir_core::net::{Family, PerFamily};
use weir_core::node::HostAddress;
use weir_core::rule::Extension;
use weir_core::sampling::Readings;
use weir_core::state::VirtualServer;

/// The machine: its kernel, and everything else that the daemon needs from it.
pub trait Host: Kernel {
    /// The time since a fixed moment, from a monotonic clock. Never decreases.
    fn time(&mut self) -> Duration;

    /// The addresses of all interfaces except the dummy device.
    ///
    /// # Errors
    /// If they cannot be read completely.
    fn addresses(&mut self) -> Result<Vec<HostAddress>, ReadError>;

    /// Whether the kernel certainly contains nothing of weir or another service proxy yet, as after a boot.
    fn is_untouched(&mut self) -> bool;

    /// The counters of a virtual server's real servers; `None` if they cannot be read.
    fn sample(&mut self, server: VirtualServer) -> Readings;

    /// Removes networks that other programs put on the dummy device, which attracts all packets to these networks. The
    /// next audit retries failures.
    fn clear_device(&mut self);

    /// The iptables matches and targets that currently do not work.
    fn missing_extensions(&mut self, families: &[Family]) -> PerFamily<BTreeSet<Extension>>;
}
