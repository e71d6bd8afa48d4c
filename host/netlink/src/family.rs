//! The two address families and the transport protocols, with the numbers used throughout the kernel.

use std::fmt;
use std::net::IpAddr;

use crate::attribute::DecodeError;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// `AF_INET` or `AF_INET6` of include/linux/socket.h, which equal `NFPROTO_IPV4` and `NFPROTO_IPV6`.
    pub const fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The prefix length of a single address: 32 or 128.
    pub const fn full_prefix(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// The family with this number; `None` if it is neither IPv4 nor IPv6.
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            2 => Some(Family::V4),
            10 => Some(Family::V6),
            _ => None,
        }
    }

    pub(crate) fn decode(number: u16, what: &'static str) -> Result<Self, DecodeError> {
        Self::from_number(number).ok_or(DecodeError::Value { what, value: number.into() })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// The octets of an address in network order: 4 or 16.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A transport protocol by its IP protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportProtocol(pub u8);

impl TransportProtocol {
    /// `IPPROTO_TCP` of include/uapi/linux/in.h.
    pub const TCP: Self = Self(6);
    /// `IPPROTO_UDP` of include/uapi/linux/in.h.
    pub const UDP: Self = Self(17);
    /// `IPPROTO_SCTP` of include/uapi/linux/in.h.
    pub const SCTP: Self = Self(132);
}

impl fmt::Display for TransportProtocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TCP => formatter.write_str("tcp"),
            Self::UDP => formatter.write_str("udp"),
            Self::SCTP => formatter.write_str("sctp"),
            Self(number) => write!(formatter, "{number}"),
        }
    }
}
