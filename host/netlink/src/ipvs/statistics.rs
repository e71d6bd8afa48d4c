use super::attributes::{
    IPVS_STATS_ATTR_CONNS, IPVS_STATS_ATTR_CPS, IPVS_STATS_ATTR_INBPS, IPVS_STATS_ATTR_INBYTES,
    IPVS_STATS_ATTR_INPKTS, IPVS_STATS_ATTR_INPPS, IPVS_STATS_ATTR_OUTBPS, IPVS_STATS_ATTR_OUTBYTES,
    IPVS_STATS_ATTR_OUTPKTS, IPVS_STATS_ATTR_OUTPPS,
};
use crate::DecodeError;
use crate::attribute::{Attribute, Attributes};

/// Traffic of a service or a destination since it was created or its counters were zeroed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Recent connections per second.
    pub connection_rate: u64,
    /// Recent packets per second from clients.
    pub packet_rate_in: u64,
    /// Recent packets per second to clients.
    pub packet_rate_out: u64,
    /// Recent bytes per second from clients.
    pub byte_rate_in: u64,
    /// Recent bytes per second to clients.
    pub byte_rate_out: u64,
}

/// Decodes the 64-bit counters or, from kernels before 4.1, the mix of 32-bit and 64-bit ones; zero if there are
/// none.
pub(super) fn find(attributes: Attributes<'_>, mixed: u16, wide: u16) -> Result<Statistics, DecodeError> {
    let container = match attributes.find(wide)? {
        Some(container) => Some(container),
        None => attributes.find(mixed)?,
    };
    container.map_or(Ok(Statistics::default()), |container| decode(container.nested("statistics")))
}

fn decode(attributes: Attributes<'_>) -> Result<Statistics, DecodeError> {
    let mut statistics = Statistics::default();
    for attribute in attributes {
        let attribute = attribute?;
        let field = match attribute.kind {
            IPVS_STATS_ATTR_CONNS => &mut statistics.connections,
            IPVS_STATS_ATTR_INPKTS => &mut statistics.packets_in,
            IPVS_STATS_ATTR_OUTPKTS => &mut statistics.packets_out,
            IPVS_STATS_ATTR_INBYTES => &mut statistics.bytes_in,
            IPVS_STATS_ATTR_OUTBYTES => &mut statistics.bytes_out,
            IPVS_STATS_ATTR_CPS => &mut statistics.connection_rate,
            IPVS_STATS_ATTR_INPPS => &mut statistics.packet_rate_in,
            IPVS_STATS_ATTR_OUTPPS => &mut statistics.packet_rate_out,
            IPVS_STATS_ATTR_INBPS => &mut statistics.byte_rate_in,
            IPVS_STATS_ATTR_OUTBPS => &mut statistics.byte_rate_out,
            _ => continue,
        };
        *field = counter(attribute)?;
    }
    Ok(statistics)
}

fn counter(attribute: Attribute<'_>) -> Result<u64, DecodeError> {
    match attribute.value.len() {
        4 => attribute.u32().map(u64::from),
        _ => attribute.u64(),
    }
}
