//! What a plugin did and cost, for metrics, `weir plugin` and log lines.

use std::collections::BTreeMap;
use std::time::Duration;

/// The account of one plugin since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Calls of the guest, each for up to 256 services.
    pub calls: u64,
    /// Services passed in these calls.
    pub asked: u64,
    /// Questions answered from memory.
    pub remembered: u64,
    /// Failed calls, by failure word.
    pub failures: BTreeMap<&'static str, u64>,
    /// Questions for which a fallback was used.
    pub fallbacks: u64,
    /// Time in calls, including instantiation and configuration.
    pub time: Duration,
    /// The peak memory of an instance, in bytes.
    pub peak_memory: u64,
    /// Log lines dropped because there were too many.
    pub dropped_lines: u64,
    /// Repeated questions that got a different answer.
    pub impure: u64,
}

/// Whether a plugin is being called; the worst condition of its interfaces counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// It is called.
    Ready,
    /// It failed too often and is suspended until this time, in seconds since 1970.
    Suspended(u64),
    /// It is not called again until the plugin or its configuration changes.
    GivenUp,
}
