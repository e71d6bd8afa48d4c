use std::fmt;
use std::net::IpAddr;

use super::SetType;
use super::attributes::{
    IPSET_ATTR_BYTES, IPSET_ATTR_CADT_FLAGS, IPSET_ATTR_CIDR, IPSET_ATTR_CIDR2, IPSET_ATTR_COMMENT,
    IPSET_ATTR_IP, IPSET_ATTR_IP2, IPSET_ATTR_IPADDR_IPV4, IPSET_ATTR_IPADDR_IPV6, IPSET_ATTR_LINENO,
    IPSET_ATTR_PACKETS, IPSET_ATTR_PAD, IPSET_ATTR_PORT, IPSET_ATTR_PROTO, IPSET_ATTR_SKBMARK,
    IPSET_ATTR_SKBPRIO, IPSET_ATTR_SKBQUEUE, IPSET_ATTR_TIMEOUT,
};
use crate::attribute::{Attribute, Attributes, Writer};
use crate::{DecodeError, Family, TransportProtocol};

/// One element of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// For `hash:ip`.
    Ip(IpAddr),
    /// For `hash:net`.
    Net {
        /// Any address of the network; the kernel stores the first.
        address: IpAddr,
        /// Prefix length, 1 to 32 or 128.
        prefix: u8,
    },
    /// For `hash:ip,port`.
    IpPort {
        /// The address.
        address: IpAddr,
        /// The protocol.
        protocol: TransportProtocol,
        /// The port; for ICMP, type and code.
        port: u16,
    },
    /// For `hash:ip,port,ip`.
    IpPortIp {
        /// The first address.
        address: IpAddr,
        /// The protocol.
        protocol: TransportProtocol,
        /// The port.
        port: u16,
        /// The second address.
        second: IpAddr,
    },
    /// For `hash:ip,port,net`.
    IpPortNet {
        /// The address.
        address: IpAddr,
        /// The protocol.
        protocol: TransportProtocol,
        /// The port.
        port: u16,
        /// Any address of the network; the kernel stores the first.
        network: IpAddr,
        /// Prefix length of the network, 1 to 32 or 128.
        prefix: u8,
    },
    /// For `bitmap:port`.
    Port(u16),
    /// An element of an unknown type, or with an option that changes its meaning: its raw attributes.
    Opaque(Vec<u8>),
}

impl fmt::Display for Element {
    /// Prints the element like the `ipset` program, except that a protocol without a name here is printed as its
    /// number and the prefix length is always printed.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(formatter, "{address}"),
            Self::Net { address, prefix } => write!(formatter, "{address}/{prefix}"),
            Self::IpPort { address, protocol, port } => write!(formatter, "{address},{protocol}:{port}"),
            Self::IpPortIp { address, protocol, port, second } => {
                write!(formatter, "{address},{protocol}:{port},{second}")
            }
            Self::IpPortNet { address, protocol, port, network, prefix } => {
                write!(formatter, "{address},{protocol}:{port},{network}/{prefix}")
            }
            Self::Port(port) => write!(formatter, "{port}"),
            Self::Opaque(bytes) => write!(formatter, "opaque element of {} bytes", bytes.len()),
        }
    }
}

impl Element {
    /// The set type of this element; `None` for an opaque one.
    pub fn set_type(&self) -> Option<SetType> {
        match self {
            Self::Ip(_) => Some(SetType::HashIp),
            Self::Net { .. } => Some(SetType::HashNet),
            Self::IpPort { .. } => Some(SetType::HashIpPort),
            Self::IpPortIp { .. } => Some(SetType::HashIpPortIp),
            Self::IpPortNet { .. } => Some(SetType::HashIpPortNet),
            Self::Port(_) => Some(SetType::BitmapPort),
            Self::Opaque(_) => None,
        }
    }

