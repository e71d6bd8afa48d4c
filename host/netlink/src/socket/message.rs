//! The netlink header and the messages that end a request.

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP,
    NLMSG_OVERRUN, NetlinkHeader,
};

use super::{Errno, NetlinkError};
use crate::DecodeError;
use crate::attribute;

/// `NLMSG_HDRLEN` of include/uapi/linux/netlink.h.
pub(super) const HEADER: usize = 16;

/// `NLM_F_CAPPED` of include/uapi/linux/netlink.h: the refused request is not echoed.
const NLM_F_CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS` of include/uapi/linux/netlink.h: attributes explain the answer.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG` of include/uapi/linux/netlink.h.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One request: a netlink message without its sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The operation, for errors: a verb and a noun.
    pub operation: &'static str,
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// A query or a change; `kind` is the netlink message type, `body` the bytes after the netlink header.
    pub fn new(operation: &'static str, kind: u16, body: Vec<u8>) -> Self {
        Self { operation, kind, flags: NLM_F_REQUEST, body }
    }

    /// Adds `NLM_F_*` flags.
    pub fn with_flags(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }

    /// A dump: refused, or answered by parts and an end.
    pub fn dump(operation: &'static str, kind: u16, body: Vec<u8>) -> Self {
        // Without the acknowledgement flag, ipset would not report that the set to dump does not exist.
        Self::new(operation, kind, body).with_flags(NLM_F_DUMP | NLM_F_ACK)
    }

    /// The bytes after the netlink header.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn encoded_len(&self) -> usize {
        (HEADER + self.body.len()).next_multiple_of(4)
    }

    pub(super) fn encode(&self, sequence: u32, more_flags: u16, bytes: &mut Vec<u8>) {
        let mut header = NetlinkHeader::default();
        header.length = (HEADER + self.body.len()) as u32;
        header.message_type = self.kind;
        header.flags = self.flags | more_flags;
        header.sequence_number = sequence;
        let start = bytes.len();
        bytes.resize(start + HEADER, 0);
        header.emit(&mut bytes[start..]);
        bytes.extend_from_slice(&self.body);
        bytes.resize(start + self.encoded_len(), 0);
    }
}

/// One received message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) kind: u16,
    pub(crate) body: &'a [u8],
    flags: u16,
    pub(super) sequence: u32,
}

/// A failed request, with the kernel's echo of it.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    cause: Cause,
    /// The refused message with its netlink header; empty if the kernel did not echo it.
    pub(crate) echo: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Cause {
    Kernel { errno: Errno, text: Option<String> },
    Socket(NetlinkError),
}

impl From<NetlinkError> for Refusal {
    fn from(error: NetlinkError) -> Self {
        Self { cause: Cause::Socket(error), echo: Vec::new() }
    }
}

impl Refusal {
    pub(crate) fn into_error(self, operation: &'static str) -> NetlinkError {
        match self.cause {
            Cause::Kernel { errno, text } => NetlinkError::Refused { operation, text, source: errno },
            Cause::Socket(error) => error,
        }
    }

    pub(super) fn error_breaks_socket(&self) -> bool {
        match &self.cause {
            Cause::Kernel { .. } => false,
            Cause::Socket(error) => error.needs_new_socket(),
        }
    }
}

impl<'a> Incoming<'a> {
    /// Messages about the transport itself; no current kernel sends them, and they answer nothing.
    pub(super) fn is_noise(&self) -> bool {
        matches!(self.kind, NLMSG_NOOP | NLMSG_OVERRUN)
    }

    pub(super) fn interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    /// The end of a request, or `None` for a message that carries data.
    pub(super) fn verdict(&self) -> Result<Option<Result<(), Refusal>>, DecodeError> {
        Ok(match self.kind {
            NLMSG_ERROR => Some(self.error()?),
            NLMSG_DONE => Some(self.done()?),
            _ => None,
        })
    }

    fn code(&self, what: &'static str) -> Result<i32, DecodeError> {
        let short = DecodeError::Short { what, needed: 4, found: self.body.len() };
        self.body.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(short)
    }

    /// `struct nlmsgerr` of include/uapi/linux/netlink.h: code, the request's header, its body unless capped,
    /// attributes.
    fn error(&self) -> Result<Result<(), Refusal>, DecodeError> {
        let code = self.code("netlink error")?;
        if code == 0 {
            return Ok(Ok(()));
        }
        let request = self.body.get(4..4 + HEADER).ok_or(DecodeError::Short {
            what: "netlink error",
            needed: 4 + HEADER,
            found: self.body.len(),
        })?;
        let echoed = u32::from_ne_bytes([request[0], request[1], request[2], request[3]]) as usize;
        let capped = self.flags & NLM_F_CAPPED != 0;
        let echo_end = if capped { 4 + HEADER } else { 4 + echoed.max(HEADER).next_multiple_of(4) };
        let echo = if capped { &[][..] } else { &self.body[4..self.body.len().min(4 + echoed.max(HEADER))] };
        let text = self.text(echo_end)?;
        Ok(Err(Refusal {
            cause: Cause::Kernel { errno: Errno(code.wrapping_abs()), text },
            echo: echo.to_vec(),
        }))
    }

    fn done(&self) -> Result<Result<(), Refusal>, DecodeError> {
        // Some dumps end with a bare header.
        if self.body.is_empty() {
            return Ok(Ok(()));
        }
        let code = self.code("end of dump")?;
        if code >= 0 {
            return Ok(Ok(()));
        }
        let text = self.text(4)?;
        let cause = Cause::Kernel { errno: Errno(code.wrapping_abs()), text };
        Ok(Err(Refusal { cause, echo: Vec::new() }))
    }

    fn text(&self, offset: usize) -> Result<Option<String>, DecodeError> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return Ok(None);
        }
        attribute::read_after(self.body, offset, "extended acknowledgement")?
            .find(NLMSGERR_ATTR_MSG)?
            .map(|text| text.text())
            .transpose()
    }
}

/// Iterates over the messages of one datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) fn of(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Incoming<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let short = DecodeError::Short { what: "netlink message", needed: HEADER, found: self.rest.len() };
        let Some((header, _)) = self.rest.split_first_chunk::<HEADER>() else {
            self.rest = &[];
            return Some(Err(short));
        };
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = word(0) as usize;
        let Some(body) = self.rest.get(HEADER..length) else {
            let needed = length.max(HEADER);
            let found = self.rest.len();
            self.rest = &[];
            return Some(Err(DecodeError::Short { what: "netlink message", needed, found }));
        };
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Ok(Incoming { kind: half(4), flags: half(6), sequence: word(8), body }))
    }
}
