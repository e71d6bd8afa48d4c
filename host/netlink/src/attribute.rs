//! Netlink attributes: one writer that appends, one reader that never panics.
//!
//! Both use *kinds* (the attribute's number without its two flag bits) and treat the flag bits separately, because
//! ipset refuses an integer without the byte-order flag and a container without the nested flag.

use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLA_F_NESTED, NLA_F_NET_BYTEORDER, NlaBuffer, NlasIterator};

/// Why bytes from the kernel could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The fixed header before the attributes is incomplete.
    #[error("{what}: {found} bytes instead of at least {needed}")]
    Short {
        /// The structure being read.
        what: &'static str,
        /// The structure's size in bytes.
        needed: usize,
        /// The bytes available.
        found: usize,
    },
    /// An attribute extends past its container.
    #[error("{what}: an attribute extends past its container")]
    Overlong {
        /// The container being read.
        what: &'static str,
    },
    /// An attribute's size does not match its type.
    #[error("{what}: attribute {kind} has {found} bytes instead of {needed}")]
    Size {
        /// The container being read.
        what: &'static str,
        /// The attribute's number.
        kind: u16,
        /// The expected size in bytes.
        needed: usize,
        /// The actual size in bytes.
        found: usize,
    },
    /// A text attribute is not UTF-8.
    #[error("{what}: attribute {kind} is not text")]
    Text {
        /// The container being read.
        what: &'static str,
        /// The attribute's number.
        kind: u16,
    },
    /// A required attribute is missing.
    #[error("{what}: attribute {kind} is missing")]
    Absent {
        /// The container being read.
        what: &'static str,
        /// The attribute's number.
        kind: u16,
    },
    /// A field has an invalid value.
    #[error("{what}: invalid value {value}")]
    Value {
        /// The field being read.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

/// Appends attributes to a message body.
#[derive(Debug, Default, Clone)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

/// `NLA_HDRLEN` of include/uapi/linux/netlink.h.
const HEADER: usize = 4;

impl Writer {
    /// Starts a body with its fixed header.
    pub(crate) fn after(header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(header);
        Self { bytes }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        // Values here are fixed-size fields and short names; only `nested` can grow, and it checks its own size.
        let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&value[..usize::from(length) - HEADER]);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.put(kind, value);
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    pub(crate) fn u16(&mut self, kind: u16, value: u16) {
        self.put(kind, &value.to_ne_bytes());
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Big endian without the byte-order flag, as required by IPVS and conntrack.
    pub(crate) fn be16(&mut self, kind: u16, value: u16) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Big endian without the byte-order flag, as required by conntrack.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Big endian with the byte-order flag, as required by ipset.
    pub(crate) fn net16(&mut self, kind: u16, value: u16) {
        self.put(kind | NLA_F_NET_BYTEORDER, &value.to_be_bytes());
    }

    /// Big endian with the byte-order flag, as required by ipset.
    pub(crate) fn net32(&mut self, kind: u16, value: u32) {
        self.put(kind | NLA_F_NET_BYTEORDER, &value.to_be_bytes());
    }

    /// Bytes in network order with the byte-order flag, as required by ipset for addresses.
    pub(crate) fn net_bytes(&mut self, kind: u16, value: &[u8]) {
        self.put(kind | NLA_F_NET_BYTEORDER, value);
    }

    /// Text with the terminating zero required by the kernel's `NLA_NUL_STRING` policies.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// A container, with the nested flag set.
    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.put(kind | NLA_F_NESTED, &[]);
        fill(self);
        let length = self.bytes.len() - start;
        // Callers limit the content of a container (see `ipset::entries`); the 16-bit length would truncate a
        // longer one, and the kernel would refuse it as malformed.
        debug_assert!(length <= usize::from(u16::MAX), "a container of {length} bytes");
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// An attribute that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
    what: &'static str,
}

/// Iterates over the attributes of one container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a> {
    nlas: NlasIterator<&'a [u8]>,
    what: &'static str,
}

/// Reads the attributes of `container`, which error messages call `what`.
pub(crate) fn read<'a>(container: &'a [u8], what: &'static str) -> Attributes<'a> {
    Attributes { nlas: NlasIterator::new(container), what }
}

/// Reads the attributes after a fixed header of `header` bytes.
pub(crate) fn read_after<'a>(
    body: &'a [u8],
    header: usize,
    what: &'static str,
) -> Result<Attributes<'a>, DecodeError> {
    let rest = body.get(header..).ok_or(DecodeError::Short { what, needed: header, found: body.len() })?;
    Ok(read(rest, what))
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let what = self.what;
        Some(match self.nlas.next()? {
            Ok(nla) => Ok(Attribute { kind: nla.kind(), value: value_of(nla), what }),
            Err(_) => Err(DecodeError::Overlong { what }),
        })
    }
}

