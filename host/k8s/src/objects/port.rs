//! Ports and protocols of Services and EndpointSlices.

use std::num::NonZeroU16;

use serde_json::Number;
use weir_core::net::Protocol;

use crate::problem::Problems;

/// Parses a port number. `what` names what is left out if it is invalid.
pub(super) fn number(
    port: Option<&Number>,
    field: String,
    what: &str,
    problems: &mut Problems,
) -> Option<NonZeroU16> {
    let valid =
        port.and_then(Number::as_u64).and_then(|port| u16::try_from(port).ok()).and_then(NonZeroU16::new);
    if valid.is_none() {
        let found = port.map(Number::to_string).unwrap_or_default();
        problems.note(field, found, format!("must be a port number from 1 to 65535; {what} is left out"));
    }
    valid
}

/// Parses a port number that may be absent or 0.
pub(super) fn optional(
    port: Option<&Number>,
    field: String,
    what: &str,
    problems: &mut Problems,
) -> Option<NonZeroU16> {
    let port = port.filter(|port| port.as_u64() != Some(0))?;
    number(Some(port), field, what, problems)
}

/// Parses a protocol; the default is TCP.
pub(super) fn protocol(text: &str, field: String, problems: &mut Problems) -> Option<Protocol> {
    match text {
        "" | "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => {
            problems.note(field, text, "must be one of TCP, UDP, SCTP; the port is left out");
            None
        }
    }
}
