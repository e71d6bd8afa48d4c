//! Picks an example packet that shows how a node works.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Origin, Packet};
use crate::net::{Family, Protocol};
use crate::state::{RealServer, Server, VirtualServer, Weight};

/// The maximum number of virtual servers inspected.
const LOOKED_AT: usize = 1000;

/// More real servers would not make a better example.
const ENOUGH: usize = 3;

/// The source port; none of our rules matches on it.
const SOURCE_PORT: u16 = 40_000;

/// The first packet of a connection to one of these virtual servers, entering through an interface of the node,
/// from an endpoint of another virtual server, as a pod would send it. `None` if no virtual server takes
/// connections. The result is the same for the same virtual servers.
pub fn example<'a>(
    servers: impl IntoIterator<Item = (VirtualServer, &'a Server)>,
) -> Option<(VirtualServer, Packet)> {
    let servers: Vec<(VirtualServer, &Server)> = servers.into_iter().take(LOOKED_AT).collect();
    let takers =
        |behind: &Server| behind.real_servers().filter(|(_, weight)| *weight != Weight::QUIESCED).count();
    let tcp =
        servers.iter().filter(|(server, behind)| server.protocol == Protocol::Tcp && takers(behind) > 0);
    let (server, behind) = tcp.min_by_key(|(_, behind)| Reverse(takers(behind).min(ENOUGH)))?;
    let family = server.family();
    let is_other = |real: &RealServer| !behind.real_servers().any(|(own, _)| own.0.ip() == real.0.ip());
    let all = servers.iter().flat_map(|(_, behind)| behind.real_servers.keys());
    let client = all.filter(|real| Family::of(real.0.ip()) == family).find(|real| is_other(real));
    // Addresses for documentation (RFC 5737, RFC 3849).
    let outside = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    let source = SocketAddr::new(client.map_or(outside, |real| real.0.ip()), SOURCE_PORT);
    let origin = Origin::Interface("eth0".to_owned());
    Some((*server, Packet { protocol: server.protocol, source, destination: server.address, origin }))
}
