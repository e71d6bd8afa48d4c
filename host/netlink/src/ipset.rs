//! ipset: named sets of addresses and ports that iptables rules match against.
//!
//! Constants and attribute layouts are from include/uapi/linux/netfilter/ipset/ip_set.h; the kernel's handling of
//! them is in net/netfilter/ipset/ip_set_core.c.

mod attributes;
mod element;
mod elements;
mod error;
mod header;
mod listing;
mod types;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use crate::attribute::Writer;
use crate::socket::{Counters, KernelTransport, NetlinkError, Protocol, Request, Socket, Transport};
use crate::{DecodeError, Errno, Family};
use attributes as number;

pub use element::Element;
pub use elements::{Action, ElementChange};
pub use error::{Code, SetError};
pub use header::{CreateFlags, Parameters, Set};
pub use listing::{Listing, decode_part};
pub use types::{Revisions, SetType, decode_revisions};

/// The supported protocol versions: 7 since Linux 4.20, 6 before.
pub const PROTOCOLS: std::ops::RangeInclusive<u8> = 6..=7;

/// The maximum length of a set's name in bytes (`IPSET_MAXNAMELEN` without its terminating zero).
pub const MAX_NAME_BYTES: usize = 31;

/// What to do if an object already exists, or is already absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Succeed without doing anything. A set must have the same type and parameters.
    Accept,
    /// Fail.
    Refuse,
}

/// The definition of a new set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The name, 1 to [`MAX_NAME_BYTES`] bytes.
    pub name: String,
    /// The type of its elements.
    pub set_type: SetType,
    /// The family of its addresses; `None` for port bitmaps.
    pub family: Option<Family>,
    /// Its size.
    pub size: Size,
}

/// The size of a new set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A hash.
    Hash {
        /// The initial number of buckets, rounded up to a power of two by the kernel.
        buckets: u32,
        /// The maximum number of elements.
        elements: u32,
    },
    /// A bitmap of ports.
    Ports {
        /// First port.
        from: u16,
        /// Last port.
        to: u16,
    },
}

impl Size {
    fn encode(self, writer: &mut Writer) {
        match self {
            Size::Hash { buckets, elements } => {
                writer.net32(number::IPSET_ATTR_HASHSIZE, buckets);
                writer.net32(number::IPSET_ATTR_MAXELEM, elements);
            }
            Size::Ports { from, to } => {
                writer.net16(number::IPSET_ATTR_PORT, from);
                writer.net16(number::IPSET_ATTR_PORT_TO, to);
            }
        }
    }
}

/// A client for the kernel's ipset.
#[derive(Debug)]
pub struct Client<T = KernelTransport> {
    socket: Socket<T>,
    protocol: u8,
    revisions: Vec<(SetType, Option<Family>, u8)>,
}

impl Client<KernelTransport> {
    /// Opens a socket and agrees on a protocol version.
    pub fn open() -> Result<Self, SetError> {
        Self::over(Socket::open(Protocol::Netfilter).map_err(SetError::from)?)
    }
}

impl<T: Transport> Client<T> {
    /// Uses a socket of the netfilter protocol.
    pub fn over(mut socket: Socket<T>) -> Result<Self, SetError> {
        let protocol = negotiate(&mut socket)?;
        Ok(Self { socket, protocol, revisions: Vec::new() })
    }

    /// The traffic of this client's socket.
    pub fn counters(&self) -> Counters {
        self.socket.counters()
    }

    /// The protocol version agreed on.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The revisions of a set type offered by the kernel.
    pub fn revisions(&mut self, set_type: &SetType, family: Option<Family>) -> Result<Revisions, SetError> {
        let mut writer = self.begin();
        writer.text(number::IPSET_ATTR_TYPENAME, set_type.name());
        writer.u8(number::IPSET_ATTR_FAMILY, family_number(family));
        let operation = "read set type";
        let request = Request::new(operation, kind(number::IPSET_CMD_TYPE), writer.into_bytes());
        let body = self.socket.get(&request)?;
        decode_revisions(&body).map_err(|source| NetlinkError::Decode { operation, source }.into())
    }

