//! Whether a rule matches a packet.

use std::net::{IpAddr, SocketAddr};

use super::Origin;
use super::walk::Walk;
use crate::net::Family;
use crate::rule::{ConnectionState, Match, Sense, Side};
use crate::set::{SetEntry, SetName, SetType};

impl Walk<'_> {
    /// Whether the packet, in its current form, passes a test.
    pub(super) fn passes(&self, test: &Match) -> bool {
        match test {
            Match::Source(sense, net) => holds(*sense, net.contains(&self.packet.source.ip())),
            Match::InInterface(sense, pattern) => holds(*sense, self.came_by(pattern)),
            Match::Protocol(protocol) => self.packet.protocol == *protocol,
            Match::Comment(_) => true,
            Match::Set(sense, name, sides) => holds(*sense, self.is_in_set(name, sides)),
            Match::Mark(sense, value, mask) => holds(*sense, self.mark & mask == *value),
            Match::LocalAddress(sense, side) => holds(*sense, self.is_local(self.side(*side).ip())),
            Match::BridgedIn(sense) => holds(*sense, matches!(self.packet.origin, Origin::Bridge(_))),
            // The packet is the first of its connection.
            Match::ConnectionState(states) => states.contains(&ConnectionState::New),
            Match::VirtualServer(protocol, ip, port) => self.server.is_some_and(|server| {
                server.protocol == *protocol && server.address == SocketAddr::new(*ip, *port)
            }),
        }
    }

    fn came_by(&self, pattern: &str) -> bool {
        match (&self.packet.origin, pattern.strip_suffix('+')) {
            (Origin::Host, _) => false,
            (Origin::Interface(name) | Origin::Bridge(name), Some(prefix)) => name.starts_with(prefix),
            (Origin::Interface(name) | Origin::Bridge(name), None) => name == pattern,
        }
    }

    /// Whether the address belongs to an interface of the host, the dummy device or loopback.
    pub(super) fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback()
            || self.host.iter().any(|host| host.address == ip)
            || self.state.addresses.contains_key(&ip)
    }

    fn side(&self, side: Side) -> SocketAddr {
        match side {
            Side::Source => self.packet.source,
            Side::Destination => self.packet.destination,
        }
    }

    fn is_in_set(&self, name: &str, sides: &[Side]) -> bool {
        // A rule may refer to another program's set, whose entries are unknown.
        let Ok(name) = name.parse::<SetName>() else { return false };
        let protocol = self.packet.protocol;
        let wanted = |entry| self.state.entries.contains_key(&(name, entry));
        let at = |i: usize| sides.get(i).map(|side| self.side(*side));
        let fields = (at(0), at(1), at(2));
        let family_fits = Family::of(self.packet.source.ip()) == name.family;
        match (name.set.set_type(), fields) {
            // Ports have no family, and the type does not check the protocol (`ip_set_bitmap_port.c`).
            (SetType::BitmapPort, (Some(a), ..)) => wanted(SetEntry::Port(a.port())),
            _ if !family_fits => false,
            (SetType::HashIp, (Some(a), ..)) => wanted(SetEntry::Ip(a.ip())),
            (SetType::HashIpPort, (Some(a), Some(b), _)) => {
                wanted(SetEntry::IpPort(a.ip(), protocol, b.port()))
            }
            (SetType::HashIpPortIp, (Some(a), Some(b), Some(c))) => {
                wanted(SetEntry::IpPortIp(a.ip(), protocol, b.port(), c.ip()))
            }
            (SetType::HashIpPortNet, (Some(a), Some(b), Some(c))) => {
                self.state.entries_of(name).any(|entry| {
                    matches!(entry, SetEntry::IpPortNet(ip, of, port, net)
                    if (ip, of, port) == (a.ip(), protocol, b.port()) && net.contains(&c.ip()))
                })
            }
            // A set with more dimensions than the rule gives never matches (`ip_set_test`).
            _ => false,
        }
    }
}

fn holds(sense: Sense, is: bool) -> bool {
    match sense {
        Sense::Is => is,
        Sense::Not => !is,
    }
}
