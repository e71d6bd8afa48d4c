//! Addresses and links that come and go.

use std::time::Duration;

use weir_netlink::NetlinkError;
use weir_netlink::route::Events;

/// How long the reader waits at a time; it only bounds how long a broken socket can go unnoticed.
const WAIT: Duration = Duration::from_secs(60);

/// Calls `changed` for each group of changes of addresses or links, until it says to stop. Runs on a thread of
/// its own; it can miss nothing, because an overflow counts as a change.
pub fn watch_addresses(mut changed: impl FnMut() -> Watching) -> Result<(), NetlinkError> {
    let mut events = Events::open()?;
    loop {
        if !events.next(WAIT)?.is_empty() && changed() == Watching::Stop {
            return Ok(());
        }
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    /// Go on.
    GoOn,
    /// Nobody listens any more.
    Stop,
}
