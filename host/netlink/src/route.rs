//! Links and addresses.
//!
//! Constants and structures are from include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h and if.h.

mod address;
mod events;
mod link;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use crate::socket::{Counters, KernelTransport, NetlinkError, Protocol, Request, Socket, Transport};
use crate::{DecodeError, Errno};

pub use address::{Address, Scope};
pub use events::{Event, Events, decode_event};
pub use link::{Link, LinkFlags, OperationalState};

/// Message types from include/uapi/linux/rtnetlink.h.
pub(crate) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

/// The index of a link in its network namespace; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

/// A change of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Adds an address to a link, with its full prefix length, global scope and no broadcast address; `EEXIST` if
    /// it exists.
    Add(LinkIndex, std::net::IpAddr),
    /// Deletes an address; `EADDRNOTAVAIL` if it does not exist.
    Delete(LinkIndex, std::net::IpAddr),
    /// Deletes an address with a prefix of this length, and the route that came with it.
    DeleteNetwork(LinkIndex, std::net::IpAddr, u8),
}

/// A client for the kernel's rtnetlink.
#[derive(Debug)]
pub struct Client<T = KernelTransport> {
    socket: Socket<T>,
}

impl Client<KernelTransport> {
    /// Opens a socket.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self::over(Socket::open(Protocol::Route)?))
    }
}

impl<T: Transport> Client<T> {
    /// Uses a socket of the route protocol.
    pub fn over(socket: Socket<T>) -> Self {
        Self { socket }
    }

    /// The traffic of this client's socket.
    pub fn counters(&self) -> Counters {
        self.socket.counters()
    }

    /// All links of this network namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        let request = Request::dump("list links", RTM_GETLINK, link::everything());
        self.socket.dump(&request, &mut |kind, body| {
            if kind == RTM_NEWLINK {
                links.push(Link::decode(body)?);
            }
            Ok(())
        })?;
        Ok(links)
    }

    /// One link; `None` if no link has this name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let operation = "read link";
        let body = match self.socket.get(&Request::new(operation, RTM_GETLINK, link::named(name))) {
            Err(error) if error.refused_with() == Some(Errno::ENODEV) => return Ok(None),
            body => body?,
        };
        decode(operation, Link::decode(&body)).map(Some)
    }

    /// Creates a dummy link and leaves it down; `EEXIST` if a link of this name exists, `EOPNOTSUPP` if the kernel
    /// has no dummy links.
    pub fn create_dummy(&mut self, name: &str) -> Result<(), NetlinkError> {
        let request = Request::new("create dummy link", RTM_NEWLINK, link::dummy(name));
        self.socket.execute_one(&request.with_flags(NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Deletes a link; `ENODEV` if no link has this index.
    pub fn delete_link(&mut self, index: LinkIndex) -> Result<(), NetlinkError> {
        self.socket.execute_one(&Request::new("delete link", RTM_DELLINK, link::numbered(index)))
    }

    /// All addresses of both families, or those of one link.
    ///
    /// The kernel is always asked for all of them: it could filter by link, but then (seen in Linux 6.18) it does
    /// not report an interrupted dump, and an address may be silently missing.
    pub fn addresses(&mut self, link: Option<LinkIndex>) -> Result<Vec<Address>, NetlinkError> {
        let mut addresses = Vec::new();
        let request = Request::dump("list addresses", RTM_GETADDR, address::everything());
        self.socket.dump(&request, &mut |kind, body| {
            if kind == RTM_NEWADDR
                && let Some(address) = Address::decode(body)?
                && link.is_none_or(|link| link == address.link)
            {
                addresses.push(address);
            }
            Ok(())
        })?;
        Ok(addresses)
    }

    /// Adds and deletes addresses, many per send; returns one result per change, and a refused one does not stop
    /// the others.
    pub fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), NetlinkError>> {
        let requests = changes.iter().map(|change| match *change {
            Change::Add(link, ip) => Request::new("add address", RTM_NEWADDR, address::single(link, ip))
                .with_flags(NLM_F_CREATE | NLM_F_EXCL),
            Change::Delete(link, ip) => {
                Request::new("delete address", RTM_DELADDR, address::single(link, ip))
            }
            Change::DeleteNetwork(link, ip, prefix) => {
                Request::new("delete address", RTM_DELADDR, address::with_prefix(link, ip, prefix))
            }
        });
        self.socket.execute(&requests.collect::<Vec<_>>())
    }
}

fn decode<V>(operation: &'static str, value: Result<V, DecodeError>) -> Result<V, NetlinkError> {
    value.map_err(|source| NetlinkError::Decode { operation, source })
}

#[cfg(test)]
mod tests;
