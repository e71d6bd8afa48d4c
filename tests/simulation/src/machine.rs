//! The machine the daemon runs on: a kernel in memory, a clock controlled by the simulation, and addresses.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weir_core::diff::Change;
use weir_core::kernel::{Connections, Fact, Kernel, Outcome, ReadError, Unread};
use weir_core::net::{Family, PerFamily};
use weir_core::node::HostAddress;
use weir_core::rule::Extension;
use weir_core::sampling::Readings;
use weir_core::simulated::Simulated;
use weir_core::state::{KernelState, RealServer, VirtualServer};
use weir_daemon::Host;

/// Duration of each call to the kernel.
const CALL: Duration = Duration::from_micros(200);

/// The changes that were made, each with the kernel's state after it.
type Log = Arc<Mutex<Vec<(Change, KernelState)>>>;

/// A machine that outlives its daemons. Clones are the same machine.
#[derive(Clone)]
pub(crate) struct Machine(Rc<RefCell<Parts>>);

pub(crate) struct Parts {
    pub(crate) kernel: Simulated,
    pub(crate) clock: Duration,
    pub(crate) addresses: Vec<HostAddress>,
    /// Whether addresses can be read.
    pub(crate) readable: bool,
    pub(crate) missing: PerFamily<BTreeSet<Extension>>,
    /// How often the kernel was read, including failed attempts.
    pub(crate) reads: u64,
    log: Log,
}

impl Machine {
    pub(crate) fn new(
        mut kernel: Simulated,
        addresses: Vec<HostAddress>,
        missing: PerFamily<BTreeSet<Extension>>,
    ) -> Machine {
        let log = Log::default();
        let made = log.clone();
        kernel.observe(move |change, state| {
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            made.push((change.clone(), state.clone()));
        });
        let clock = Duration::from_secs(100);
        Machine(Rc::new(RefCell::new(Parts {
            kernel,
            clock,
            addresses,
            readable: true,
            missing,
            reads: 0,
            log,
        })))
    }

    pub(crate) fn parts(&self) -> RefMut<'_, Parts> {
        self.0.borrow_mut()
    }

    /// The changes since the last call.
    pub(crate) fn take_log(&self) -> Vec<(Change, KernelState)> {
        let parts = self.parts();
        let mut log = parts.log.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *log)
    }

    /// Applies changes made by others to the kernel's state.
    pub(crate) fn tamper(&self, deed: impl FnOnce(&mut KernelState)) {
        self.parts().kernel.tamper(deed);
    }

    fn call(&self) -> RefMut<'_, Parts> {
        let mut parts = self.parts();
        parts.clock += CALL;
        parts
    }
}

impl Kernel for Machine {
    fn read(&mut self, see: &mut dyn FnMut(Fact<'_>)) -> Result<Unread, ReadError> {
        let mut parts = self.call();
        parts.reads += 1;
        parts.kernel.read(see)
    }

    fn execute(&mut self, batch: &[Change]) -> Vec<Outcome> {
        self.call().kernel.execute(batch)
    }

    fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections {
        self.call().kernel.connections(servers)
    }
}

impl Host for Machine {
    fn time(&mut self) -> Duration {
        self.parts().clock
    }

    fn addresses(&mut self) -> Result<Vec<HostAddress>, ReadError> {
        let parts = self.call();
        match parts.readable {
            true => Ok(parts.addresses.clone()),
            false => Err(ReadError { what: "addresses".to_owned(), message: "interrupted".to_owned() }),
        }
    }

    fn is_untouched(&mut self) -> bool {
        let parts = self.call();
        let state = parts.kernel.state();
        state.devices.is_empty() && state.virtual_servers.is_empty()
    }

    fn sample(&mut self, _: VirtualServer) -> Readings {
        None
    }

    fn clear_device(&mut self) {}

    fn missing_extensions(&mut self, _: &[Family]) -> PerFamily<BTreeSet<Extension>> {
        self.call().missing.clone()
    }
}