    /// Writes the element's attributes. Never called for an opaque element: see [`super::elements::apply`].
    pub(super) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Ip(ip) => address(writer, IPSET_ATTR_IP, *ip),
            Self::Net { address: ip, prefix } => {
                address(writer, IPSET_ATTR_IP, *ip);
                writer.u8(IPSET_ATTR_CIDR, *prefix);
            }
            Self::IpPort { address, protocol, port } => ip_port(writer, *address, *protocol, *port),
            Self::IpPortIp { address: ip, protocol, port, second } => {
                ip_port(writer, *ip, *protocol, *port);
                address(writer, IPSET_ATTR_IP2, *second);
            }
            Self::IpPortNet { address: ip, protocol, port, network, prefix } => {
                ip_port(writer, *ip, *protocol, *port);
                address(writer, IPSET_ATTR_IP2, *network);
                writer.u8(IPSET_ATTR_CIDR2, *prefix);
            }
            Self::Port(port) => writer.net16(IPSET_ATTR_PORT, *port),
            Self::Opaque(_) => {}
        }
    }

    /// Decodes an element of a set of this type from its container.
    pub(super) fn decode(set_type: &SetType, container: Attribute<'_>) -> Result<Self, DecodeError> {
        let attributes = container.nested("set element");
        if !is_plain(attributes)? {
            return Ok(Self::Opaque(container.value.to_vec()));
        }
        let ip = || decode_address(attributes, IPSET_ATTR_IP);
        let second = || decode_address(attributes, IPSET_ATTR_IP2);
        let port = || attributes.require(IPSET_ATTR_PORT)?.be16();
        let protocol = || attributes.require(IPSET_ATTR_PROTO)?.u8().map(TransportProtocol);
        Ok(match set_type {
            SetType::HashIp => Self::Ip(ip()?),
            SetType::HashNet => {
                let address = ip()?;
                Self::Net { address, prefix: decode_prefix(attributes, IPSET_ATTR_CIDR, address)? }
            }
            SetType::HashIpPort => Self::IpPort { address: ip()?, protocol: protocol()?, port: port()? },
            SetType::HashIpPortIp => {
                Self::IpPortIp { address: ip()?, protocol: protocol()?, port: port()?, second: second()? }
            }
            SetType::HashIpPortNet => {
                let network = second()?;
                Self::IpPortNet {
                    address: ip()?,
                    protocol: protocol()?,
                    port: port()?,
                    network,
                    prefix: decode_prefix(attributes, IPSET_ATTR_CIDR2, network)?,
                }
            }
            SetType::BitmapPort => Self::Port(port()?),
            SetType::Other(_) => Self::Opaque(container.value.to_vec()),
        })
    }
}

fn ip_port(writer: &mut Writer, ip: IpAddr, protocol: TransportProtocol, port: u16) {
    address(writer, IPSET_ATTR_IP, ip);
    writer.net16(IPSET_ATTR_PORT, port);
    writer.u8(IPSET_ATTR_PROTO, protocol.0);
}

fn address(writer: &mut Writer, kind: u16, address: IpAddr) {
    writer.nested(kind, |writer| match address {
        IpAddr::V4(address) => writer.net_bytes(IPSET_ATTR_IPADDR_IPV4, &address.octets()),
        IpAddr::V6(address) => writer.net_bytes(IPSET_ATTR_IPADDR_IPV6, &address.octets()),
    });
}

fn decode_address(attributes: Attributes<'_>, kind: u16) -> Result<IpAddr, DecodeError> {
    let container = attributes.require(kind)?.nested("set element address");
    match container.find(IPSET_ATTR_IPADDR_IPV4)? {
        Some(address) => address.ipv4().map(IpAddr::V4),
        None => container.require(IPSET_ATTR_IPADDR_IPV6)?.ipv6().map(IpAddr::V6),
    }
}

fn decode_prefix(attributes: Attributes<'_>, kind: u16, network: IpAddr) -> Result<u8, DecodeError> {
    match attributes.find(kind)? {
        Some(prefix) => prefix.u8(),
        None => Ok(Family::of(network).full_prefix()),
    }
}

/// Whether every attribute is either part of the key or an extension that does not change which packets match.
fn is_plain(attributes: Attributes<'_>) -> Result<bool, DecodeError> {
    for attribute in attributes {
        let attribute = attribute?;
        let plain = match attribute.kind {
            // `nomatch` makes the element an exception.
            IPSET_ATTR_CADT_FLAGS => attribute.be32()? == 0,
            IPSET_ATTR_IP | IPSET_ATTR_CIDR | IPSET_ATTR_PORT | IPSET_ATTR_PROTO | IPSET_ATTR_IP2
            | IPSET_ATTR_CIDR2 | IPSET_ATTR_LINENO | IPSET_ATTR_TIMEOUT | IPSET_ATTR_BYTES
            | IPSET_ATTR_PACKETS | IPSET_ATTR_COMMENT | IPSET_ATTR_SKBMARK | IPSET_ATTR_SKBPRIO
            | IPSET_ATTR_SKBQUEUE | IPSET_ATTR_PAD => true,
            _ => false,
        };
        if !plain {
            return Ok(false);
        }
    }
    Ok(true)
}