    /// Creates a set with the newest revision known to both the kernel and this module. If a set of this name has
    /// another type or size, the request is refused ([`SetError::is_existing`]).
    pub fn create(&mut self, definition: &Definition, existing: Existing) -> Result<(), SetError> {
        let revision = self.revision(&definition.set_type, definition.family)?;
        let mut writer = self.begin();
        writer.text(number::IPSET_ATTR_SETNAME, &definition.name);
        writer.text(number::IPSET_ATTR_TYPENAME, definition.set_type.name());
        writer.u8(number::IPSET_ATTR_REVISION, revision);
        writer.u8(number::IPSET_ATTR_FAMILY, family_number(definition.family));
        writer.nested(number::IPSET_ATTR_DATA, |writer| definition.size.encode(writer));
        let exclusive = match existing {
            Existing::Accept => 0,
            Existing::Refuse => NLM_F_EXCL,
        };
        let request = Request::new("create set", kind(number::IPSET_CMD_CREATE), writer.into_bytes());
        self.execute(request.with_flags(NLM_F_CREATE | exclusive))
    }

    /// Destroys a set; [`Code::Busy`] if a rule or another set refers to it.
    pub fn destroy(&mut self, name: &str) -> Result<(), SetError> {
        self.about("destroy set", number::IPSET_CMD_DESTROY, name)
    }

    /// Removes all elements of a set.
    pub fn flush(&mut self, name: &str) -> Result<(), SetError> {
        self.about("flush set", number::IPSET_CMD_FLUSH, name)
    }

    /// Renames a set; the new name must be free.
    pub fn rename(&mut self, name: &str, to: &str) -> Result<(), SetError> {
        self.about_two("rename set", number::IPSET_CMD_RENAME, name, to)
    }

    /// Swaps the contents of two sets of the same type atomically.
    pub fn swap(&mut self, name: &str, with: &str) -> Result<(), SetError> {
        self.about_two("swap sets", number::IPSET_CMD_SWAP, name, with)
    }

    /// Type, family and revision of one set; `None` if it does not exist.
    pub fn header(&mut self, name: &str) -> Result<Option<Set>, SetError> {
        let operation = "read set header";
        let mut writer = self.begin();
        writer.text(number::IPSET_ATTR_SETNAME, name);
        let request = Request::new(operation, kind(number::IPSET_CMD_HEADER), writer.into_bytes());
        let body = match self.socket.get(&request) {
            Err(error) if error.refused_with() == Some(Errno::ENOENT) => return Ok(None),
            body => body?,
        };
        let set = Set::decode_part(&body).map_err(|source| NetlinkError::Decode { operation, source })?;
        Ok(set)
    }

    /// All sets of this network namespace, without elements.
    pub fn headers(&mut self) -> Result<Vec<Set>, SetError> {
        let listings = self.dump("list sets", None, number::IPSET_FLAG_LIST_HEADER)?;
        Ok(listings.into_iter().map(|listing| listing.set).collect())
    }

    /// All sets of this network namespace with their elements.
    pub fn list(&mut self) -> Result<Vec<Listing>, SetError> {
        self.dump("list sets", None, 0)
    }

