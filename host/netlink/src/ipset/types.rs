use std::fmt;

use super::attributes::{IPSET_ATTR_REVISION, IPSET_ATTR_REVISION_MIN};
use super::error::SetError;
use crate::{DecodeError, netfilter};

/// The type of a set's elements.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetType {
    /// Addresses.
    HashIp,
    /// Address, protocol and port.
    HashIpPort,
    /// Address, protocol, port and address.
    HashIpPortIp,
    /// Address, protocol, port and network.
    HashIpPortNet,
    /// Networks.
    HashNet,
    /// Ports.
    BitmapPort,
    /// A type that this module can list but not create or fill, by name.
    Other(String),
}

/// The revisions of a set type offered by a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revisions {
    /// The oldest.
    pub oldest: u8,
    /// The newest.
    pub newest: u8,
}

impl SetType {
    /// The types that this module can create and fill.
    pub const KNOWN: [Self; 6] = [
        Self::HashIp,
        Self::HashIpPort,
        Self::HashIpPortIp,
        Self::HashIpPortNet,
        Self::HashNet,
        Self::BitmapPort,
    ];

    /// The kernel's name, such as `hash:ip,port`.
    pub fn name(&self) -> &str {
        match self {
            Self::HashIp => "hash:ip",
            Self::HashIpPort => "hash:ip,port",
            Self::HashIpPortIp => "hash:ip,port,ip",
            Self::HashIpPortNet => "hash:ip,port,net",
            Self::HashNet => "hash:net",
            Self::BitmapPort => "bitmap:port",
            Self::Other(name) => name,
        }
    }

    /// The type with this name.
    pub fn of(name: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|known| known.name() == name)
            .unwrap_or_else(|| Self::Other(name.to_owned()))
    }

    /// The newest known revision: `IPSET_TYPE_REV_MAX` of net/netfilter/ipset/ip_set_hash_ip.c and its neighbours
    /// in Linux 6.18, which is also what ipset 7.17 uses there. Later revisions only added extensions; a set
    /// created without them is the same in every revision.
    const fn newest_known(&self) -> Option<u8> {
        match self {
            Self::HashIp | Self::HashIpPortIp => Some(6),
            Self::HashIpPort | Self::HashNet => Some(7),
            Self::HashIpPortNet => Some(8),
            Self::BitmapPort => Some(3),
            Self::Other(_) => None,
        }
    }

    /// The newest revision that is both offered and known.
    pub(super) fn choose(&self, offered: Revisions) -> Result<u8, SetError> {
        let unsupported =
            || SetError::Revision { set_type: self.clone(), oldest: offered.oldest, newest: offered.newest };
        let chosen = self.newest_known().ok_or_else(unsupported)?.min(offered.newest);
        if chosen < offered.oldest {
            return Err(unsupported());
        }
        Ok(chosen)
    }
}

impl fmt::Display for SetType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Decodes the answer to `IPSET_CMD_TYPE`.
pub fn decode_revisions(body: &[u8]) -> Result<Revisions, DecodeError> {
    let attributes = netfilter::attributes(body, "set type")?;
    Ok(Revisions {
        oldest: attributes.require(IPSET_ATTR_REVISION_MIN)?.u8()?,
        newest: attributes.require(IPSET_ATTR_REVISION)?.u8()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_agree() {
        for known in SetType::KNOWN {
            assert_eq!(SetType::of(known.name()), known);
        }
        assert_eq!(SetType::of("hash:mac"), SetType::Other("hash:mac".to_owned()));
    }

    #[test]
    fn the_newest_common_revision_is_chosen() {
        let choose = |oldest, newest| SetType::HashIpPort.choose(Revisions { oldest, newest });
        assert_eq!(choose(0, 5), Ok(5), "limited by an older kernel");
        assert_eq!(choose(0, 9), Ok(7), "limited by the newest known revision");
        assert!(matches!(choose(8, 9), Err(SetError::Revision { .. })));
    }
}
