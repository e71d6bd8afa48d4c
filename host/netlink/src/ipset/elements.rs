//! Adds and removes elements, many per message.
//!
//! The kernel processes the elements of a message in order until it refuses one, and keeps the changes made until
//! then. Its refusal echoes the message with the line number of the refused element.

use netlink_packet_core::NLM_F_EXCL;

use super::attributes::{
    IPSET_ATTR_ADT, IPSET_ATTR_DATA, IPSET_ATTR_LINENO, IPSET_ATTR_SETNAME, IPSET_CMD_ADD, IPSET_CMD_DEL,
};
use super::{Code, Element, Existing, SetError, begin, kind};
use crate::attribute::Writer;
use crate::netfilter;
use crate::socket::{Refusal, Request, Socket, Transport};

/// Whether to add or remove an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Add it.
    Add,
    /// Remove it.
    Delete,
}

/// An element to add to or remove from a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementChange<'a> {
    /// The set's name.
    pub set: &'a str,
    /// The action.
    pub action: Action,
    /// The element.
    pub element: &'a Element,
}

/// Bytes of elements after which a message is closed. A container's length is a 16-bit number, and an element has
/// at most 84 bytes.
const MAX_CONTAINER_BYTES: usize = 60 * 1024;

/// How often a message is sent again without its refused elements. Elements are refused one at a time, so a
/// message with only refused elements would otherwise be sent once per element.
const MAX_ROUNDS: usize = 64;

/// Size of the netlink header before an echoed message.
const NETLINK_HEADER: usize = 16;

/// The changes of one message, by index: all for one set and one action.
struct Group {
    members: Vec<usize>,
    request: Request,
}

pub(super) fn apply<T: Transport>(
    socket: &mut Socket<T>,
    protocol: u8,
    changes: &[ElementChange<'_>],
    existing: Existing,
) -> Vec<Result<(), SetError>> {
    let mut results = changes.iter().map(refuse_opaque).collect::<Vec<_>>();
    let mut waiting = (0..changes.len()).filter(|index| results[*index].is_ok()).collect::<Vec<_>>();
    for round in 1..=MAX_ROUNDS {
        if waiting.is_empty() {
            break;
        }
        let groups = group(protocol, changes, &waiting, existing);
        let requests = groups.iter().map(|group| group.request.clone()).collect::<Vec<_>>();
        let answers = socket.exchange(&requests, &mut |_, _| {});
        waiting.clear();
        for (group, answer) in groups.iter().zip(answers) {
            let Err(refusal) = answer else { continue };
            let failed = Failed::of(group, refusal, changes);
            let give_up = round == MAX_ROUNDS || failed.is_hopeless();
            for (place, index) in group.members.iter().enumerate().skip(failed.first) {
                if place == failed.first || give_up {
                    results[*index] = Err(failed.error.clone());
                } else {
                    waiting.push(*index);
                }
            }
        }
    }
    results
}

fn refuse_opaque(change: &ElementChange<'_>) -> Result<(), SetError> {
    match change.element {
        Element::Opaque(_) => Err(SetError::OpaqueElement { operation: operation(change.action) }),
        _ => Ok(()),
    }
}

/// Packs consecutive changes with the same set and action into one message.
fn group(protocol: u8, changes: &[ElementChange<'_>], waiting: &[usize], existing: Existing) -> Vec<Group> {
    let mut groups = Vec::new();
    let same = |left: &usize, right: &usize| {
        let (left, right) = (&changes[*left], &changes[*right]);
        left.set == right.set && left.action == right.action
    };
    for run in waiting.chunk_by(same) {
        let mut rest = run;
        while let Some(first) = rest.first() {
            let (request, taken) = message(protocol, &changes[*first], changes, rest, existing);
            groups.push(Group { members: rest[..taken].to_vec(), request });
            rest = &rest[taken..];
        }
    }
    groups
}

/// One message with as many of `members` as fit, and their number.
fn message(
    protocol: u8,
    first: &ElementChange<'_>,
    changes: &[ElementChange<'_>],
    members: &[usize],
    existing: Existing,
) -> (Request, usize) {
    let mut writer = begin(protocol);
    writer.text(IPSET_ATTR_SETNAME, first.set);
    // In its echo, the kernel writes the refused element's line into this attribute.
    writer.u32(IPSET_ATTR_LINENO, 0);
    let mut taken = 0;
    writer.nested(IPSET_ATTR_ADT, |writer| {
        let start = writer.len();
        for index in members {
            if writer.len() - start > MAX_CONTAINER_BYTES {
                break;
            }
            taken += 1;
            encode(writer, changes[*index].element, line(taken - 1));
        }
    });
    let command = match first.action {
        Action::Add => IPSET_CMD_ADD,
        Action::Delete => IPSET_CMD_DEL,
    };
    let exclusive = match existing {
        Existing::Accept => 0,
        Existing::Refuse => NLM_F_EXCL,
    };
    let request = Request::new(operation(first.action), kind(command), writer.into_bytes());
    (request.with_flags(exclusive), taken)
}

fn encode(writer: &mut Writer, element: &Element, line: u32) {
    writer.nested(IPSET_ATTR_DATA, |writer| {
        element.encode(writer);
        writer.u32(IPSET_ATTR_LINENO, line);
    });
}

/// Lines are numbered from 1, because the kernel does not report line 0.
fn line(place: usize) -> u32 {
    place as u32 + 1
}

fn operation(action: Action) -> &'static str {
    match action {
        Action::Add => "add set elements",
        Action::Delete => "delete set elements",
    }
}

/// Where and why a message failed.
struct Failed {
    /// The position of the refused element in its message; 0 if the whole message was refused.
    first: usize,
    whole: bool,
    error: SetError,
}

impl Failed {
    fn of(group: &Group, refusal: Refusal, changes: &[ElementChange<'_>]) -> Self {
        let place = refused_line(&refusal.echo)
            .and_then(|line| usize::try_from(line).ok()?.checked_sub(1))
            .filter(|place| *place < group.members.len());
        let first = place.unwrap_or(0);
        let change = &changes[group.members[first]];
        let error = refusal.into_error(operation(change.action));
        let error = SetError::of(error, change.element.set_type().as_ref());
        Self { first, whole: place.is_none(), error }
    }

    /// Whether the elements after the refused one would be refused, too.
    fn is_hopeless(&self) -> bool {
        self.whole || self.error.code() == Some(Code::HashFull)
    }
}

/// The line in the echo of a refused message; `None` if the whole message was refused.
fn refused_line(echo: &[u8]) -> Option<u32> {
    let body = echo.get(NETLINK_HEADER..)?;
    let line = netfilter::attributes(body, "echo").ok()?.find(IPSET_ATTR_LINENO).ok()??.u32().ok()?;
    (line != 0).then_some(line)
}