/// The value, with the lifetime of the container; `NlaBuffer::value` would borrow from the temporary.
fn value_of(nla: NlaBuffer<&[u8]>) -> &[u8] {
    let length = nla.value_length();
    &nla.into_inner()[HEADER..HEADER + length]
}

impl<'a> Attributes<'a> {
    /// Finds the first attribute of a kind; fails if an error precedes it.
    pub(crate) fn find(mut self, kind: u16) -> Result<Option<Attribute<'a>>, DecodeError> {
        self.find_map(|attribute| match attribute {
            Ok(attribute) if attribute.kind != kind => None,
            other => Some(other),
        })
        .transpose()
    }

    /// Like [`Attributes::find`], for a required attribute.
    pub(crate) fn require(self, kind: u16) -> Result<Attribute<'a>, DecodeError> {
        let what = self.what;
        self.find(kind)?.ok_or(DecodeError::Absent { what, kind })
    }
}

impl<'a> Attribute<'a> {
    fn array<const N: usize>(self) -> Result<[u8; N], DecodeError> {
        self.value.try_into().map_err(|_| DecodeError::Size {
            what: self.what,
            kind: self.kind,
            needed: N,
            found: self.value.len(),
        })
    }

    pub(crate) fn u8(self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(crate) fn u32(self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_ne_bytes)
    }

    pub(crate) fn be16(self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn be32(self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn ipv4(self) -> Result<Ipv4Addr, DecodeError> {
        self.array::<4>().map(Ipv4Addr::from)
    }

    pub(crate) fn ipv6(self) -> Result<Ipv6Addr, DecodeError> {
        self.array::<16>().map(Ipv6Addr::from)
    }

    /// Text up to its terminating zero, or to the end if the kernel sends none.
    pub(crate) fn text(self) -> Result<String, DecodeError> {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        std::str::from_utf8(&self.value[..end])
            .map(str::to_owned)
            .map_err(|_| DecodeError::Text { what: self.what, kind: self.kind })
    }

    pub(crate) fn nested(self, what: &'static str) -> Attributes<'a> {
        read(self.value, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_padded_and_containers_are_measured() {
        let mut writer = Writer::after(&[1, 2, 3, 4]);
        writer.nested(7, |writer| {
            writer.u8(1, 9);
            writer.net16(2, 0x1234);
        });
        assert_eq!(
            writer.into_bytes(),
            [1, 2, 3, 4, 20, 0, 7, 0x80, 5, 0, 1, 0, 9, 0, 0, 0, 6, 0, 2, 0x40, 0x12, 0x34, 0, 0]
        );
    }

    #[test]
    fn a_length_past_the_container_is_an_error_and_ends_the_iteration() {
        let mut attributes = read(&[9, 0, 1, 0, 1], "test");
        assert_eq!(attributes.next().unwrap().unwrap_err(), DecodeError::Overlong { what: "test" });
        assert!(attributes.next().is_none());
    }

    #[test]
    fn a_length_below_the_header_is_an_error() {
        assert!(read(&[3, 0, 1, 0], "test").next().unwrap().is_err());
    }

    #[test]
    fn text_ends_at_its_zero_or_at_the_end() {
        let mut writer = Writer::default();
        writer.text(1, "rr");
        writer.bytes(2, b"wrr");
        let bytes = writer.into_bytes();
        let attributes = read(&bytes, "test");
        assert_eq!(attributes.require(1).unwrap().text().unwrap(), "rr");
        assert_eq!(attributes.require(2).unwrap().text().unwrap(), "wrr");
        assert_eq!(attributes.require(3).unwrap_err(), DecodeError::Absent { what: "test", kind: 3 });
    }
}
