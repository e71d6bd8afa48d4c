//! Members of sets, and their text form.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::SetType;
use crate::net::{Family, Protocol};
use crate::state::VirtualServer;

/// A member of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetEntry {
    /// `hash:ip`
    Ip(IpAddr),
    /// `hash:ip,port`
    IpPort(IpAddr, Protocol, u16),
    /// `hash:ip,port,ip`
    IpPortIp(IpAddr, Protocol, u16, IpAddr),
    /// `hash:ip,port,net`; host bits are zero.
    IpPortNet(IpAddr, Protocol, u16, IpNet),
    /// `bitmap:port`
    Port(u16),
}

impl SetEntry {
    /// The type of set that the entry fits.
    pub fn set_type(&self) -> SetType {
        match self {
            SetEntry::Ip(_) => SetType::HashIp,
            SetEntry::IpPort(..) => SetType::HashIpPort,
            SetEntry::IpPortIp(..) => SetType::HashIpPortIp,
            SetEntry::IpPortNet(..) => SetType::HashIpPortNet,
            SetEntry::Port(_) => SetType::BitmapPort,
        }
    }

    /// The families of the entry's addresses; none for ports.
    pub fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let (first, second) = match self {
            SetEntry::Port(_) => (None, None),
            SetEntry::Ip(ip) | SetEntry::IpPort(ip, ..) => (Some(Family::of(*ip)), None),
            SetEntry::IpPortIp(ip, .., second) => (Some(Family::of(*ip)), Some(Family::of(*second))),
            SetEntry::IpPortNet(ip, .., net) => (Some(Family::of(*ip)), Some(Family::of_net(net))),
        };
        first.into_iter().chain(second)
    }

    /// A virtual server as a member of a set of VIPs.
    pub fn of_vip(server: VirtualServer) -> SetEntry {
        SetEntry::IpPort(server.address.ip(), server.protocol, server.address.port())
    }

    /// The entry without its source: the same VIP as a member of a set of VIPs.
    pub fn without_source(self) -> SetEntry {
        match self {
            SetEntry::IpPortIp(ip, protocol, port, _) | SetEntry::IpPortNet(ip, protocol, port, _) => {
                SetEntry::IpPort(ip, protocol, port)
            }
            SetEntry::Ip(_) | SetEntry::IpPort(..) | SetEntry::Port(_) => self,
        }
    }
}

impl fmt::Display for SetEntry {
    /// Prints the entry as `ipset list` does, except that a network of one address keeps its prefix length, so
    /// that the text can be parsed without knowing the set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetEntry::Ip(ip) => write!(f, "{ip}"),
            SetEntry::IpPort(ip, protocol, port) => write!(f, "{ip},{protocol}:{port}"),
            SetEntry::IpPortIp(ip, protocol, port, source) => write!(f, "{ip},{protocol}:{port},{source}"),
            SetEntry::IpPortNet(ip, protocol, port, net) => write!(f, "{ip},{protocol}:{port},{net}"),
            SetEntry::Port(port) => write!(f, "{port}"),
        }
    }
}

/// Text that is not an entry of any set type in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a set entry")]
pub struct BadEntry(pub String);

impl FromStr for SetEntry {
    type Err = BadEntry;

    fn from_str(text: &str) -> Result<SetEntry, BadEntry> {
        parse_entry(text).ok_or_else(|| BadEntry(text.to_owned()))
    }
}

fn parse_entry(text: &str) -> Option<SetEntry> {
    if let Ok(port) = text.parse() {
        return Some(SetEntry::Port(port));
    }
    let mut fields = text.split(',');
    let ip: IpAddr = fields.next()?.parse().ok()?;
    let Some(service) = fields.next() else { return Some(SetEntry::Ip(ip)) };
    let (protocol, port) = service.split_once(':')?;
    let (protocol, port) = (protocol.parse().ok()?, port.parse().ok()?);
    let entry = match fields.next() {
        None => SetEntry::IpPort(ip, protocol, port),
        Some(source) if source.contains('/') => SetEntry::IpPortNet(ip, protocol, port, source.parse().ok()?),
        Some(source) => SetEntry::IpPortIp(ip, protocol, port, source.parse().ok()?),
    };
    fields.next().is_none().then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back() {
        for text in [
            "10.96.0.1",
            "fd00::1",
            "10.96.0.1,tcp:443",
            "fd00::1,sctp:99",
            "10.0.0.1,udp:53,10.0.0.1",
            "10.0.0.1,tcp:443,10.0.0.0/8",
            "10.0.0.1,tcp:443,10.1.2.3/32",
            "30080",
        ] {
            assert_eq!(text.parse::<SetEntry>().unwrap().to_string(), text);
        }
        for text in ["", "70000", "10.0.0.1,tcp", "10.0.0.1,icmp:1", "10.0.0.1,tcp:1,2,3", "10.0.0.1,tcp:1,x"]
        {
            assert!(text.parse::<SetEntry>().is_err(), "{text}");
        }
    }
}
