use std::net::IpAddr;

use crate::attribute::{Attribute, Attributes, Writer};
use crate::{DecodeError, Family, TransportProtocol, netfilter};

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;

const CTA_FILTER_ORIG_FLAGS: u16 = 1;

const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_TUPLE_ZONE: u16 = 3;

const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;

const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

/// `CTA_FILTER_F_CTA_PROTO_NUM` of net/netfilter/nf_internals.h: compare the protocol in the tuple.
const FILTER_PROTOCOL: u32 = 1 << 3;

/// A flow in connection tracking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The original direction, with the addresses of the first packet.
    pub original: Tuple,
    /// The expected reply direction, with translated addresses.
    pub reply: Tuple,
    /// The flow's status bits.
    pub status: FlowStatus,
    /// Seconds until the kernel forgets the flow if no packet arrives.
    pub timeout: u32,
    /// The connection's mark.
    pub mark: u32,
    /// The zone of both directions; 0 unless set by a rule.
    pub zone: u16,
    /// Distinguishes this flow from a later one with the same addresses.
    pub id: Option<u32>,
}

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: TransportProtocol,
    /// Source port; 0 if the protocol has no ports.
    pub source_port: u16,
    /// Destination port; 0 if the protocol has no ports.
    pub destination_port: u16,
    /// The zone of this direction only.
    pub zone: Option<u16>,
}

/// The status bits of a flow (`IPS_*` of include/uapi/linux/netfilter/nf_conntrack_common.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowStatus(pub u32);

impl FlowStatus {
    /// Packets were seen in both directions.
    pub const SEEN_REPLY: Self = Self(1 << 1);
    /// The kernel does not drop the flow early when the table is full.
    pub const ASSURED: Self = Self(1 << 2);
    /// The source address is translated.
    pub const SOURCE_NAT: Self = Self(1 << 4);
    /// The destination address is translated.
    pub const DESTINATION_NAT: Self = Self(1 << 5);

    /// Whether all of `status` are set.
    pub const fn contains(self, status: Self) -> bool {
        self.0 & status.0 == status.0
    }
}

impl Flow {
    /// Decodes the body of a flow message; `None` for a family other than IPv4 and IPv6.
    pub fn decode(body: &[u8]) -> Result<Option<Self>, DecodeError> {
        if Family::from_number(netfilter::family(body, "flow")?.into()).is_none() {
            return Ok(None);
        }
        let attributes = netfilter::attributes(body, "flow")?;
        let number = |kind| attributes.find(kind)?.map(Attribute::be32).transpose();
        Ok(Some(Self {
            original: Tuple::decode(attributes.require(CTA_TUPLE_ORIG)?.nested("flow tuple"))?,
            reply: Tuple::decode(attributes.require(CTA_TUPLE_REPLY)?.nested("flow tuple"))?,
            status: FlowStatus(number(CTA_STATUS)?.unwrap_or(0)),
            timeout: number(CTA_TIMEOUT)?.unwrap_or(0),
            mark: number(CTA_MARK)?.unwrap_or(0),
            zone: attributes.find(CTA_ZONE)?.map(Attribute::be16).transpose()?.unwrap_or(0),
            id: number(CTA_ID)?,
        }))
    }

    /// The body of a request that identifies exactly this flow.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = netfilter::begin(Family::of(self.original.source).number());
        // Without a tuple, the kernel would delete every flow of the family.
        writer.nested(CTA_TUPLE_ORIG, |writer| self.original.encode(writer));
        writer.nested(CTA_TUPLE_REPLY, |writer| self.reply.encode(writer));
        if self.zone != 0 {
            writer.be16(CTA_ZONE, self.zone);
        }
        if let Some(id) = self.id {
            writer.be32(CTA_ID, id);
        }
        writer.into_bytes()
    }
}

impl Tuple {
    fn encode(&self, writer: &mut Writer) {
        writer.nested(CTA_TUPLE_IP, |writer| {
            address(writer, [CTA_IP_V4_SRC, CTA_IP_V6_SRC], self.source);
            address(writer, [CTA_IP_V4_DST, CTA_IP_V6_DST], self.destination);
        });
        writer.nested(CTA_TUPLE_PROTO, |writer| {
            writer.u8(CTA_PROTO_NUM, self.protocol.0);
            writer.be16(CTA_PROTO_SRC_PORT, self.source_port);
            writer.be16(CTA_PROTO_DST_PORT, self.destination_port);
        });
        if let Some(zone) = self.zone {
            writer.be16(CTA_TUPLE_ZONE, zone);
        }
    }

    fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let ip = attributes.require(CTA_TUPLE_IP)?.nested("flow addresses");
        let transport = attributes.require(CTA_TUPLE_PROTO)?.nested("flow protocol");
        let port = |kind| transport.find(kind)?.map(Attribute::be16).transpose();
        Ok(Self {
            source: decode_address(ip, [CTA_IP_V4_SRC, CTA_IP_V6_SRC])?,
            destination: decode_address(ip, [CTA_IP_V4_DST, CTA_IP_V6_DST])?,
            protocol: TransportProtocol(transport.require(CTA_PROTO_NUM)?.u8()?),
            source_port: port(CTA_PROTO_SRC_PORT)?.unwrap_or(0),
            destination_port: port(CTA_PROTO_DST_PORT)?.unwrap_or(0),
            zone: attributes.find(CTA_TUPLE_ZONE)?.map(Attribute::be16).transpose()?,
        })
    }
}

fn address(writer: &mut Writer, [v4, v6]: [u16; 2], address: IpAddr) {
    match address {
        IpAddr::V4(address) => writer.bytes(v4, &address.octets()),
        IpAddr::V6(address) => writer.bytes(v6, &address.octets()),
    }
}

fn decode_address(attributes: Attributes<'_>, [v4, v6]: [u16; 2]) -> Result<IpAddr, DecodeError> {
    match attributes.find(v4)? {
        Some(address) => address.ipv4().map(IpAddr::V4),
        None => attributes.require(v6)?.ipv6().map(IpAddr::V6),
    }
}

/// Requests the flows of one family, and of one protocol. Kernels before 5.8 ignore the filter.
pub(super) fn filter(family: Family, protocol: Option<TransportProtocol>) -> Vec<u8> {
    let mut writer = netfilter::begin(family.number());
    if let Some(protocol) = protocol {
        writer.nested(CTA_TUPLE_ORIG, |writer| {
            writer.nested(CTA_TUPLE_PROTO, |writer| writer.u8(CTA_PROTO_NUM, protocol.0));
        });
        writer.nested(CTA_FILTER, |writer| writer.u32(CTA_FILTER_ORIG_FLAGS, FILTER_PROTOCOL));
    }
    writer.into_bytes()
}
