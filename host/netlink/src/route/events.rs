use std::time::{Duration, Instant};

use super::{LinkIndex, address, link};
use super::{RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK};
use crate::DecodeError;
use crate::socket::{KernelTransport, Messages, NetlinkError, PortId, Protocol, Transport, Wait};
use crate::{Errno, socket::RECEIVE_BYTES};

/// Groups from include/uapi/linux/rtnetlink.h.
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;

/// The operation's name in errors.
const WATCH: &str = "watch links and addresses";

/// A notice that something changed; the new state must be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The link with this index and name was created, changed or deleted. The name is empty if the kernel did not
    /// send it.
    Link(LinkIndex, String),
    /// An address of this link was added, changed or deleted.
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
    /// Subscribes to changes from now on. Read the current state afterwards, so that no change is missed.
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
    /// Uses a transport that is already subscribed.
    pub fn over(transport: T) -> Self {
        Self { transport, buffer: Vec::with_capacity(RECEIVE_BYTES) }
    }

    /// Waits for changes and returns those of one datagram; empty if none arrived within `timeout`.
    ///
    /// A message that cannot be decoded counts as [`Event::Overflow`], because it may have reported any change.
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

/// Decodes the changes in one datagram.
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
