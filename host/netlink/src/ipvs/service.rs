use std::net::{IpAddr, Ipv4Addr};
use std::ops::BitOr;

use super::attributes::{
    IPVS_SVC_ATTR_ADDR, IPVS_SVC_ATTR_AF, IPVS_SVC_ATTR_FLAGS, IPVS_SVC_ATTR_FWMARK, IPVS_SVC_ATTR_NETMASK,
    IPVS_SVC_ATTR_PE_NAME, IPVS_SVC_ATTR_PORT, IPVS_SVC_ATTR_PROTOCOL, IPVS_SVC_ATTR_SCHED_NAME,
    IPVS_SVC_ATTR_STATS, IPVS_SVC_ATTR_STATS64, IPVS_SVC_ATTR_TIMEOUT,
};
use super::statistics::{self, Statistics};
use crate::attribute::{Attribute, Attributes, Writer};
use crate::{DecodeError, Family, TransportProtocol};

/// The identity of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKey {
    /// Traffic to an address and a port.
    Address {
        /// TCP, UDP or SCTP.
        protocol: TransportProtocol,
        /// Destination address.
        address: IpAddr,
        /// Destination port; 0 means all ports and requires persistence.
        port: u16,
    },
    /// Traffic with a firewall mark.
    FirewallMark {
        /// Family of the traffic and of the destinations.
        family: Family,
        /// The mark, never 0.
        mark: u32,
    },
}

impl ServiceKey {
    /// The family of the service's traffic.
    pub fn family(&self) -> Family {
        match self {
            ServiceKey::Address { address, .. } => Family::of(*address),
            ServiceKey::FirewallMark { family, .. } => *family,
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u16(IPVS_SVC_ATTR_AF, self.family().number().into());
        match self {
            ServiceKey::Address { protocol, address, port } => {
                writer.u16(IPVS_SVC_ATTR_PROTOCOL, protocol.0.into());
                writer.bytes(IPVS_SVC_ATTR_ADDR, &address_union(*address));
                writer.be16(IPVS_SVC_ATTR_PORT, *port);
            }
            ServiceKey::FirewallMark { mark, .. } => writer.u32(IPVS_SVC_ATTR_FWMARK, *mark),
        }
    }

    fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let family = Family::decode(attributes.require(IPVS_SVC_ATTR_AF)?.u16()?, "service family")?;
        if let Some(mark) = attributes.find(IPVS_SVC_ATTR_FWMARK)? {
            return Ok(ServiceKey::FirewallMark { family, mark: mark.u32()? });
        }
        let protocol = attributes.require(IPVS_SVC_ATTR_PROTOCOL)?.u16()?;
        let protocol = u8::try_from(protocol)
            .map_err(|_| DecodeError::Value { what: "service protocol", value: protocol.into() })?;
        Ok(ServiceKey::Address {
            protocol: TransportProtocol(protocol),
            address: address(attributes.require(IPVS_SVC_ATTR_ADDR)?, family)?,
            port: attributes.require(IPVS_SVC_ATTR_PORT)?.be16()?,
        })
    }
}

