use std::net::IpAddr;

use super::LinkIndex;
use crate::attribute::{self, Attribute, Writer};
use crate::family::octets;
use crate::{DecodeError, Family};

/// Size of `struct ifaddrmsg`: family, prefix length, flags, scope, link.
const HEADER: usize = 8;

/// Attributes from include/uapi/linux/if_addr.h.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;

/// How far an address is valid (`RT_SCOPE_*` of include/uapi/linux/rtnetlink.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(pub u8);

impl Scope {
    /// Everywhere.
    pub const GLOBAL: Self = Self(0);
    /// On its site; deprecated.
    pub const SITE: Self = Self(200);
    /// On its link.
    pub const LINK: Self = Self(253);
    /// On this host.
    pub const HOST: Self = Self(254);
}

/// An address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link.
    pub link: LinkIndex,
    /// The address; on a point-to-point link, the near end.
    pub address: IpAddr,
    /// Length of the prefix on the link.
    pub prefix: u8,
    /// How far it is valid.
    pub scope: Scope,
    /// Flags (`IFA_F_*` of include/uapi/linux/if_addr.h).
    pub flags: u32,
}

impl Address {
    /// Decodes the body of an `RTM_NEWADDR` message; `None` for a family other than IPv4 and IPv6.
    pub fn decode(body: &[u8]) -> Result<Option<Self>, DecodeError> {
        let [family, prefix, flags, scope, index @ ..] = head(body)?;
        let Some(family) = Family::from_number(family.into()) else {
            return Ok(None);
        };
        let attributes = attribute::read_after(body, HEADER, "address")?;
        // On a point-to-point link, IFA_ADDRESS is the far end and IFA_LOCAL the near one; IPv6 sends IFA_LOCAL
        // only then.
        let address = match attributes.find(IFA_LOCAL)? {
            Some(local) => local,
            None => attributes.require(IFA_ADDRESS)?,
        };
        let address = match family {
            Family::V4 => IpAddr::V4(address.ipv4()?),
            Family::V6 => IpAddr::V6(address.ipv6()?),
        };
        // Flags beyond the eighth bit do not fit into the header.
        let wide = attributes.find(IFA_FLAGS)?.map(Attribute::u32).transpose()?;
        Ok(Some(Self {
            link: LinkIndex(u32::from_ne_bytes(index)),
            address,
            prefix,
            scope: Scope(scope),
            flags: wide.unwrap_or_else(|| flags.into()),
        }))
    }
}

fn head(body: &[u8]) -> Result<[u8; HEADER], DecodeError> {
    let short = DecodeError::Short { what: "address", needed: HEADER, found: body.len() };
    body.first_chunk().copied().ok_or(short)
}

/// The link in the fixed header.
pub(super) fn link_of(body: &[u8]) -> Result<LinkIndex, DecodeError> {
    let [_, _, _, _, index @ ..] = head(body)?;
    Ok(LinkIndex(u32::from_ne_bytes(index)))
}

fn begin(family: u8, prefix: u8, link: u32) -> Writer {
    let mut header = [family, prefix, 0, Scope::GLOBAL.0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&link.to_ne_bytes());
    Writer::after(&header)
}

/// Requests the addresses of all links.
pub(super) fn everything() -> Vec<u8> {
    begin(0, 0, 0).into_bytes()
}

/// An address with its full prefix length on a link.
pub(super) fn single(link: LinkIndex, address: IpAddr) -> Vec<u8> {
    with_prefix(link, address, Family::of(address).full_prefix())
}

/// An address with a network prefix on a link.
pub(super) fn with_prefix(link: LinkIndex, address: IpAddr, prefix: u8) -> Vec<u8> {
    let mut writer = begin(Family::of(address).number(), prefix, link.0);
    writer.bytes(IFA_LOCAL, &octets(address));
    writer.bytes(IFA_ADDRESS, &octets(address));
    writer.into_bytes()
}
