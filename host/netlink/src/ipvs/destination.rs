use std::net::IpAddr;

use super::attributes::{
    IPVS_DEST_ATTR_ACTIVE_CONNS, IPVS_DEST_ATTR_ADDR, IPVS_DEST_ATTR_ADDR_FAMILY, IPVS_DEST_ATTR_FWD_METHOD,
    IPVS_DEST_ATTR_INACT_CONNS, IPVS_DEST_ATTR_L_THRESH, IPVS_DEST_ATTR_PERSIST_CONNS, IPVS_DEST_ATTR_PORT,
    IPVS_DEST_ATTR_STATS, IPVS_DEST_ATTR_STATS64, IPVS_DEST_ATTR_U_THRESH, IPVS_DEST_ATTR_WEIGHT,
};
use super::service::{address, address_union};
use super::statistics::{self, Statistics};
use crate::attribute::{Attribute, Attributes, Writer};
use crate::{DecodeError, Family};

/// The identity of a destination within its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationKey {
    /// The address to which packets are sent.
    pub address: IpAddr,
    /// The port at that address; 0 for a service with all ports or a mark.
    pub port: u16,
}

/// How packets reach a destination, including the connection flags that the kernel stores in the same number
/// (`IP_VS_CONN_F_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Forwarding(pub u32);

/// The forwarding method only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardingMethod {
    /// Addresses are translated.
    Masquerade,
    /// Packets are delivered on this node.
    Local,
    /// Packets are sent through a tunnel.
    Tunnel,
    /// Packets are sent unchanged to the destination's link address.
    DirectRoute,
    /// Packets are sent on as if there were no service.
    Bypass,
    /// A number that include/uapi/linux/ip_vs.h does not define: 5 to 7.
    Unknown(u8),
}

impl Forwarding {
    /// Addresses are translated, without further flags.
    pub const MASQUERADE: Self = Self(0);

    /// `IP_VS_CONN_F_FWD_MASK` selects the method.
    pub const fn method(self) -> ForwardingMethod {
        match (self.0 & 0x7) as u8 {
            0 => ForwardingMethod::Masquerade,
            1 => ForwardingMethod::Local,
            2 => ForwardingMethod::Tunnel,
            3 => ForwardingMethod::DirectRoute,
            4 => ForwardingMethod::Bypass,
            number => ForwardingMethod::Unknown(number),
        }
    }
}

/// A destination: where a service's connections are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its identity.
    pub key: DestinationKey,
    /// How packets reach it.
    pub forwarding: Forwarding,
    /// Its weight; 0 takes no new connections.
    pub weight: u32,
    /// At this number of connections, the destination takes no new ones; 0 for no limit.
    pub upper_threshold: u32,
    /// Below this number of connections, the destination takes new ones again.
    pub lower_threshold: u32,
    /// Established connections; ignored in requests.
    pub active_connections: u32,
    /// Other connections; ignored in requests.
    pub inactive_connections: u32,
    /// Persistence templates; ignored in requests.
    pub persistent_connections: u32,
    /// Traffic counters; ignored in requests.
    pub statistics: Statistics,
}

impl DestinationKey {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u16(IPVS_DEST_ATTR_ADDR_FAMILY, Family::of(self.address).number().into());
        writer.bytes(IPVS_DEST_ATTR_ADDR, &address_union(self.address));
        writer.be16(IPVS_DEST_ATTR_PORT, self.port);
    }
}

impl Destination {
    /// A masquerading destination without thresholds and traffic.
    pub fn new(address: IpAddr, port: u16, weight: u32) -> Self {
        Self {
            key: DestinationKey { address, port },
            forwarding: Forwarding::MASQUERADE,
            weight,
            upper_threshold: 0,
            lower_threshold: 0,
            active_connections: 0,
            inactive_connections: 0,
            persistent_connections: 0,
            statistics: Statistics::default(),
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        self.key.encode(writer);
        writer.u32(IPVS_DEST_ATTR_FWD_METHOD, self.forwarding.0);
        writer.u32(IPVS_DEST_ATTR_WEIGHT, self.weight);
        writer.u32(IPVS_DEST_ATTR_U_THRESH, self.upper_threshold);
        writer.u32(IPVS_DEST_ATTR_L_THRESH, self.lower_threshold);
    }

    /// `service_family` is the family if the kernel does not report it, as before Linux 3.18.
    pub(super) fn decode(attributes: Attributes<'_>, service_family: Family) -> Result<Self, DecodeError> {
        let family = match attributes.find(IPVS_DEST_ATTR_ADDR_FAMILY)? {
            Some(attribute) => Family::decode(attribute.u16()?, "destination family")?,
            None => service_family,
        };
        let number = |kind| attributes.require(kind)?.u32();
        let count = |kind| attributes.find(kind)?.map_or(Ok(0), Attribute::u32);
        Ok(Self {
            key: DestinationKey {
                address: address(attributes.require(IPVS_DEST_ATTR_ADDR)?, family)?,
                port: attributes.require(IPVS_DEST_ATTR_PORT)?.be16()?,
            },
            forwarding: Forwarding(number(IPVS_DEST_ATTR_FWD_METHOD)?),
            weight: number(IPVS_DEST_ATTR_WEIGHT)?,
            upper_threshold: number(IPVS_DEST_ATTR_U_THRESH)?,
            lower_threshold: number(IPVS_DEST_ATTR_L_THRESH)?,
            active_connections: count(IPVS_DEST_ATTR_ACTIVE_CONNS)?,
            inactive_connections: count(IPVS_DEST_ATTR_INACT_CONNS)?,
            persistent_connections: count(IPVS_DEST_ATTR_PERSIST_CONNS)?,
            statistics: statistics::find(attributes, IPVS_DEST_ATTR_STATS, IPVS_DEST_ATTR_STATS64)?,
        })
    }
}
