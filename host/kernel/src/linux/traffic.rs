//! Traffic through all virtual servers, for `weir top`.

use std::collections::BTreeMap;

use weir_core::sampling::Totals;
use weir_core::state::{RealServer, VirtualServer, Weight};

/// Traffic through one virtual server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Its scheduler.
    pub scheduler: String,
    /// Connections and bytes since it was created.
    pub totals: Totals,
    /// Active connections of all its real servers at this moment.
    pub active: u64,
    /// Inactive connections of all its real servers.
    pub inactive: u64,
    /// The number of real servers that accept new connections.
    pub real_servers: u32,
    /// The number of real servers with weight 0.
    pub quiesced: u32,
}

/// Traffic by virtual server.
pub type AllTraffic = BTreeMap<VirtualServer, Traffic>;

/// A real server as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) server: VirtualServer,
    pub(super) real: RealServer,
    pub(super) weight: Weight,
    pub(super) active: u32,
    pub(super) inactive: u32,
}

impl Traffic {
    /// Adds a real server.
    pub(super) fn add(&mut self, listed: &Listed) {
        self.active += u64::from(listed.active);
        self.inactive += u64::from(listed.inactive);
        match listed.weight {
            Weight::QUIESCED => self.quiesced += 1,
            _ => self.real_servers += 1,
        }
    }
}
