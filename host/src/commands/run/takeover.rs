//! Leftovers of another kube-proxy mode that IPVS mode removes once it works.

use tracing::{info, warn};
use weir_core::net::Family;
use weir_kernel::nftables::{self, Table};

/// Deletes the tables of nftables mode, as kube-proxy does when it starts in IPVS mode. Call this when services work
/// without them, so that they are never interrupted; a service that cannot be set up is no reason to wait. Failures
/// are logged and not retried.
///
/// A family that this node does not serve keeps its table, because nothing replaces it.
pub(super) fn end_nftables_mode(families: &[Family]) {
    let found = match nftables::leftovers() {
        Ok(found) => found,
        Err(failure) => {
            let fix = Table::BOTH.map(Table::command).join("; ");
            warn!(fix, "cannot check for tables of kube-proxy's nftables mode: {failure}");
            return;
        }
    };
    for table in found {
        if !families.contains(&table.family) {
            let fix = table.command();
            warn!(
                fix,
                "{table} of kube-proxy's nftables mode is kept, because this node does not serve that address family"
            );
            continue;
        }
        match table.delete() {
            Ok(()) => info!("deleted {table}, left by kube-proxy's nftables mode"),
            Err(failure) => {
                let fix = table.command();
                warn!(
                    fix,
                    "cannot delete {table} of kube-proxy's nftables mode, which still handles traffic: {failure}"
                );
            }
        }
    }
}
