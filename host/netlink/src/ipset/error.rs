use std::fmt;

use super::SetType;
use crate::{Errno, NetlinkError};

/// An ipset error number: `enum ipset_errno` of include/uapi/linux/netfilter/ipset/ip_set.h and, from 4352, those
/// of ip_set_hash.h and ip_set_bitmap.h, whose meaning depends on the set's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// 4097: the message is malformed, or has another protocol version.
    Protocol,
    /// 4098: the kernel has no such set type.
    FindType,
    /// 4099: no more sets can be created.
    MaxSets,
    /// 4100: the set is in use.
    Busy,
    /// 4101: a set with the second name exists.
    ExistSetName2,
    /// 4102: the two sets have different types.
    TypeMismatch,
    /// 4103: the element already exists, or is already absent.
    Exist,
    /// 4104: the prefix length is invalid.
    InvalidCidr,
    /// 4105: the netmask is invalid.
    InvalidNetmask,
    /// 4106: the set has another family.
    InvalidFamily,
    /// 4107: a timeout for a set without timeouts.
    Timeout,
    /// 4108: the set is referenced by a rule.
    Referenced,
    /// 4109: an IPv4 address is missing or malformed.
    IpAddrIpv4,
    /// 4110: an IPv6 address is missing or malformed.
    IpAddrIpv6,
    /// 4111: counters for a set without counters.
    Counter,
    /// 4112: a comment for a set without comments.
    Comment,
    /// 4113: the mark's mask is invalid.
    InvalidMarkMask,
    /// 4114: packet marks for a set without packet marks.
    SkbInfo,
    /// 4352 in a hash: it has reached its maximum number of elements.
    HashFull,
    /// 4352 in a bitmap: the port is outside the range.
    BitmapRange,
    /// 4353 in a hash: an all-zero element, which a hash cannot contain.
    NullElement,
    /// 4354 in a hash: the protocol has no ports.
    InvalidProtocol,
    /// 4355 in a hash: the protocol is missing.
    MissingProtocol,
    /// From 4352: the set's type, or the meaning for that type, is unknown.
    TypeSpecific(u16),
    /// An unknown number below 4352.
    Unknown(u16),
}

impl Code {
    /// The code for a number from 4096; `set_type` determines the meaning from 4352.
    pub fn of(errno: Errno, set_type: Option<&SetType>) -> Option<Self> {
        let number = u16::try_from(errno.0).ok().filter(|number| *number >= 4096)?;
        Some(match number {
            4097 => Self::Protocol,
            4098 => Self::FindType,
            4099 => Self::MaxSets,
            4100 => Self::Busy,
            4101 => Self::ExistSetName2,
            4102 => Self::TypeMismatch,
            4103 => Self::Exist,
            4104 => Self::InvalidCidr,
            4105 => Self::InvalidNetmask,
            4106 => Self::InvalidFamily,
            4107 => Self::Timeout,
            4108 => Self::Referenced,
            4109 => Self::IpAddrIpv4,
            4110 => Self::IpAddrIpv6,
            4111 => Self::Counter,
            4112 => Self::Comment,
            4113 => Self::InvalidMarkMask,
            4114 => Self::SkbInfo,
            4352.. => Self::type_specific(number, set_type),
            _ => Self::Unknown(number),
        })
    }

