use std::fmt;
use std::io;
use std::time::Duration;

use super::Protocol;
use crate::DecodeError;

/// A positive error number of the kernel.
///
/// Subsystems have their own numbers above 4096 (for ipset, see [`crate::ipset::SetError`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

/// The names from include/uapi/asm-generic/errno-base.h and errno.h that callers distinguish.
impl Errno {
    /// Not permitted: `CAP_NET_ADMIN` is missing.
    pub const EPERM: Self = Self(libc::EPERM);
    /// No such entry, scheduler, set or family.
    pub const ENOENT: Self = Self(libc::ENOENT);
    /// No such virtual server.
    pub const ESRCH: Self = Self(libc::ESRCH);
    /// Interrupted by a signal.
    pub const EINTR: Self = Self(libc::EINTR);
    /// Nothing to receive before the timeout.
    pub const EAGAIN: Self = Self(libc::EAGAIN);
    /// The kernel is short of memory.
    pub const ENOMEM: Self = Self(libc::ENOMEM);
    /// Forbidden by a setting, such as IPv6 disabled on a device.
    pub const EACCES: Self = Self(libc::EACCES);
    /// Another dump is in progress on this socket.
    pub const EBUSY: Self = Self(libc::EBUSY);
    /// It already exists.
    pub const EEXIST: Self = Self(libc::EEXIST);
    /// No such device.
    pub const ENODEV: Self = Self(libc::ENODEV);
    /// The kernel does not understand the request, or the subsystem does not exist.
    pub const EINVAL: Self = Self(libc::EINVAL);
    /// The message is larger than a buffer.
    pub const EMSGSIZE: Self = Self(libc::EMSGSIZE);
    /// The address is not on the device.
    pub const EADDRNOTAVAIL: Self = Self(libc::EADDRNOTAVAIL);
    /// The receive buffer overflowed; answers are lost.
    pub const ENOBUFS: Self = Self(libc::ENOBUFS);
    /// The kernel does not support the address family.
    pub const EAFNOSUPPORT: Self = Self(libc::EAFNOSUPPORT);
    /// Not supported by this kernel.
    pub const EOPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(formatter)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Errno({}: {self})", self.0)
    }
}

impl std::error::Error for Errno {}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        // Only an error created outside the kernel has no number; transports do not create such errors.
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// Why a request has no result. `operation` is a short description such as `create set`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be opened.
    #[error("cannot open a netlink socket for {protocol}: {step}")]
    Open {
        /// The netlink protocol.
        protocol: Protocol,
        /// The call that failed.
        step: &'static str,
        /// Why.
        source: Errno,
    },
    /// The request could not be sent.
    #[error("{operation}: sending failed")]
    Send {
        /// The operation.
        operation: &'static str,
        /// Why.
        source: Errno,
    },
    /// The answer could not be received; whether the request was executed is unknown.
    #[error("{operation}: receiving failed")]
    Receive {
        /// The operation.
        operation: &'static str,
        /// Why.
        source: Errno,
    },
    /// The kernel refused the request.
    #[error("{operation}: refused by the kernel{}", Text(.text))]
    Refused {
        /// The operation.
        operation: &'static str,
        /// The kernel's explanation, if it gives one.
        text: Option<String>,
        /// The kernel's error number.
        source: Errno,
    },
    /// Something changed during the dump, so it may be incomplete and must be repeated.
    #[error("{operation}: the dump was interrupted by a change and may be incomplete")]
    Interrupted {
        /// The operation.
        operation: &'static str,
    },
    /// The receive buffer overflowed: the request may have been executed, and the state must be read again.
    #[error("{operation}: answers from the kernel were lost, so the state must be read again")]
    Overrun {
        /// The operation.
        operation: &'static str,
    },
    /// No answer before the deadline: the socket must be reopened and the state read again.
    #[error("{operation}: no answer after {after:?}")]
    Timeout {
        /// The operation.
        operation: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// An earlier batch broke the socket, and this request was not sent.
    #[error("{operation}: not sent, because the socket failed earlier")]
    NotSent {
        /// The operation.
        operation: &'static str,
    },
    /// The request is larger than the socket's send buffer.
    #[error("{operation}: {bytes} bytes do not fit into one message")]
    TooLarge {
        /// The operation.
        operation: &'static str,
        /// Size of the message.
        bytes: usize,
    },
    /// The answer could not be decoded.
    #[error("{operation}: cannot decode the answer")]
    Decode {
        /// The operation.
        operation: &'static str,
        /// Why.
        source: DecodeError,
    },
    /// The kernel acknowledged a query without sending an answer.
    #[error("{operation}: the kernel acknowledged the request but sent no answer")]
    NoAnswer {
        /// The operation.
        operation: &'static str,
    },
}

/// The kernel's own text in parentheses, or nothing.
struct Text<'a>(&'a Option<String>);

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(formatter, " ({text})"),
            None => Ok(()),
        }
    }
}

impl NetlinkError {
    /// The error number of the kernel's refusal; `None` for any other error.
    pub fn refused_with(&self) -> Option<Errno> {
        match self {
            Self::Refused { source, .. } => Some(*source),
            _ => None,
        }
    }

    /// Whether the socket must be replaced, because an answer may still arrive or cannot be read.
    pub fn needs_new_socket(&self) -> bool {
        match self {
            Self::Open { .. }
            | Self::Send { .. }
            | Self::Receive { .. }
            | Self::Timeout { .. }
            | Self::NotSent { .. } => true,
            Self::Refused { .. }
            | Self::Interrupted { .. }
            | Self::Overrun { .. }
            | Self::TooLarge { .. }
            | Self::Decode { .. }
            | Self::NoAnswer { .. } => false,
        }
    }
}
