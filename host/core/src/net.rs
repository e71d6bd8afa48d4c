//! Families, protocols and addresses: the basic types used by every other module.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// An IP family. Everything weir plans exists once per family, and the two never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, in the order in which they are planned and printed.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The family of a network.
    pub fn of_net(net: &IpNet) -> Family {
        Family::of(net.addr())
    }

    /// The length of a prefix that names a single address: 32 or 128.
    pub fn full_prefix(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// The networks that both lists cover: for each overlapping pair, the smaller one. Sorted, without duplicates.
pub fn overlap(a: &[IpNet], b: &[IpNet]) -> Vec<IpNet> {
    let smaller = |a: &IpNet, b: &IpNet| match (a.contains(b), b.contains(a)) {
        (true, _) => Some(*b),
        (_, true) => Some(*a),
        _ => None,
    };
    let both: BTreeSet<IpNet> = a.iter().flat_map(|a| b.iter().filter_map(move |b| smaller(a, b))).collect();
    both.into_iter().collect()
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// One value per family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerFamily<T> {
    /// The IPv4 value.
    pub v4: T,
    /// The IPv6 value.
    pub v6: T,
}

impl<T> PerFamily<T> {
    /// The value of one family.
    pub fn get(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The value of one family, mutable.
    pub fn get_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// A transport protocol supported by Kubernetes Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, protocol number 6.
    Tcp,
    /// UDP, protocol number 17.
    Udp,
    /// SCTP, protocol number 132.
    Sctp,
}

impl Protocol {
    /// The IP protocol number (IANA "Assigned Internet Protocol Numbers").
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol with this IP protocol number, if Services support it.
    pub fn from_number(number: u8) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// A protocol name other than `tcp`, `udp` and `sctp`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol `{0}`: use tcp, udp or sctp")]
pub struct UnknownProtocol(pub String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// Parses a protocol name in any case (`TCP` in objects, `tcp` in sets).
    fn from_str(text: &str) -> Result<Protocol, UnknownProtocol> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(UnknownProtocol(text.to_owned())),
        }
    }
}

/// Parses an address like kube-proxy: IPv4 octets may have leading zeros and are still decimal (Go's
/// `netutils.ParseIPSloppy`), and an IPv4-mapped IPv6 address is the IPv4 address.
pub fn parse_ip_sloppy(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let address = text.parse::<IpAddr>().ok()?;
        return Some(address.to_canonical());
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// Parses `address/length`, with the address parsed like [`parse_ip_sloppy`]. Host bits are masked off. The length
/// of an IPv4-mapped IPv6 network counts all 128 bits, and the result is an IPv4 network if it includes the
/// mapping's full 96 bits: `::ffff:10.0.0.0/104` is `10.0.0.0/8`, as it is for kube-proxy.
pub fn parse_cidr_sloppy(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    if !address.contains(':') {
        return Some(IpNet::new(parse_ip_sloppy(address)?, length).ok()?.trunc());
    }
    let net = IpNet::new(address.parse().ok()?, length).ok()?.trunc();
    match net.addr().to_canonical() {
        IpAddr::V4(mapped) => IpNet::new(mapped.into(), length.checked_sub(MAPPED_PREFIX)?).ok(),
        IpAddr::V6(_) => Some(net),
    }
}

/// Length of `::ffff:0:0/96`, the range of IPv6 that contains the IPv4 addresses (RFC 4291, 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// Whether an address is loopback (either family) or IPv6 link-local: no node port is served on such an address, and it
/// never counts as an address of the node.
pub fn is_loopback_or_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// Why no Service or endpoint may have this address; `None` if one may. Traffic to an unusable address never leaves
/// the machine or the link, or goes to many machines. The API server refuses most unusable addresses as external IPs
/// and endpoints, but not in a load balancer's status.
pub fn unusable(address: IpAddr) -> Option<&'static str> {
    let canonical = address.to_canonical();
    let why = match canonical {
        _ if canonical.is_unspecified() => "unspecified",
        _ if canonical.is_loopback() => "loopback",
        _ if canonical.is_multicast() => "multicast",
        IpAddr::V4(v4) if v4.is_link_local() => "link-local",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "link-local",
        IpAddr::V4(v4) if v4.is_broadcast() => "broadcast",
        // The kernel treats all of 0.0.0.0/8 as broadcast addresses (`inet_addr_type`).
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "unspecified (0.0.0.0/8)",
        _ if canonical != address => "IPv4-mapped",
        _ => return None,
    };
    Some(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_service_may_have() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "224.0.0.1",
            "239.9.9.9",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "ff0e::8",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "::ffff:169.254.1.1",
            "::ffff:10.0.0.1",
        ] {
            assert!(unusable(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in ["10.0.0.1", "1.0.0.0", "128.0.0.1", "240.0.0.1", "fd00::1", "2001:db8::1", "fec0::15"] {
            assert_eq!(unusable(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn what_is_in_both_lists() {
        let nets = |list: &[&str]| -> Vec<IpNet> { list.iter().map(|net| net.parse().unwrap()).collect() };
        let a = nets(&["10.0.0.0/8", "192.0.2.0/24", "10.1.0.0/16", "fd00::/8"]);
        let b = nets(&["10.1.0.0/16", "192.0.0.0/16", "198.51.100.0/24", "fd00::/16"]);
        let both = nets(&["10.1.0.0/16", "192.0.2.0/24", "fd00::/16"]);
        assert_eq!(overlap(&a, &b), both);
        assert_eq!(overlap(&b, &a), both);
        assert_eq!(overlap(&a, &[]), []);
        assert_eq!(overlap(&a, &nets(&["0.0.0.0/0"])), nets(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24"]));
    }

    #[test]
    fn leading_zeros_are_decimal() {
        assert_eq!(parse_ip_sloppy("010.000.02.015"), Some("10.0.2.15".parse().unwrap()));
        assert_eq!(parse_ip_sloppy("0.0.0.0"), Some("0.0.0.0".parse().unwrap()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "10.0.0", "10.0.0.0.1", "10.0.0.256", "10.0.0.+1", "a.b.c.d", "10.0.0.", ":", "1:2"]
        {
            assert_eq!(parse_ip_sloppy(text), None, "{text}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "fd00::/129", "10.0.0.0/+8"] {
            assert_eq!(parse_cidr_sloppy(text), None, "{text}");
        }
    }

    #[test]
    fn host_bits_are_masked() {
        assert_eq!(parse_cidr_sloppy("10.0.0.5/8"), Some("10.0.0.0/8".parse().unwrap()));
        assert_eq!(parse_cidr_sloppy("fd00::1/8"), Some("fd00::/8".parse().unwrap()));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(parse_ip_sloppy("::ffff:10.0.0.1"), Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn mapped_networks_are_ipv4_if_all_of_the_mapping_is_in_them() {
        for (text, net) in [
            ("::ffff:10.0.0.5/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.5/128", "10.0.0.5/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:10.0.0.0/95", "::fffe:0:0/95"),
            ("::ffff:10.0.0.0/24", "::/24"),
        ] {
            assert_eq!(parse_cidr_sloppy(text), Some(net.parse().unwrap()), "{text}");
        }
    }
}
