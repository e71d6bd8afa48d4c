//! Changes of addresses and links.

use std::time::Duration;

use weir_core::state::DUMMY_DEVICE;
use weir_netlink::NetlinkError;
use weir_netlink::route::{Client, Event, Events, LinkIndex};

/// How long the reader waits at a time. This only bounds how long a broken socket can go unnoticed.
const WAIT: Duration = Duration::from_secs(60);

/// Calls `changed` when addresses or links other than the dummy device's change, until it returns
/// [`Watching::Stop`]. Runs on its own thread. No change is missed: an overflow counts as a change.
///
/// # Errors
/// When the kernel can no longer be listened to.
pub fn watch_addresses(mut changed: impl FnMut() -> Watching) -> Result<(), NetlinkError> {
    let mut events = Events::open()?;
    // Looked up after subscribing, so that later creation or deletion of the device arrives as an event.
    let dummy = Client::open()?.link(DUMMY_DEVICE)?.map(|link| link.index);
    let mut filter = Filter { dummy };
    loop {
        let news = events.next(WAIT)?;
        // Not `any`, which would stop before the filter has seen every event.
        let relevant = news.iter().filter(|event| filter.is_news(event)).count();
        if relevant > 0 && changed() == Watching::Stop {
            return Ok(());
        }
    }
}

/// Whether to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    /// Continue.
    GoOn,
    /// The receiver is gone.
    Stop,
}

/// Separates changes of the host's addresses from weir's own: each VIP that weir binds causes an event.
struct Filter {
    /// The index of the dummy device, while it exists.
    dummy: Option<LinkIndex>,
}

impl Filter {
    fn is_news(&mut self, event: &Event) -> bool {
        match event {
            Event::Link(index, name) if name == DUMMY_DEVICE => {
                self.dummy = Some(*index);
                false
            }
            // Another device has this index: the dummy device is gone and its index was reused.
            Event::Link(index, _) if self.dummy == Some(*index) => {
                self.dummy = None;
                true
            }
            Event::Address(index) => self.dummy != Some(*index),
            Event::Link(..) | Event::Overflow => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_on_the_dummy_device_is_no_news() {
        let mut filter = Filter { dummy: None };
        let link = |index, name: &str| Event::Link(LinkIndex(index), name.to_owned());
        let address = |index| Event::Address(LinkIndex(index));
        assert!(filter.is_news(&address(7)), "not known as the dummy device yet");
        assert!(!filter.is_news(&link(7, DUMMY_DEVICE)));
        let own = (0..5_000).filter(|_| filter.is_news(&address(7))).count();
        assert_eq!(own, 0, "5,000 VIPs bound by weir");
        assert!(filter.is_news(&address(2)) && filter.is_news(&link(2, "eth0")));
        assert!(filter.is_news(&Event::Overflow));
        assert!(!filter.is_news(&link(9, DUMMY_DEVICE)), "recreated");
        assert!(filter.is_news(&address(7)) && !filter.is_news(&address(9)));
        assert!(filter.is_news(&link(9, "veth0")), "the index was reused");
        assert!(filter.is_news(&address(9)));
    }
}
