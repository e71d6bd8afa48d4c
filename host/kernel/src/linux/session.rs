//! A client whose socket is opened on first use, and reopened after it breaks.

use weir_netlink::ipset::SetError;
use weir_netlink::{Counters, NetlinkError, conntrack, ipset, ipvs, route, rules};

/// A client of one kernel subsystem.
pub(super) trait Client: Sized {
    /// The error of its calls.
    type Error;
    fn open() -> Result<Self, Self::Error>;
    fn counters(&self) -> Counters;
    /// Whether the socket is no longer usable.
    fn is_broken(error: &Self::Error) -> bool;
}

macro_rules! netlink_client {
    ($client:ty) => {
        impl Client for $client {
            type Error = NetlinkError;
            fn open() -> Result<Self, NetlinkError> {
                <$client>::open()
            }
            fn counters(&self) -> Counters {
                <$client>::counters(self)
            }
            fn is_broken(error: &NetlinkError) -> bool {
                error.needs_new_socket()
            }
        }
    };
}

netlink_client!(ipvs::Client);
netlink_client!(route::Client);
netlink_client!(conntrack::Client);
netlink_client!(rules::Client);

impl Client for ipset::Client {
    type Error = SetError;
    fn open() -> Result<Self, SetError> {
        ipset::Client::open()
    }
    fn counters(&self) -> Counters {
        ipset::Client::counters(self)
    }
    fn is_broken(error: &SetError) -> bool {
        matches!(error, SetError::Netlink(error) if error.needs_new_socket())
    }
}

/// Keeps a client, and counts the traffic of its predecessors.
pub(super) struct Session<C> {
    client: Option<C>,
    closed: Counters,
}

impl<C> Default for Session<C> {
    fn default() -> Session<C> {
        Session { client: None, closed: Counters::default() }
    }
}

impl<C: Client> Session<C> {
    pub(super) fn counters(&self) -> Counters {
        self.client.as_ref().map_or(self.closed, |client| self.closed + client.counters())
    }

    /// Makes one call.
    pub(super) fn call<V>(
        &mut self,
        call: impl FnOnce(&mut C) -> Result<V, C::Error>,
    ) -> Result<V, C::Error> {
        let result = call(self.client()?);
        if result.as_ref().is_err_and(C::is_broken) {
            self.close();
        }
        result
    }

    /// Sends a batch of changes, each with its own result.
    pub(super) fn batch(
        &mut self,
        call: impl FnOnce(&mut C) -> Vec<Result<(), C::Error>>,
    ) -> Result<Vec<Result<(), C::Error>>, C::Error> {
        let results = call(self.client()?);
        if results.iter().any(|result| result.as_ref().is_err_and(C::is_broken)) {
            self.close();
        }
        Ok(results)
    }

    fn client(&mut self) -> Result<&mut C, C::Error> {
        match &mut self.client {
            Some(client) => Ok(client),
            slot @ None => Ok(slot.insert(C::open()?)),
        }
    }

    fn close(&mut self) {
        self.closed = self.counters();
        self.client = None;
    }
}
