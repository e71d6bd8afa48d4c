//! This machine, as seen by the daemon.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::{error, warn};
use weir_core::diff::Change;
use weir_core::kernel::{Connections, Fact, Kernel, Outcome, ReadError, Unread};
use weir_core::net::{Family, PerFamily};
use weir_core::node::HostAddress;
use weir_core::rule::Extension;
use weir_core::sampling::Readings;
use weir_core::state::{DUMMY_DEVICE, RealServer, VirtualServer};
use weir_daemon::Host;
use weir_kernel::linux::{Effort, Forgotten};
use weir_kernel::{Linux, capabilities};

use super::log;

/// The kernel of this machine, and a clock.
pub(super) struct Machine {
    kernel: Linux,
    started: Instant,
    /// The effort already reported.
    told: Effort,
}

impl Machine {
    pub(super) fn new(families: &[Family]) -> Machine {
        Machine { kernel: Linux::new(families), started: Instant::now(), told: Effort::default() }
    }

    /// The effort since the last call, and since the start.
    pub(super) fn take_effort(&mut self) -> (Effort, Effort) {
        let total = self.kernel.effort();
        (total - std::mem::replace(&mut self.told, total), total)
    }

    /// The searches for UDP flows since the last call.
    pub(super) fn take_forgotten(&mut self) -> Vec<Forgotten> {
        self.kernel.take_forgotten()
    }
}

impl Kernel for Machine {
    fn read(&mut self, see: &mut dyn FnMut(Fact<'_>)) -> Result<Unread, ReadError> {
        self.kernel.read(see)
    }

    fn execute(&mut self, batch: &[Change]) -> Vec<Outcome> {
        self.kernel.execute(batch)
    }

    fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections {
        self.kernel.connections(servers)
    }
}

impl Host for Machine {
    fn time(&mut self) -> Duration {
        self.started.elapsed()
    }

    fn addresses(&mut self) -> Result<Vec<HostAddress>, ReadError> {
        self.kernel.host_addresses()
    }

    fn is_untouched(&mut self) -> bool {
        // The device first: if it exists, thousands of virtual servers need not be read.
        matches!(self.kernel.has_device(), Ok(false))
            && self.kernel.virtual_servers().is_ok_and(|servers| servers.is_none_or(|all| all.is_empty()))
    }

    fn sample(&mut self, server: VirtualServer) -> Readings {
        self.kernel.sample(server)
    }

    fn clear_device(&mut self) {
        let networks = match self.kernel.networks() {
            Ok(networks) => networks,
            // The audit reads the same and reports the error.
            Err(_) => return,
        };
        if networks.is_empty() {
            return;
        }
        let names: Vec<String> = networks.iter().map(|net| net.to_string()).collect();
        let names = names.join(" ");
        match self.kernel.remove_networks(&networks) {
            Ok(()) => warn!(
                fix = "keep other network daemons off the device (systemd-networkd: Unmanaged=yes; NetworkManager: \
                       unmanaged-devices=interface-name:kube-ipvs0)",
                "removed networks that another program had added to {DUMMY_DEVICE}: {names}; the node \
                 attracted traffic to these networks"
            ),
            Err(failure) => error!("{failure} (networks on {DUMMY_DEVICE}: {names})"),
        }
    }

    fn missing_extensions(&mut self, families: &[Family]) -> PerFamily<BTreeSet<Extension>> {
        let (missing, findings) = capabilities::find_missing(families);
        log::findings(&findings);
        missing
    }
}
