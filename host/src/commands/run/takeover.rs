//! What another mode of kube-proxy left on this node and IPVS mode removes, once it works.

use tracing::{info, warn};
use weir_core::net::Family;
use weir_kernel::nftables::{self, Table};

/// Deletes the tables of nftables mode, as kube-proxy does when it starts in IPVS mode. To be called when services work
/// without them, so that there is no moment without either; one that cannot be had is no reason to wait. What fails is told and not tried again.
///
/// A family that this node does not serve keeps its table, because nothing takes its place.
pub(super) fn end_nftables_mode(families: &[Family]) {
    let found = match nftables::leftovers() {
        Ok(found) => found,
        Err(failure) => {
            let fix = Table::BOTH.map(Table::command).join("; ");
            warn!(fix, "whether kube-proxy's nftables mode left a table could not be found out: {failure}");
            return;
        }
    };
    for table in found {
        if !families.contains(&table.family) {
            let fix = table.command();
            warn!(
                fix,
                "{table} of kube-proxy's nftables mode is left alone, because this node does not serve its family"
            );
            continue;
        }
        match table.delete() {
            Ok(()) => info!("deleted {table}, which kube-proxy's nftables mode had left"),
            Err(failure) => {
                let fix = table.command();
                warn!(fix, "{table} of kube-proxy's nftables mode still catches traffic: {failure}");
            }
        }
    }
}
