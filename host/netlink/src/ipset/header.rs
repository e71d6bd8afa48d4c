use super::SetType;
use super::attributes::{
    IPSET_ATTR_BUCKETSIZE, IPSET_ATTR_CADT_FLAGS, IPSET_ATTR_DATA, IPSET_ATTR_ELEMENTS, IPSET_ATTR_FAMILY,
    IPSET_ATTR_HASHSIZE, IPSET_ATTR_MAXELEM, IPSET_ATTR_MEMSIZE, IPSET_ATTR_NETMASK, IPSET_ATTR_PORT,
    IPSET_ATTR_PORT_TO, IPSET_ATTR_REFERENCES, IPSET_ATTR_REVISION, IPSET_ATTR_SETNAME, IPSET_ATTR_TIMEOUT,
    IPSET_ATTR_TYPENAME, IPSET_FLAG_WITH_COMMENT, IPSET_FLAG_WITH_COUNTERS, IPSET_FLAG_WITH_FORCEADD,
    IPSET_FLAG_WITH_SKBINFO,
};
use crate::attribute::{Attribute, Attributes};
use crate::{DecodeError, Family, netfilter};

/// A set without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub set_type: SetType,
    /// The revision of the type with which it was created.
    pub revision: u8,
    /// The family of its addresses; `None` for types without addresses.
    pub family: Option<Family>,
    /// How it was created and its current size; all absent in the result of [`super::Client::header`].
    pub parameters: Parameters,
}

/// How a set was created, and its current size. A value is absent if the kernel does not report it for this type
/// or revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The number of buckets of a hash, a power of two; grows with the set.
    pub hash_size: Option<u32>,
    /// The maximum number of elements of a hash.
    pub max_elements: Option<u32>,
    /// Elements per bucket of a hash.
    pub bucket_size: Option<u8>,
    /// The prefix length to which addresses are masked before they are stored.
    pub netmask: Option<u8>,
    /// First and last port of a bitmap.
    pub ports: Option<(u16, u16)>,
    /// The number of seconds after which elements are removed, if the set has timeouts.
    pub timeout: Option<u32>,
    /// Extensions.
    pub flags: CreateFlags,
    /// The number of rules and sets that refer to it.
    pub references: Option<u32>,
    /// Its kernel memory in bytes.
    pub memory: Option<u32>,
    /// The number of elements; since Linux 4.9.
    pub elements: Option<u32>,
}

/// The extensions with which a set was created (`IPSET_FLAG_WITH_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CreateFlags(pub u32);

impl CreateFlags {
    /// Elements count packets and bytes.
    pub const COUNTERS: Self = Self(IPSET_FLAG_WITH_COUNTERS);
    /// Elements may have comments.
    pub const COMMENT: Self = Self(IPSET_FLAG_WITH_COMMENT);
    /// A full set drops an existing element to add a new one.
    pub const FORCE_ADD: Self = Self(IPSET_FLAG_WITH_FORCEADD);
    /// Elements may set marks on packets.
    pub const SKB_INFO: Self = Self(IPSET_FLAG_WITH_SKBINFO);

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl Set {
    /// Decodes the head of a listing, or the answer to `IPSET_CMD_HEADER`; `None` for a later part of a listing,
    /// which only names the set.
    pub fn decode_part(body: &[u8]) -> Result<Option<Self>, DecodeError> {
        let attributes = netfilter::attributes(body, "set")?;
        let Some(type_name) = attributes.find(IPSET_ATTR_TYPENAME)? else {
            return Ok(None);
        };
        let data = attributes.find(IPSET_ATTR_DATA)?;
        let parameters = match data {
            Some(data) => Parameters::decode(data.nested("set parameters"))?,
            None => Parameters::default(),
        };
        Ok(Some(Self {
            name: attributes.require(IPSET_ATTR_SETNAME)?.text()?,
            set_type: SetType::of(&type_name.text()?),
            revision: attributes.require(IPSET_ATTR_REVISION)?.u8()?,
            family: Family::from_number(attributes.require(IPSET_ATTR_FAMILY)?.u8()?.into()),
            parameters,
        }))
    }
}

impl Parameters {
    fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let number = |kind| attributes.find(kind)?.map(Attribute::be32).transpose();
        let byte = |kind| attributes.find(kind)?.map(Attribute::u8).transpose();
        let port = |kind| attributes.find(kind)?.map(Attribute::be16).transpose();
        Ok(Self {
            hash_size: number(IPSET_ATTR_HASHSIZE)?,
            max_elements: number(IPSET_ATTR_MAXELEM)?,
            bucket_size: byte(IPSET_ATTR_BUCKETSIZE)?,
            netmask: byte(IPSET_ATTR_NETMASK)?,
            ports: port(IPSET_ATTR_PORT)?.zip(port(IPSET_ATTR_PORT_TO)?),
            timeout: number(IPSET_ATTR_TIMEOUT)?,
            flags: CreateFlags(number(IPSET_ATTR_CADT_FLAGS)?.unwrap_or(0)),
            references: number(IPSET_ATTR_REFERENCES)?,
            memory: number(IPSET_ATTR_MEMSIZE)?,
            elements: number(IPSET_ATTR_ELEMENTS)?,
        })
    }
}
