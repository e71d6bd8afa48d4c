//! Where a packet would go: evaluates the chains, sets and virtual servers of a state in the kernel's order.
//!
//! ```text
//! from an interface:  nat PREROUTING ─▶ local? ─yes─▶ filter INPUT ─▶ IPVS ─▶ filter OUTPUT ─▶ nat POSTROUTING
//!                                         └──no──▶ filter FORWARD ─▶ nat POSTROUTING
//! from the host:      nat OUTPUT ─▶ IPVS ─▶ filter OUTPUT ─▶ nat POSTROUTING
//! ```
//!
//! IPVS takes packets at the hook LOCAL_IN after the filter and at LOCAL_OUT after nat (`ip_vs_ops4` in
//! `net/netfilter/ipvs/ip_vs_core.c`), and sends them on through LOCAL_OUT. So they pass the filter's OUTPUT chain
//! with their new destination, while nat's OUTPUT chain is not evaluated again for the same connection.
//!
//! A packet here is the first of its connection. Rules of other programs are not part of a state, and are assumed
//! to let everything pass.

use std::fmt;
use std::net::SocketAddr;

use crate::net::{Family, Protocol};
use crate::node::HostAddress;
use crate::rule::{Place, Rule};
use crate::state::{KernelState, RealServer, VirtualServer, Weight};

mod example;
mod matching;
mod walk;

pub use example::example;

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    protocol: Protocol,
    source: SocketAddr,
    destination: SocketAddr,
    origin: Origin,
}

/// The origin of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From outside, or from a pod, through this interface of the node.
    Interface(String),
    /// The same, but through a port of this bridge, whose packets iptables sees (`br_netfilter`).
    Bridge(String),
    /// From a process on the node itself, or a pod in its network.
    Host,
}

/// A packet's source and destination have different families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet from {source_address} cannot go to {destination}: the addresses have different families")]
pub struct MixedFamilies {
    source_address: SocketAddr,
    destination: SocketAddr,
}

impl Packet {
    /// A packet.
    pub fn new(
        protocol: Protocol,
        source: SocketAddr,
        destination: SocketAddr,
        origin: Origin,
    ) -> Result<Packet, MixedFamilies> {
        if Family::of(source.ip()) != Family::of(destination.ip()) {
            return Err(MixedFamilies { source_address: source, destination });
        }
        Ok(Packet { protocol, source, destination, origin })
    }
}

/// What happens to a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What happens on the way, in order. Rules that do not match are left out.
    pub steps: Vec<Step>,
    /// The outcome for the packet.
    pub verdict: Verdict,
}

/// One step of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A rule matches.
    Rule(Place, Rule),
    /// A rule outside the vocabulary; it is assumed not to match.
    Unknown(Place, Rule),
    /// Any other event, as text.
    Event(String),
}

/// The outcome for a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One of these real servers of the virtual server gets it, depending on scheduler and weight.
    Delivered(VirtualServer, Vec<Delivery>),
    /// The virtual server has no usable real server: the client's connection is refused at once.
    NoRealServer(VirtualServer),
    /// A rule rejects it: the client's connection is refused at once.
    Refused(Place, Rule),
    /// It is dropped: the client's connection times out.
    Dropped(Cause),
    /// It belongs to no virtual server and is for the host itself: a port of the host may answer.
    ToHost,
    /// It belongs to no virtual server and continues to another machine.
    Onward(Source),
}

/// What drops a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A rule.
    Rule(Place, Rule),
    /// IPVS never sends packets from a loopback address to another machine.
    LoopbackSource,
}

/// A possible delivery of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The real server that gets it.
    pub real: RealServer,
    /// The real server's weight.
    pub weight: Weight,
    /// The source address that the real server sees.
    pub source: Source,
}

/// The source address under which a packet arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The original one.
    Kept,
    /// The node's, because of this rule.
    Masqueraded(Place, Rule),
}

/// Follows a packet through a state on a host that has these addresses in addition to the dummy device's.
pub fn trace(state: &KernelState, host: &[HostAddress], packet: &Packet) -> Trace {
    walk::Walk::new(state, host, packet).run()
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.protocol, self.source, self.destination)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Rule(place, rule) => write!(f, "{} {}: {rule}", place.table, place.chain),
            Step::Unknown(place, rule) => {
                write!(f, "{} {}: unknown rule, assumed not to match: {rule}", place.table, place.chain)
            }
            Step::Event(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Delivered(server, ways) => {
                write!(f, "goes through virtual server {server} to ")?;
                match ways.as_slice() {
                    [way] => write!(f, "{way}"),
                    _ => {
                        write!(f, "one of")?;
                        ways.iter().try_for_each(|way| write!(f, "\n  {way}"))
                    }
                }
            }
            Verdict::NoRealServer(server) => {
                write!(f, "is refused: virtual server {server} has no real server that accepts connections")
            }
            Verdict::Refused(place, rule) => {
                write!(f, "is refused by {} {}: {rule}", place.table, place.chain)
            }
            Verdict::Dropped(Cause::Rule(place, rule)) => {
                write!(f, "is dropped by {} {}: {rule}", place.table, place.chain)
            }
            Verdict::Dropped(Cause::LoopbackSource) => {
                f.write_str("is dropped by IPVS: a loopback address cannot reach another machine")
            }
            Verdict::ToHost => {
                f.write_str("is delivered to the host itself: no virtual server has this destination")
            }
            Verdict::Onward(source) => {
                write!(f, "continues, because no virtual server has its destination; {source}")
            }
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (weight {}), {}", self.real, self.weight.0, self.source)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Kept => f.write_str("source kept"),
            Source::Masqueraded(place, rule) => {
                write!(f, "masqueraded by {} {}: {rule}", place.table, place.chain)
            }
        }
    }
}

impl fmt::Display for Trace {
    /// One line per step, then the verdict.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        writeln!(f, "{}", self.verdict)
    }
}

#[cfg(test)]
mod tests;
