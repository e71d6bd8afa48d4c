//! The header that every netfilter message has behind its netlink header (include/uapi/linux/netfilter/nfnetlink.h).

use crate::DecodeError;
use crate::attribute::{self, Attributes, Writer};

/// `NFPROTO_UNSPEC` of include/uapi/linux/netfilter.h.
pub(crate) const UNSPECIFIED: u8 = 0;

/// `NFNETLINK_V0`, the only version.
const VERSION: u8 = 0;

/// Size of `struct nfgenmsg`: family, version, resource.
const HEADER: usize = 4;

/// A body with its header for resource 0.
pub(crate) fn begin(family: u8) -> Writer {
    Writer::after(&[family, VERSION, 0, 0])
}

/// The netlink message type of a command of a subsystem.
pub(crate) fn kind(subsystem: u8, command: u8) -> u16 {
    u16::from_be_bytes([subsystem, command])
}

/// The family in a message's header.
pub(crate) fn family(body: &[u8], what: &'static str) -> Result<u8, DecodeError> {
    body.first().copied().ok_or(DecodeError::Short { what, needed: HEADER, found: 0 })
}

/// The attributes behind the header.
pub(crate) fn attributes<'a>(body: &'a [u8], what: &'static str) -> Result<Attributes<'a>, DecodeError> {
    attribute::read_after(body, HEADER, what)
}
