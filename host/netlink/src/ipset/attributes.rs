//! Numbers from include/uapi/linux/netfilter/ipset/ip_set.h.

/// include/uapi/linux/netfilter/nfnetlink.h
pub(super) const NFNL_SUBSYS_IPSET: u8 = 6;

pub(super) const IPSET_CMD_PROTOCOL: u8 = 1;
pub(super) const IPSET_CMD_CREATE: u8 = 2;
pub(super) const IPSET_CMD_DESTROY: u8 = 3;
pub(super) const IPSET_CMD_FLUSH: u8 = 4;
pub(super) const IPSET_CMD_RENAME: u8 = 5;
pub(super) const IPSET_CMD_SWAP: u8 = 6;
pub(super) const IPSET_CMD_LIST: u8 = 7;
pub(super) const IPSET_CMD_ADD: u8 = 9;
pub(super) const IPSET_CMD_DEL: u8 = 10;
pub(super) const IPSET_CMD_HEADER: u8 = 12;
pub(super) const IPSET_CMD_TYPE: u8 = 13;

pub(super) const IPSET_ATTR_PROTOCOL: u16 = 1;
pub(super) const IPSET_ATTR_SETNAME: u16 = 2;
pub(super) const IPSET_ATTR_TYPENAME: u16 = 3;
pub(super) const IPSET_ATTR_SETNAME2: u16 = 3;
pub(super) const IPSET_ATTR_REVISION: u16 = 4;
pub(super) const IPSET_ATTR_FAMILY: u16 = 5;
pub(super) const IPSET_ATTR_FLAGS: u16 = 6;
pub(super) const IPSET_ATTR_DATA: u16 = 7;
pub(super) const IPSET_ATTR_ADT: u16 = 8;
pub(super) const IPSET_ATTR_LINENO: u16 = 9;
pub(super) const IPSET_ATTR_PROTOCOL_MIN: u16 = 10;
pub(super) const IPSET_ATTR_REVISION_MIN: u16 = 10;

pub(super) const IPSET_ATTR_IP: u16 = 1;
pub(super) const IPSET_ATTR_CIDR: u16 = 3;
pub(super) const IPSET_ATTR_PORT: u16 = 4;
pub(super) const IPSET_ATTR_PORT_TO: u16 = 5;
pub(super) const IPSET_ATTR_TIMEOUT: u16 = 6;
pub(super) const IPSET_ATTR_PROTO: u16 = 7;
pub(super) const IPSET_ATTR_CADT_FLAGS: u16 = 8;
pub(super) const IPSET_ATTR_HASHSIZE: u16 = 18;
pub(super) const IPSET_ATTR_MAXELEM: u16 = 19;
pub(super) const IPSET_ATTR_NETMASK: u16 = 20;
pub(super) const IPSET_ATTR_BUCKETSIZE: u16 = 21;
pub(super) const IPSET_ATTR_ELEMENTS: u16 = 24;
pub(super) const IPSET_ATTR_REFERENCES: u16 = 25;
pub(super) const IPSET_ATTR_MEMSIZE: u16 = 26;

pub(super) const IPSET_ATTR_IP2: u16 = 20;
pub(super) const IPSET_ATTR_CIDR2: u16 = 21;
pub(super) const IPSET_ATTR_BYTES: u16 = 24;
pub(super) const IPSET_ATTR_PACKETS: u16 = 25;
pub(super) const IPSET_ATTR_COMMENT: u16 = 26;
pub(super) const IPSET_ATTR_SKBMARK: u16 = 27;
pub(super) const IPSET_ATTR_SKBPRIO: u16 = 28;
pub(super) const IPSET_ATTR_SKBQUEUE: u16 = 29;
pub(super) const IPSET_ATTR_PAD: u16 = 30;

pub(super) const IPSET_ATTR_IPADDR_IPV4: u16 = 1;
pub(super) const IPSET_ATTR_IPADDR_IPV6: u16 = 2;

pub(super) const IPSET_FLAG_LIST_HEADER: u32 = 1 << 2;

pub(super) const IPSET_FLAG_WITH_COUNTERS: u32 = 1 << 3;
pub(super) const IPSET_FLAG_WITH_COMMENT: u32 = 1 << 4;
pub(super) const IPSET_FLAG_WITH_FORCEADD: u32 = 1 << 5;
pub(super) const IPSET_FLAG_WITH_SKBINFO: u32 = 1 << 6;
