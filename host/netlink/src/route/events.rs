use std::time::{Duration, Instant};

use super::{LinkIndex, address, link};
use super::{RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK};
use crate::DecodeError;
use crate::socket::{KernelTransport, Messages, NetlinkError, PortId, Protocol, Transport, Wait};
use crate::{Errno, socket::RECEIVE_BYTES};

/// Groups of include/uapi/linux/rtnetlink.h.
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;

/// The operation's name in errors.
const WATCH: &str = "watch links and addresses";

/// Something changed; what it is now must be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The link of this number and name was made, changed or removed. The name is empty if the kernel left it out.
    Link(LinkIndex, String),
    /// An address of this link was added, changed or removed.
    Address(LinkIndex),
    /// Events were lost: anything may have changed.
    Overflow,
}

/// A stream of changes of this network namespace's links and addresses.
#[derive(Debug)]
pub struct Events<T = KernelTransport> {
    transport: T,
    buffer: Vec<u8>,
}

impl Events<KernelTransport> {
    /// Subscribes. Changes from now on are reported, so what should not be missed is read after this.
    pub fn open() -> Result<Self, NetlinkError> {
        let transport = KernelTransport::open(Protocol::Route)?;
        for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR] {
            transport.join(group).map_err(|error| NetlinkError::Open {
                protocol: Protocol::Route,
                step: "NETLINK_ADD_MEMBERSHIP",
                source: Errno::from(error),
            })?;
        }
        Ok(Self::over(transport))
    }
}

impl<T: Transport> Events<T> {
    /// Uses a transport that is subscribed already.
    pub fn over(transport: T) -> Self {
        Self { transport, buffer: Vec::with_capacity(RECEIVE_BYTES) }
    }

    /// Waits for changes and returns those of one datagram; none when there was none within `timeout`.
    ///
    /// An answer that cannot be read counts as [`Event::Overflow`]: it may have been anything.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<Event>, NetlinkError> {
        let started = Instant::now();
        loop {
            match self.transport.receive(&mut self.buffer, Wait::Yes).map_err(Errno::from) {
                Ok(received) if received.from != PortId::KERNEL => {}
                Ok(received) if received.length > self.buffer.len() => return Ok(vec![Event::Overflow]),
                Ok(_) => {
                    let events = decode_event(&self.buffer).unwrap_or_else(|_| vec![Event::Overflow]);
                    if !events.is_empty() {
                        return Ok(events);
                    }
                }
                Err(Errno::ENOBUFS) => return Ok(vec![Event::Overflow]),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(source) => return Err(NetlinkError::Receive { operation: WATCH, source }),
            }
            if started.elapsed() >= timeout {
                return Ok(Vec::new());
            }
        }
    }
}

/// Reads the changes in one datagram.
pub fn decode_event(datagram: &[u8]) -> Result<Vec<Event>, DecodeError> {
    let mut events = Vec::new();
    for message in Messages::of(datagram) {
        let message = message?;
        let event = match message.kind {
            RTM_NEWLINK | RTM_DELLINK => {
                let (index, name) = link::identity(message.body)?;
                Event::Link(index, name)
            }
            RTM_NEWADDR | RTM_DELADDR => Event::Address(address::link_of(message.body)?),
            _ => continue,
        };
        if !events.contains(&event) {
            events.push(event);
        }
    }
    Ok(events)
}