/// `union nf_inet_addr`: 16 bytes, of which IPv4 uses the first four.
pub(super) fn address_union(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// Decodes `union nf_inet_addr`; only the family says which part of it is valid.
pub(super) fn address(attribute: Attribute<'_>, family: Family) -> Result<IpAddr, DecodeError> {
    match family {
        Family::V6 => attribute.ipv6().map(IpAddr::V6),
        Family::V4 => {
            attribute.value.first_chunk::<4>().map(|octets| IpAddr::V4(Ipv4Addr::from(*octets))).ok_or(
                DecodeError::Size {
                    what: "IPv4 address",
                    kind: attribute.kind,
                    needed: 4,
                    found: attribute.value.len(),
                },
            )
        }
    }
}

/// Flags of a service (`IP_VS_SVC_F_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// A client stays with its destination for the service's timeout.
    pub const PERSISTENT: Self = Self(0x1);
    /// Set by the kernel on every service it lists; has no meaning for us.
    pub const HASHED: Self = Self(0x2);
    /// Every UDP packet is scheduled on its own.
    pub const ONE_PACKET: Self = Self(0x4);
    /// First scheduler flag: fallback for `sh` and `mh`.
    pub const SCHED1: Self = Self(0x8);
    /// Second scheduler flag: `sh` and `mh` also hash the port.
    pub const SCHED2: Self = Self(0x10);
    /// Third scheduler flag.
    pub const SCHED3: Self = Self(0x20);

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These flags without `flags`.
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Which clients persistence treats as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Netmask {
    /// Clients that are equal under this mask.
    V4(Ipv4Addr),
    /// Clients with the same prefix of this length, 1 to 128.
    V6(u32),
}

impl Netmask {
    /// Every client counts separately.
    pub const fn full(family: Family) -> Self {
        match family {
            Family::V4 => Netmask::V4(Ipv4Addr::BROADCAST),
            Family::V6 => Netmask::V6(128),
        }
    }

    /// The kernel's `__be32`: an IPv4 mask in network order, or an IPv6 prefix length in host order.
    fn raw(self) -> u32 {
        match self {
            Netmask::V4(mask) => u32::from_ne_bytes(mask.octets()),
            Netmask::V6(length) => length,
        }
    }

    fn from_raw(raw: u32, family: Family) -> Self {
        match family {
            Family::V4 => Netmask::V4(Ipv4Addr::from(raw.to_ne_bytes())),
            Family::V6 => Netmask::V6(raw),
        }
    }
}

/// A service: an address or a mark whose traffic is spread over destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its identity.
    pub key: ServiceKey,
    /// The scheduler's name, at most 15 bytes.
    pub scheduler: String,
    /// The persistence engine's name, at most 15 bytes.
    pub persistence_engine: Option<String>,
    /// Flags; the kernel adds [`Flags::HASHED`].
    pub flags: Flags,
    /// Persistence timeout in seconds; only meaningful with [`Flags::PERSISTENT`].
    pub timeout: u32,
    /// Which clients persistence treats as one client.
    pub netmask: Netmask,
    /// Traffic counters; ignored in requests.
    pub statistics: Statistics,
}

/// The mask of `struct ip_vs_flags`, which selects the flags that apply: all of them.
const ALL_FLAGS: u32 = u32::MAX;

impl Service {
    /// A service without flags, persistence and traffic.
    pub fn new(key: ServiceKey, scheduler: impl Into<String>) -> Self {
        Self {
            key,
            scheduler: scheduler.into(),
            persistence_engine: None,
            flags: Flags::default(),
            timeout: 0,
            netmask: Netmask::full(key.family()),
            statistics: Statistics::default(),
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        self.key.encode(writer);
        writer.text(IPVS_SVC_ATTR_SCHED_NAME, &self.scheduler);
        if let Some(engine) = &self.persistence_engine {
            writer.text(IPVS_SVC_ATTR_PE_NAME, engine);
        }
        let mut flags = [0; 8];
        flags[..4].copy_from_slice(&self.flags.0.to_ne_bytes());
        flags[4..].copy_from_slice(&ALL_FLAGS.to_ne_bytes());
        writer.bytes(IPVS_SVC_ATTR_FLAGS, &flags);
        writer.u32(IPVS_SVC_ATTR_TIMEOUT, self.timeout);
        writer.u32(IPVS_SVC_ATTR_NETMASK, self.netmask.raw());
    }

    pub(super) fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let key = ServiceKey::decode(attributes)?;
        let engine = attributes.find(IPVS_SVC_ATTR_PE_NAME)?.map(Attribute::text).transpose()?;
        Ok(Self {
            key,
            scheduler: attributes
                .find(IPVS_SVC_ATTR_SCHED_NAME)?
                .map(Attribute::text)
                .transpose()?
                .unwrap_or_default(),
            persistence_engine: engine,
            flags: flags(attributes.require(IPVS_SVC_ATTR_FLAGS)?)?,
            timeout: attributes.require(IPVS_SVC_ATTR_TIMEOUT)?.u32()?,
            netmask: Netmask::from_raw(attributes.require(IPVS_SVC_ATTR_NETMASK)?.u32()?, key.family()),
            statistics: statistics::find(attributes, IPVS_SVC_ATTR_STATS, IPVS_SVC_ATTR_STATS64)?,
        })
    }
}

fn flags(attribute: Attribute<'_>) -> Result<Flags, DecodeError> {
    // `flags` and `mask` are 32 bits each; read as one number, the flags are the first half in memory order.
    let bytes = attribute.u64()?.to_ne_bytes();
    Ok(Flags(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
}
