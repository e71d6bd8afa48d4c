//! What the daemon asks of the machine that it runs on.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_core::kernel::{Kernel, ReadError};
use weir_core::net::{Family, PerFamily};
use weir_core::node::HostAddress;
use weir_core::rule::Extension;
use weir_core::sampling::Readings;
use weir_core::state::VirtualServer;

/// The machine: its kernel, and what is asked of it beside that.
pub trait Host: Kernel {
    /// The time since a fixed moment, from a monotonic clock. Never less than an earlier answer.
    fn time(&mut self) -> Duration;

    /// The addresses of all interfaces but the dummy device.
    ///
    /// # Errors
    /// When they cannot be read, or not as a whole.
    fn addresses(&mut self) -> Result<Vec<HostAddress>, ReadError>;

    /// Whether the kernel surely holds nothing of ours or of another proxy of services yet, as after a boot.
    fn is_untouched(&mut self) -> bool;

    /// What the kernel counts for the real servers of a virtual server; `None` if it cannot be read.
    fn sample(&mut self, server: VirtualServer) -> Readings;

    /// Takes networks off the dummy device that other programs put there: they attract all packets for them. What fails is
    /// tried again by the next audit.
    fn clear_device(&mut self);

    /// The matches and targets of iptables that do not work now.
    fn missing_extensions(&mut self, families: &[Family]) -> PerFamily<BTreeSet<Extension>>;
}
