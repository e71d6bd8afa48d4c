use super::LinkIndex;
use crate::DecodeError;
use crate::attribute::{self, Attribute, Writer};

/// Size of `struct ifinfomsg`: family, padding, type, index, flags, change mask.
const HEADER: usize = 16;

/// Attributes from include/uapi/linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: LinkIndex,
    /// Its name.
    pub name: String,
    /// `dummy`, `veth`, `bridge` …; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Flags.
    pub flags: LinkFlags,
    /// The maximum packet size in bytes.
    pub mtu: u32,
    /// Its operational state.
    pub state: OperationalState,
}

/// Flags of a link (`IFF_*` of include/uapi/linux/if.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkFlags(pub u32);

impl LinkFlags {
    /// Enabled by the administrator.
    pub const UP: Self = Self(0x1);
    /// The loopback device.
    pub const LOOPBACK: Self = Self(0x8);
    /// It does not resolve addresses.
    pub const NO_ARP: Self = Self(0x80);

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// The operational state of a link (`IF_OPER_*` of include/uapi/linux/if.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationalState {
    /// The driver does not say; usual for loopback and dummy links.
    Unknown,
    /// A component is missing.
    NotPresent,
    /// Down: no packets pass.
    Down,
    /// An underlying link is down.
    LowerLayerDown,
    /// Under test.
    Testing,
    /// Waiting for an event, such as authentication.
    Dormant,
    /// Up: packets pass.
    Up,
    /// An unknown number.
    Other(u8),
}

impl From<u8> for OperationalState {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Unknown,
            1 => Self::NotPresent,
            2 => Self::Down,
            3 => Self::LowerLayerDown,
            4 => Self::Testing,
            5 => Self::Dormant,
            6 => Self::Up,
            number => Self::Other(number),
        }
    }
}

impl Link {
    /// Decodes the body of an `RTM_NEWLINK` message.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let (index, flags) = head(body)?;
        let attributes = attribute::read_after(body, HEADER, "link")?;
        let kind = match attributes.find(IFLA_LINKINFO)? {
            Some(container) => container.nested("link kind").find(IFLA_INFO_KIND)?,
            None => None,
        };
        Ok(Self {
            index,
            name: attributes.require(IFLA_IFNAME)?.text()?,
            kind: kind.map(Attribute::text).transpose()?,
            flags,
            mtu: attributes.find(IFLA_MTU)?.map(Attribute::u32).transpose()?.unwrap_or(0),
            state: attributes.find(IFLA_OPERSTATE)?.map(Attribute::u8).transpose()?.unwrap_or(0).into(),
        })
    }
}

/// Only the index and the name.
pub(super) fn identity(body: &[u8]) -> Result<(LinkIndex, String), DecodeError> {
    let (index, _) = head(body)?;
    let name = attribute::read_after(body, HEADER, "link")?.find(IFLA_IFNAME)?;
    Ok((index, name.map(Attribute::text).transpose()?.unwrap_or_default()))
}

/// The index and the flags in the fixed header.
fn head(body: &[u8]) -> Result<(LinkIndex, LinkFlags), DecodeError> {
    let short = DecodeError::Short { what: "link", needed: HEADER, found: body.len() };
    let header = body.first_chunk::<HEADER>().ok_or(short)?;
    let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Ok((LinkIndex(word(4)), LinkFlags(word(8))))
}

fn begin(index: u32) -> Writer {
    let mut header = [0; HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    Writer::after(&header)
}

/// Requests all links.
pub(super) fn everything() -> Vec<u8> {
    begin(0).into_bytes()
}

/// Requests one link by name.
pub(super) fn named(name: &str) -> Vec<u8> {
    let mut writer = begin(0);
    writer.text(IFLA_IFNAME, name);
    writer.into_bytes()
}

/// Identifies one link by index.
pub(super) fn numbered(index: LinkIndex) -> Vec<u8> {
    begin(index.0).into_bytes()
}

/// Describes a dummy link to create.
pub(super) fn dummy(name: &str) -> Vec<u8> {
    let mut writer = begin(0);
    writer.text(IFLA_IFNAME, name);
    writer.nested(IFLA_LINKINFO, |writer| writer.text(IFLA_INFO_KIND, "dummy"));
    writer.into_bytes()
}
