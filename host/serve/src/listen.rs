//! Listening sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// The most connections that wait to be accepted. The kernel limits it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Which clients can reach a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Clients of the address's family.
    OneFamily,
    /// Clients of both families, if the address is `0.0.0.0` or `[::]`. Go treats both alike (`net.Listen("tcp", …)`),
    /// so kube-proxy's default `0.0.0.0:10256` also answers probes over IPv6.
    BothIfUnspecified,
}

/// Starts listening, in non-blocking mode.
pub(crate) fn bind(address: SocketAddr, reach: Reach) -> Result<TcpListener, BindError> {
    let both = reach == Reach::BothIfUnspecified && address.ip().is_unspecified();
    let attempt = match both {
        true => match open((Ipv6Addr::UNSPECIFIED, address.port()).into(), reach) {
            Err(error) if lacks_family(&error) => {
                open((Ipv4Addr::UNSPECIFIED, address.port()).into(), Reach::OneFamily)
            }
            other => other,
        },
        false => open(address, Reach::OneFamily),
    };
    attempt.map_err(|source| BindError { address, source })
}

fn open(address: SocketAddr, reach: Reach) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(reach == Reach::OneFamily)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether the kernel runs without IPv6 (`ipv6.disable=1`).
fn lacks_family(error: &io::Error) -> bool {
    // `EAFNOSUPPORT`, for which std has no name, in `include/uapi/asm-generic/errno.h`.
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Stops listening at once, even while another thread waits for connections on the same socket. Another socket may
/// listen there from then on (`inet_shutdown` in `net/ipv4/af_inet.c` takes a listening socket down, and both have
/// `SO_REUSEADDR`).
pub(crate) fn hang_up(listener: &TcpListener) {
    // Fails only if the socket is already down.
    let _ = SockRef::from(listener).shutdown(std::net::Shutdown::Both);
}
