//! What an audit looks at beside the state of the kernel: what others did to the dummy device, and whether a match or target
//! that was missing is there now.

use tracing::{error, info, warn};
use weir_core::diff::Change;
use weir_core::kernel::{Failure, FailureKind};
use weir_core::state::DUMMY_DEVICE;
use weir_core::sync::Round;
use weir_kernel::capabilities;

use super::{Daemon, log};

impl Daemon {
    pub(super) fn look_after_node(&mut self) {
        self.remove_networks();
        // As long as all is well, nothing is asked: a module that rules use cannot be unloaded.
        let missing = &self.planner.node().capabilities.missing;
        if self.rules_failed || !(missing.v4.is_empty() && missing.v6.is_empty()) {
            self.look_for_extensions();
        }
    }

    fn remove_networks(&mut self) {
        let networks = match self.syncer.kernel().networks() {
            Ok(networks) => networks,
            // The audit itself tells, which reads the same.
            Err(_) => return,
        };
        if networks.is_empty() {
            return;
        }
        let names: Vec<String> = networks.iter().map(|net| net.to_string()).collect();
        let names = names.join(" ");
        match self.syncer.kernel().remove_networks(&networks) {
            Ok(()) => warn!(
                fix = "keep other network daemons off the device (systemd-networkd: Unmanaged=yes; NetworkManager: \
                       unmanaged-devices=interface-name:kube-ipvs0)",
                "another program put {names} on {DUMMY_DEVICE}, which attracts these networks: taken away"
            ),
            Err(failure) => error!("{failure}: {names}"),
        }
    }

    fn look_for_extensions(&mut self) {
        let mut view = self.planner.node().clone();
        let (missing, findings) = capabilities::find_missing(&view.capabilities.families);
        if missing == view.capabilities.missing {
            return;
        }
        log::findings(&findings);
        if missing.v4.is_empty() && missing.v6.is_empty() {
            info!("all matches and targets of iptables work now");
        }
        view.capabilities.missing = missing;
        self.planner.set_node(view);
    }
}

/// Whether rules were refused, and not for a lock; `None` while they wait for their next try.
pub(super) fn rules_failed(round: &Round) -> Option<bool> {
    let mut failures = round.failures().filter(|(change, _)| matches!(change, Change::WriteRules(_)));
    let Some((_, first)) = failures.next() else { return Some(false) };
    let refused = |failure: &Failure| failure.kind == FailureKind::Refused;
    (refused(first) || failures.any(|(_, failure)| refused(failure))).then_some(true)
}
