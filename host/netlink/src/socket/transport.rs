//! The transport of the bytes: the kernel's socket, or a test's script.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use netlink_sys::{Socket as RawSocket, SocketAddr};

use super::{Errno, NetlinkError, options};

/// Room for one datagram. Dump parts grow with the reader's buffer up to 32 KiB; an ipset refusal echoes the
/// request, which has at most [`super::MAX_BATCH_BYTES`].
pub(crate) const RECEIVE_BYTES: usize = 128 * 1024;

/// The receive buffer requested from the kernel, which doubles the number.
const RECEIVE_QUEUE_BYTES: u32 = 1024 * 1024;

/// How long one receive blocks before the deadline is checked.
const RECEIVE_TICK: Duration = Duration::from_millis(250);

/// The netlink protocols of include/uapi/linux/netlink.h used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `NETLINK_ROUTE`: links and addresses.
    Route,
    /// `NETLINK_NETFILTER`: ipset, conntrack, nf_tables.
    Netfilter,
    /// `NETLINK_GENERIC`: IPVS.
    Generic,
}

impl Protocol {
    fn number(self) -> isize {
        match self {
            Protocol::Route => netlink_sys::protocols::NETLINK_ROUTE,
            Protocol::Netfilter => netlink_sys::protocols::NETLINK_NETFILTER,
            Protocol::Generic => netlink_sys::protocols::NETLINK_GENERIC,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Protocol::Route => "routes",
            Protocol::Netfilter => "netfilter",
            Protocol::Generic => "generic families",
        })
    }
}

/// Netlink's address of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortId(pub u32);

impl PortId {
    /// The kernel. Any process may send to our socket, so all other senders are ignored.
    pub const KERNEL: Self = Self(0);
}

/// Whether a receive may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// For at most the transport's own tick, then `EAGAIN`.
    Yes,
    /// `EAGAIN` at once if nothing is queued.
    No,
}

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The sender.
    pub from: PortId,
    /// Its full size; larger than the buffer if it was truncated.
    pub length: usize,
}

/// Sends and receives datagrams. Errors have the kernel's error number.
pub trait Transport {
    /// Sends one datagram to the kernel.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Replaces `buffer` with one datagram, truncated to the buffer's capacity.
    fn receive(&mut self, buffer: &mut Vec<u8>, wait: Wait) -> io::Result<Received>;
}

/// A netlink socket of this network namespace.
#[derive(Debug)]
pub struct KernelTransport {
    socket: RawSocket,
}

impl KernelTransport {
    /// Opens a socket with extended acknowledgements, short echoes and a large receive buffer.
    pub fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        let failed =
            |step| move |error: io::Error| NetlinkError::Open { protocol, step, source: Errno::from(error) };
        let mut socket = RawSocket::new(protocol.number()).map_err(failed("socket"))?;
        socket.bind_auto().map_err(failed("bind"))?;
        // Explanations, short echoes and strict checks came with Linux 4.12, 4.3 and 4.20. Without them, answers
        // are less detailed or longer, but never wrong: strict checks make the kernel filter dumps, and readers
        // filter again.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        if protocol == Protocol::Route {
            let _ = socket.set_netlink_get_strict_chk(true);
        }
        let fd = socket.as_raw_fd();
        // The forced size needs CAP_NET_ADMIN in the initial user namespace; batches are limited so that they fit
        // without it.
        if options::force_receive_buffer(fd, RECEIVE_QUEUE_BYTES).is_err() {
            socket.set_rx_buf_sz(RECEIVE_QUEUE_BYTES).map_err(failed("SO_RCVBUF"))?;
        }
        options::set_receive_timeout(fd, RECEIVE_TICK).map_err(failed("SO_RCVTIMEO"))?;
        Ok(Self { socket })
    }

    /// Joins a multicast group, by its `RTNLGRP_*` number.
    pub(crate) fn join(&self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }
}

impl Transport for KernelTransport {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0).map(|_| ())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, wait: Wait) -> io::Result<Received> {
        buffer.clear();
        let flags = match wait {
            Wait::Yes => libc::MSG_TRUNC,
            Wait::No => libc::MSG_TRUNC | libc::MSG_DONTWAIT,
        };
        let (length, sender) = self.socket.recv_from(buffer, flags)?;
        Ok(Received { from: PortId(sender.port_number()), length })
    }
}
