//! The header that follows the netlink header in every netfilter message
//! (include/uapi/linux/netfilter/nfnetlink.h).

use crate::attribute::{self, Attributes, Writer};
use crate::socket::{NetlinkError, Request};
use crate::{DecodeError, Errno};

/// `NFPROTO_UNSPEC` of include/uapi/linux/netfilter.h.
pub(crate) const UNSPECIFIED: u8 = 0;

/// `NFNL_SUBSYS_NFTABLES` of include/uapi/linux/netfilter/nfnetlink.h.
pub(crate) const NFNL_SUBSYS_NFTABLES: u8 = 10;

/// `NFNL_MSG_BATCH_BEGIN` of include/uapi/linux/netfilter/nfnetlink.h.
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END` of include/uapi/linux/netfilter/nfnetlink.h.
const NFNL_MSG_BATCH_END: u16 = 0x11;

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

/// The messages before and after changes of a subsystem that only accepts transactions. Their resource is the
/// subsystem.
pub(crate) fn transaction(operation: &'static str, subsystem: u8) -> [Request; 2] {
    let [high, low] = u16::from(subsystem).to_be_bytes();
    [NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END]
        .map(|kind| Request::new(operation, kind, vec![UNSPECIFIED, VERSION, high, low]))
}

/// Whether a request failed because its subsystem does not exist. nfnetlink then answers `EINVAL`, or `EOPNOTSUPP`
/// within a transaction. Use this only for requests without any argument that could itself be invalid.
pub(crate) fn is_absent(error: &NetlinkError) -> bool {
    matches!(error.refused_with(), Some(Errno::EINVAL | Errno::EOPNOTSUPP))
}

/// The family in a message's header.
pub(crate) fn family(body: &[u8], what: &'static str) -> Result<u8, DecodeError> {
    body.first().copied().ok_or(DecodeError::Short { what, needed: HEADER, found: 0 })
}

/// The attributes after the header.
pub(crate) fn attributes<'a>(body: &'a [u8], what: &'static str) -> Result<Attributes<'a>, DecodeError> {
    attribute::read_after(body, HEADER, what)
}