    fn type_specific(number: u16, set_type: Option<&SetType>) -> Self {
        match (set_type, number) {
            (None | Some(SetType::Other(_)), _) => Self::TypeSpecific(number),
            (Some(SetType::BitmapPort), 4352) => Self::BitmapRange,
            (Some(SetType::BitmapPort), _) => Self::TypeSpecific(number),
            (Some(_), 4352) => Self::HashFull,
            (Some(_), 4353) => Self::NullElement,
            (Some(_), 4354) => Self::InvalidProtocol,
            (Some(_), 4355) => Self::MissingProtocol,
            (Some(_), _) => Self::TypeSpecific(number),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Protocol => "malformed message or another protocol version",
            Self::FindType => "no such set type in this kernel",
            Self::MaxSets => "no more sets can be created",
            Self::Busy => "the set is in use",
            Self::ExistSetName2 => "a set with the second name exists",
            Self::TypeMismatch => "the sets have different types",
            Self::Exist => "already exists or is already absent",
            Self::InvalidCidr => "invalid prefix length",
            Self::InvalidNetmask => "invalid netmask",
            Self::InvalidFamily => "the set has another family",
            Self::Timeout => "the set has no timeouts",
            Self::Referenced => "the set is referenced by a rule",
            Self::IpAddrIpv4 => "missing or malformed IPv4 address",
            Self::IpAddrIpv6 => "missing or malformed IPv6 address",
            Self::Counter => "the set has no counters",
            Self::Comment => "the set has no comments",
            Self::InvalidMarkMask => "invalid mark mask",
            Self::SkbInfo => "the set has no packet marks",
            Self::HashFull => "the set is full",
            Self::BitmapRange => "the port is outside the set's range",
            Self::NullElement => "a hash cannot contain an all-zero element",
            Self::InvalidProtocol => "the protocol has no ports",
            Self::MissingProtocol => "the protocol is missing",
            Self::TypeSpecific(number) | Self::Unknown(number) => {
                return write!(formatter, "ipset error {number}");
            }
        };
        formatter.write_str(text)
    }
}

impl std::error::Error for Code {}

/// Why an operation on sets failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// ipset refused it with its own error code.
    #[error("{operation}: refused by ipset")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// The code.
        source: Code,
    },
    /// Any other failure; `ENOENT` means that a set does not exist.
    #[error(transparent)]
    Netlink(NetlinkError),
    /// The kernel's protocol versions are not supported.
    #[error("the kernel supports ipset protocol versions {oldest} to {newest}; weir needs version 6 or 7")]
    Protocol {
        /// The oldest version of the kernel.
        oldest: u8,
        /// The newest version of the kernel.
        newest: u8,
    },
    /// This crate supports none of the revisions of a set type that the kernel offers.
    #[error("the kernel offers revisions {oldest} to {newest} of {set_type}, which weir does not support")]
    Revision {
        /// The set type.
        set_type: SetType,
        /// The oldest revision offered.
        oldest: u8,
        /// The newest revision offered.
        newest: u8,
    },
    /// The element cannot be written to a set, because it was read from a set of an unknown type.
    #[error("{operation}: an element of an unknown type cannot be written")]
    OpaqueElement {
        /// The operation.
        operation: &'static str,
    },
}

impl From<NetlinkError> for SetError {
    fn from(error: NetlinkError) -> Self {
        Self::of(error, None)
    }
}

impl SetError {
    /// Converts a kernel refusal to its ipset meaning.
    pub(super) fn of(error: NetlinkError, set_type: Option<&SetType>) -> Self {
        match &error {
            NetlinkError::Refused { operation, source, .. } => match Code::of(*source, set_type) {
                Some(code) => Self::Refused { operation, source: code },
                None => Self::Netlink(error),
            },
            _ => Self::Netlink(error),
        }
    }

    /// The ipset error code, if ipset refused with its own code.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { source, .. } => Some(*source),
            _ => None,
        }
    }

    /// Whether a set or an element already exists. Creating an existing set is refused with `EEXIST`, everything
    /// else with an ipset code.
    pub fn is_existing(&self) -> bool {
        match self {
            Self::Refused { source, .. } => matches!(source, Code::Exist | Code::ExistSetName2),
            Self::Netlink(error) => error.refused_with() == Some(Errno::EEXIST),
            _ => false,
        }
    }

    /// Whether the set, or an element's set, does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Netlink(error) if error.refused_with() == Some(Errno::ENOENT))
    }
}
