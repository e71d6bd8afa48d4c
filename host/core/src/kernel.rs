//! The three things weir asks of a kernel: what is there, change this, and who is connected.

use std::collections::BTreeMap;

use crate::diff::Changes;
use crate::state::{KernelState, RealServer, VirtualServer};

/// A kernel that can be read and changed.
pub trait Kernel {
    /// Everything of ours that the kernel holds. All or an error, never a part; but a part that is said to be absent because it
    /// cannot be read is not changed by [`Kernel::apply`] either, which fails instead.
    fn read(&mut self) -> Result<KernelState, ReadError>;

    /// Makes the changes in their order and returns one outcome per change. A change that fails does not stop
    /// the others, except those that would be wrong without it.
    fn apply(&mut self, changes: &Changes) -> Vec<Outcome>;

    /// How many connections each of these real servers has. A real server that could not be asked is absent.
    fn connections(&mut self, servers: &[(VirtualServer, RealServer)]) -> Connections;
}

/// Connections, active and inactive together, per real server.
pub type Connections = BTreeMap<(VirtualServer, RealServer), u32>;

/// What became of a change.
pub type Outcome = Result<(), Failure>;

/// Why a change did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to do about it.
    pub kind: FailureKind,
    /// What failed, why, and how to mend it.
    pub message: String,
}

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The kernel held something else than was thought: read before trying again.
    Stale,
    /// Nothing was tried, because a change this one depends on failed.
    Prerequisite,
    /// Somebody else holds a lock, or memory was short: try again soon.
    Busy,
    /// The kernel or a program cannot do it; trying again helps only after somebody mended that.
    Refused,
}

/// A read that did not complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {what}: {message}")]
pub struct ReadError {
    /// What was read.
    pub what: String,
    /// Why it failed and how to mend it.
    pub message: String,
}
