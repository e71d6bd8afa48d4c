//! Sockets of the three protocols with one interface: TCP and SCTP as streams, UDP connected.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use weir_core::net::{Family, Protocol};

/// Number of connections that may wait to be accepted.
const BACKLOG: i32 = 128;

fn socket(protocol: Protocol, family: Family) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let (kind, number) = match protocol {
        Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
        Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
        Protocol::Sctp => (Type::STREAM, socket2::Protocol::SCTP),
    };
    Socket::new(domain, kind, Some(number))
}

/// A socket that listens on all addresses of a family in the calling thread's namespace.
pub(super) fn listen(protocol: Protocol, family: Family, port: u16) -> io::Result<Socket> {
    let socket = socket(protocol, family)?;
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => {
            socket.set_only_v6(true)?;
            Ipv6Addr::UNSPECIFIED.into()
        }
    };
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(any, port).into())?;
    if protocol != Protocol::Udp {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

/// A socket connected to `target` from the calling thread's namespace; reads time out after `patience`.
pub(super) fn connect(protocol: Protocol, target: SocketAddr, patience: Duration) -> io::Result<Socket> {
    connect_by(socket(protocol, Family::of(target.ip()))?, target, patience)
}

/// Like [`connect`], from a given port.
pub(super) fn connect_from(
    port: u16,
    protocol: Protocol,
    target: SocketAddr,
    patience: Duration,
) -> io::Result<Socket> {
    let family = Family::of(target.ip());
    let socket = socket(protocol, family)?;
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(any, port).into())?;
    connect_by(socket, target, patience)
}

fn connect_by(socket: Socket, target: SocketAddr, patience: Duration) -> io::Result<Socket> {
    socket.connect_timeout(&target.into(), patience)?;
    socket.set_read_timeout(Some(patience))?;
    Ok(socket)
}
