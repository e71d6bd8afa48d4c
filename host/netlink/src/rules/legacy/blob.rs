use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use crate::{DecodeError, Family};

/// The offsets of an entry's fields; the rest of the entry is matches and a target.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The offsets of the target and of the next entry: two 16-bit numbers.
    offsets: usize,
    /// Packet and byte counters.
    counters: Range<usize>,
}

impl Layout {
    /// `struct ipt_entry` or `struct ip6t_entry`.
    pub const fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self { offsets: 88, counters: 96..112 },
            Family::V6 => Self { offsets: 140, counters: 152..168 },
        }
    }
}

/// `struct xt_entry_target`: size, name, revision.
const TARGET_HEADER: usize = 32;
/// The target that marks the start of a chain and the end of the table (`XT_ERROR_TARGET`).
const ERROR_TARGET: &[u8] = b"ERROR";

/// What is known about a table without interpreting its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// A hash of all rules without their counters, comparable within one run of this program.
    pub fingerprint: u64,
    /// The names of user-defined chains.
    pub chains: Vec<String>,
}

impl Table {
    /// Decodes the entries of a table.
    pub fn decode(entries: &[u8], layout: Layout) -> Result<Self, DecodeError> {
        let mut hasher = DefaultHasher::new();
        let mut chains = Vec::new();
        let mut rest = entries;
        while !rest.is_empty() {
            let (entry, target) = split(rest, &layout)?;
            rest = &rest[entry.len()..];
            hasher.write(&entry[..layout.counters.start]);
            hasher.write(&entry[layout.counters.end..]);
            if let Some(name) = chain_name(target) {
                chains.push(name);
            }
        }
        Ok(Self { fingerprint: hasher.finish(), chains })
    }
}

/// The first entry and its target.
fn split<'a>(rest: &'a [u8], layout: &Layout) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    let what = "table entry";
    let needed = layout.counters.end;
    let short = DecodeError::Short { what, needed, found: rest.len() };
    let head = rest.get(..needed).ok_or(short)?;
    let half = |at: usize| usize::from(u16::from_ne_bytes([head[at], head[at + 1]]));
    let (target, next) = (half(layout.offsets), half(layout.offsets + 2));
    let entry = rest
        .get(..next)
        .filter(|entry| entry.len() >= needed)
        .ok_or(DecodeError::Value { what, value: next as u64 })?;
    let target = entry.get(target..).ok_or(DecodeError::Value { what, value: target as u64 })?;
    Ok((entry, target))
}

/// The name in an error target; the table's last entry is also one, named `ERROR`.
fn chain_name(target: &[u8]) -> Option<String> {
    let (header, name) = target.split_at_checked(TARGET_HEADER)?;
    if until_zero(&header[2..31]) != ERROR_TARGET {
        return None;
    }
    let name = until_zero(name);
    (name != ERROR_TARGET).then(|| String::from_utf8_lossy(name).into_owned())
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}
