use std::ops::{Add, Sub};

/// What went through a socket; exact, so that a benchmark may expect exact numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that were sent.
    pub messages: u64,
    /// Calls of `sendto`, those ended by a signal included.
    pub sends: u64,
    /// Calls of `recvfrom`, those ended by a signal or by the receive timeout included.
    pub receives: u64,
    /// Bytes sent, netlink headers included.
    pub bytes_sent: u64,
    /// Bytes received from the kernel, netlink headers included.
    pub bytes_received: u64,
    /// Datagrams of another sender and answers to requests given up earlier.
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
