//! A set's kind: its type and size.

use std::fmt;
use std::str::FromStr;

use crate::net::Family;

/// The ipset types in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetType {
    /// `hash:ip`
    HashIp,
    /// `hash:ip,port`
    HashIpPort,
    /// `hash:ip,port,ip`
    HashIpPortIp,
    /// `hash:ip,port,net`
    HashIpPortNet,
    /// `bitmap:port`
    BitmapPort,
}

impl SetType {
    /// All types.
    pub const ALL: [SetType; 5] = [
        SetType::HashIp,
        SetType::HashIpPort,
        SetType::HashIpPortIp,
        SetType::HashIpPortNet,
        SetType::BitmapPort,
    ];

    /// The kernel's name for the type.
    pub fn name(self) -> &'static str {
        match self {
            SetType::HashIp => "hash:ip",
            SetType::HashIpPort => "hash:ip,port",
            SetType::HashIpPortIp => "hash:ip,port,ip",
            SetType::HashIpPortNet => "hash:ip,port,net",
            SetType::BitmapPort => "bitmap:port",
        }
    }
}

impl fmt::Display for SetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The maximum number of entries of a hash set as kube-proxy creates it.
pub const MAX_ELEMENTS: u32 = 65536;

/// A set's kind: its type and the parameters that must match for kube-proxy to accept it.
///
/// `hashsize` and `bucketsize` are left out: the kernel grows the first, and `create -exist` accepts any value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// A hash set.
    Hash {
        /// Its type.
        set_type: SetType,
        /// The family of its addresses.
        family: Family,
        /// The maximum number of entries.
        max_elements: u32,
    },
    /// `bitmap:port range 0-65535`; it has no family.
    Bitmap,
    /// Any other set found under one of our names, as described by the kernel: another type, another range, or
    /// extensions (counters, comments, timeouts), which kube-proxy refuses.
    Foreign(String),
}

impl SetKind {
    /// Whether a set of the other kind can be swapped with this one while rules refer to it: the kernel requires
    /// the same type and family (`ip_set_swap`, `net/netfilter/ipset/ip_set_core.c`).
    pub fn swaps_with(&self, other: &SetKind) -> bool {
        let (a, b) = (self.to_string(), other.to_string());
        let essence = |text: &str| -> Vec<String> {
            let words: Vec<&str> = text.split(' ').collect();
            let family = words.iter().position(|w| *w == "family").and_then(|i| words.get(i + 1));
            words.first().into_iter().chain(family).map(|w| w.to_string()).collect()
        };
        essence(&a) == essence(&b)
    }
}

impl fmt::Display for SetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetKind::Hash { set_type, family, max_elements } => {
                let family = match family {
                    Family::V4 => "inet",
                    Family::V6 => "inet6",
                };
                write!(f, "{set_type} family {family} maxelem {max_elements}")
            }
            SetKind::Bitmap => f.write_str("bitmap:port range 0-65535"),
            SetKind::Foreign(text) => f.write_str(text),
        }
    }
}

impl FromStr for SetKind {
    type Err = std::convert::Infallible;

    /// Parses the printed form of a [`SetKind`]; any other text is [`SetKind::Foreign`].
    fn from_str(text: &str) -> Result<SetKind, Self::Err> {
        if text == SetKind::Bitmap.to_string() {
            return Ok(SetKind::Bitmap);
        }
        let words: Vec<&str> = text.split(' ').collect();
        if let [set_type, "family", family, "maxelem", max_elements] = words[..]
            && let Some(set_type) = SetType::ALL.into_iter().find(|t| t.name() == set_type)
            && let Some(family) = match family {
                "inet" => Some(Family::V4),
                "inet6" => Some(Family::V6),
                _ => None,
            }
            && let Ok(max_elements) = max_elements.parse()
            && set_type != SetType::BitmapPort
        {
            return Ok(SetKind::Hash { set_type, family, max_elements });
        }
        Ok(SetKind::Foreign(text.to_owned()))
    }
}
