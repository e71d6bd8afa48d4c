use netlink_packet_core::Emitable;
use netlink_packet_generic::constants::GENL_HDRLEN;
use netlink_packet_generic::{GenlFamily, GenlHeader};

use super::attributes::{
    IPVS_CMD_ATTR_DEST, IPVS_CMD_ATTR_SERVICE, IPVS_CMD_ATTR_TIMEOUT_TCP, IPVS_CMD_ATTR_TIMEOUT_TCP_FIN,
    IPVS_CMD_ATTR_TIMEOUT_UDP, IPVS_CMD_DEL_DEST, IPVS_CMD_DEL_SERVICE, IPVS_CMD_FLUSH, IPVS_CMD_GET_CONFIG,
    IPVS_CMD_GET_DEST, IPVS_CMD_GET_INFO, IPVS_CMD_GET_SERVICE, IPVS_CMD_NEW_DEST, IPVS_CMD_NEW_SERVICE,
    IPVS_CMD_SET_CONFIG, IPVS_CMD_SET_DEST, IPVS_CMD_SET_SERVICE, IPVS_GENL_NAME, IPVS_GENL_VERSION,
    IPVS_INFO_ATTR_CONN_TAB_SIZE, IPVS_INFO_ATTR_VERSION,
};
use super::{Destination, DestinationKey, Information, Service, ServiceKey, Timeouts};
use crate::attribute::{self, Writer};
use crate::{DecodeError, Family};

/// One message of the IPVS generic netlink family: a command and its attributes.
///
/// Each request has its own constructor; answers are decoded as the type that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    command: u8,
    attributes: Vec<u8>,
}

impl GenlFamily for Message {
    fn family_name() -> &'static str {
        IPVS_GENL_NAME
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        IPVS_GENL_VERSION
    }
}

impl Emitable for Message {
    fn buffer_len(&self) -> usize {
        self.attributes.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer[..self.attributes.len()].copy_from_slice(&self.attributes);
    }
}

impl Message {
    fn plain(command: u8) -> Self {
        Self { command, attributes: Vec::new() }
    }

    fn filled(command: u8, fill: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer::default();
        fill(&mut writer);
        Self { command, attributes: writer.into_bytes() }
    }

    fn about_service(command: u8, key: &ServiceKey) -> Self {
        Self::filled(command, |writer| {
            writer.nested(IPVS_CMD_ATTR_SERVICE, |writer| key.encode(writer));
        })
    }

    fn about_destination(command: u8, key: &ServiceKey, encode: impl FnOnce(&mut Writer)) -> Self {
        Self::filled(command, |writer| {
            writer.nested(IPVS_CMD_ATTR_SERVICE, |writer| key.encode(writer));
            writer.nested(IPVS_CMD_ATTR_DEST, encode);
        })
    }

    /// Creates a service.
    pub fn new_service(service: &Service) -> Self {
        Self::filled(IPVS_CMD_NEW_SERVICE, |writer| {
            writer.nested(IPVS_CMD_ATTR_SERVICE, |writer| service.encode(writer));
        })
    }

    /// Changes a service.
    pub fn set_service(service: &Service) -> Self {
        Self { command: IPVS_CMD_SET_SERVICE, ..Self::new_service(service) }
    }

    /// Deletes a service.
    pub fn delete_service(key: &ServiceKey) -> Self {
        Self::about_service(IPVS_CMD_DEL_SERVICE, key)
    }

    /// Requests one service.
    pub fn get_service(key: &ServiceKey) -> Self {
        Self::about_service(IPVS_CMD_GET_SERVICE, key)
    }

    /// Requests all services.
    pub fn get_services() -> Self {
        Self::plain(IPVS_CMD_GET_SERVICE)
    }

    /// Creates a destination.
    pub fn new_destination(key: &ServiceKey, destination: &Destination) -> Self {
        Self::about_destination(IPVS_CMD_NEW_DEST, key, |writer| destination.encode(writer))
    }

    /// Changes a destination.
    pub fn set_destination(key: &ServiceKey, destination: &Destination) -> Self {
        Self { command: IPVS_CMD_SET_DEST, ..Self::new_destination(key, destination) }
    }

    /// Deletes a destination.
    pub fn delete_destination(key: &ServiceKey, destination: &DestinationKey) -> Self {
        Self::about_destination(IPVS_CMD_DEL_DEST, key, |writer| destination.encode(writer))
    }

    /// Requests the destinations of one service.
    pub fn get_destinations(key: &ServiceKey) -> Self {
        Self::about_service(IPVS_CMD_GET_DEST, key)
    }

    /// Deletes all services.
    pub fn flush() -> Self {
        Self::plain(IPVS_CMD_FLUSH)
    }

    /// Requests the timeouts.
    pub fn get_timeouts() -> Self {
        Self::plain(IPVS_CMD_GET_CONFIG)
    }

    /// Sets the timeouts.
    pub fn set_timeouts(timeouts: &Timeouts) -> Self {
        Self::filled(IPVS_CMD_SET_CONFIG, |writer| {
            writer.u32(IPVS_CMD_ATTR_TIMEOUT_TCP, timeouts.tcp);
            writer.u32(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, timeouts.tcp_fin);
            writer.u32(IPVS_CMD_ATTR_TIMEOUT_UDP, timeouts.udp);
        })
    }

    /// Requests version and table size.
    pub fn get_information() -> Self {
        Self::plain(IPVS_CMD_GET_INFO)
    }

    /// The bytes after the netlink header: the generic header and the attributes.
    pub fn encode(&self) -> Vec<u8> {
        let header = GenlHeader { cmd: self.command(), version: self.version() };
        let mut body = vec![0; header.buffer_len() + self.buffer_len()];
        header.emit(&mut body);
        self.emit(&mut body[header.buffer_len()..]);
        body
    }

    /// Decodes a message from the bytes after the netlink header.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let short = DecodeError::Short { what: "generic message", needed: GENL_HDRLEN, found: body.len() };
        let (header, attributes) = body.split_at_checked(GENL_HDRLEN).ok_or(short.clone())?;
        let header = GenlHeader::parse(header).map_err(|_| short)?;
        Ok(Self { command: header.cmd, attributes: attributes.to_vec() })
    }

    /// The service in this message.
    pub fn service(&self) -> Result<Service, DecodeError> {
        Service::decode(self.attributes().require(IPVS_CMD_ATTR_SERVICE)?.nested("service"))
    }

    /// The destination in this message; `service_family` is its family if the kernel does not report it.
    pub fn destination(&self, service_family: Family) -> Result<Destination, DecodeError> {
        let container = self.attributes().require(IPVS_CMD_ATTR_DEST)?;
        Destination::decode(container.nested("destination"), service_family)
    }

    /// The timeouts in this message.
    pub fn timeouts(&self) -> Result<Timeouts, DecodeError> {
        let seconds = |kind| self.attributes().require(kind)?.u32();
        Ok(Timeouts {
            tcp: seconds(IPVS_CMD_ATTR_TIMEOUT_TCP)?,
            tcp_fin: seconds(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN)?,
            udp: seconds(IPVS_CMD_ATTR_TIMEOUT_UDP)?,
        })
    }

    /// Version and table size in this message.
    pub fn information(&self) -> Result<Information, DecodeError> {
        Ok(Information {
            version: self.attributes().require(IPVS_INFO_ATTR_VERSION)?.u32()?,
            connection_table_size: self.attributes().require(IPVS_INFO_ATTR_CONN_TAB_SIZE)?.u32()?,
        })
    }

    fn attributes(&self) -> attribute::Attributes<'_> {
        attribute::read(&self.attributes, "IPVS message")
    }
}
