use std::ops::{Add, Sub};

/// The traffic of a socket; exact, so that a benchmark may expect exact numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests sent.
    pub messages: u64,
    /// Calls of `sendto`, including those interrupted by a signal.
    pub sends: u64,
    /// Calls of `recvfrom`, including those interrupted by a signal or the receive timeout.
    pub receives: u64,
    /// Bytes sent, including netlink headers.
    pub bytes_sent: u64,
    /// Bytes received from the kernel, including netlink headers.
    pub bytes_received: u64,
    /// Datagrams from other senders, and answers to requests abandoned earlier.
    pub ignored: u64,
}

impl Add for Counters {
    type Output = Self;

    /// The traffic of two sockets together.
    fn add(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            sends: self.sends + other.sends,
            receives: self.receives + other.receives,
            bytes_sent: self.bytes_sent + other.bytes_sent,
            bytes_received: self.bytes_received + other.bytes_received,
            ignored: self.ignored + other.ignored,
        }
    }
}

impl Sub for Counters {
    type Output = Self;

    /// The traffic since `earlier`, an older value of the same socket's counters.
    fn sub(self, earlier: Self) -> Self {
        Self {
            messages: self.messages - earlier.messages,
            sends: self.sends - earlier.sends,
            receives: self.receives - earlier.receives,
            bytes_sent: self.bytes_sent - earlier.bytes_sent,
            bytes_received: self.bytes_received - earlier.bytes_received,
            ignored: self.ignored - earlier.ignored,
        }
    }
}