    /// One set with its elements; `None` if it does not exist.
    pub fn list_one(&mut self, name: &str) -> Result<Option<Listing>, SetError> {
        match self.dump("list set", Some(name), 0) {
            Ok(mut listings) => Ok(listings.pop()),
            Err(SetError::Netlink(error)) if error.refused_with() == Some(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds and removes elements, many per message; returns one result per change, in order.
    ///
    /// With [`Existing::Accept`], adding an existing element and removing a missing one succeed. A refused element
    /// does not stop the others: those after it in the same message are sent again without it, and may then be
    /// applied after elements of later messages.
    pub fn apply(&mut self, changes: &[ElementChange<'_>], existing: Existing) -> Vec<Result<(), SetError>> {
        elements::apply(&mut self.socket, self.protocol, changes, existing)
    }

    fn begin(&self) -> Writer {
        begin(self.protocol)
    }

    fn revision(&mut self, set_type: &SetType, family: Option<Family>) -> Result<u8, SetError> {
        let known = self.revisions.iter().find(|(known, of, _)| known == set_type && *of == family);
        if let Some((_, _, revision)) = known {
            return Ok(*revision);
        }
        let offered = self.revisions(set_type, family)?;
        let chosen = set_type.choose(offered)?;
        self.revisions.push((set_type.clone(), family, chosen));
        Ok(chosen)
    }

    fn about(&mut self, operation: &'static str, command: u8, name: &str) -> Result<(), SetError> {
        let mut writer = self.begin();
        writer.text(number::IPSET_ATTR_SETNAME, name);
        // Without the flag, newer kernels do not report that the set does not exist.
        let request = Request::new(operation, kind(command), writer.into_bytes()).with_flags(NLM_F_EXCL);
        self.execute(request)
    }

    fn about_two(
        &mut self,
        operation: &'static str,
        command: u8,
        name: &str,
        other: &str,
    ) -> Result<(), SetError> {
        let mut writer = self.begin();
        writer.text(number::IPSET_ATTR_SETNAME, name);
        writer.text(number::IPSET_ATTR_SETNAME2, other);
        self.execute(Request::new(operation, kind(command), writer.into_bytes()))
    }

    fn execute(&mut self, request: Request) -> Result<(), SetError> {
        self.socket.execute_one(&request).map_err(SetError::from)
    }

    fn dump(
        &mut self,
        operation: &'static str,
        name: Option<&str>,
        flags: u32,
    ) -> Result<Vec<Listing>, SetError> {
        let mut writer = self.begin();
        if let Some(name) = name {
            writer.text(number::IPSET_ATTR_SETNAME, name);
        }
        if flags != 0 {
            writer.net32(number::IPSET_ATTR_FLAGS, flags);
        }
        let mut listings = Vec::new();
        let request = Request::dump(operation, kind(number::IPSET_CMD_LIST), writer.into_bytes());
        self.socket.dump(&request, &mut |_, body| listing::decode_part(body, &mut listings))?;
        Ok(listings)
    }
}

/// Queries the kernel's protocol versions and picks the newest one supported by both sides.
fn negotiate<T: Transport>(socket: &mut Socket<T>) -> Result<u8, SetError> {
    let operation = "read ipset protocol";
    let writer = begin(*PROTOCOLS.end());
    let request = Request::new(operation, kind(number::IPSET_CMD_PROTOCOL), writer.into_bytes());
    let body = socket.get(&request)?;
    let (oldest, newest) =
        decode_protocols(&body).map_err(|source| NetlinkError::Decode { operation, source })?;
    let chosen = newest.min(*PROTOCOLS.end());
    if chosen < oldest || chosen < *PROTOCOLS.start() {
        return Err(SetError::Protocol { oldest, newest });
    }
    Ok(chosen)
}

/// Decodes the answer to `IPSET_CMD_PROTOCOL`: the oldest and the newest protocol version of the kernel.
pub fn decode_protocols(body: &[u8]) -> Result<(u8, u8), DecodeError> {
    let attributes = crate::netfilter::attributes(body, "ipset protocol")?;
    let newest = attributes.require(number::IPSET_ATTR_PROTOCOL)?.u8()?;
    // A kernel that supports only one version does not report the oldest.
    let oldest = match attributes.find(number::IPSET_ATTR_PROTOCOL_MIN)? {
        Some(oldest) => oldest.u8()?,
        None => newest,
    };
    Ok((oldest, newest))
}

/// A body with its netfilter header and the protocol version, the start of every ipset message.
fn begin(protocol: u8) -> Writer {
    let mut writer = crate::netfilter::begin(crate::netfilter::UNSPECIFIED);
    writer.u8(number::IPSET_ATTR_PROTOCOL, protocol);
    writer
}

fn kind(command: u8) -> u16 {
    crate::netfilter::kind(number::NFNL_SUBSYS_IPSET, command)
}

/// `NFPROTO_UNSPEC` for sets without addresses.
fn family_number(family: Option<Family>) -> u8 {
    family.map_or(crate::netfilter::UNSPECIFIED, Family::number)
}

#[cfg(test)]
mod tests;
