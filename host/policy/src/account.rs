//! What a plugin did and cost, for metrics, `weir plugin` and people.

use std::collections::BTreeMap;
use std::time::Duration;

/// The account of one plugin since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Calls of the guest, each of up to 256 services.
    pub calls: u64,
    /// Services it was asked about in them.
    pub asked: u64,
    /// Questions that were answered from memory.
    pub remembered: u64,
    /// Calls that failed, by the word for why.
    pub failures: BTreeMap<&'static str, u64>,
    /// Questions for which something else stood in.
    pub fallbacks: u64,
    /// Time in calls, instantiation and configuration included.
    pub time: Duration,
    /// The most memory that an instance had, in bytes.
    pub peak_memory: u64,
    /// Log lines that were dropped because there were too many.
    pub dropped_lines: u64,
    /// Answers that were another when the same was asked again.
    pub impure: u64,
}

/// Whether a plugin is asked, through the interface for which that is worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// It is.
    Ready,
    /// It failed too often and is left alone until this time, in seconds since 1970.
    Suspended(u64),
    /// It is not asked any more before plugin or configuration change.
    GivenUp,
}
