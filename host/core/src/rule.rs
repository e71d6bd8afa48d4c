//! iptables rules as values: the closed vocabulary that IPVS mode uses, printed as `iptables-save` prints it.
//!
//! The printed form is also valid input for `iptables-restore`, so one text form serves for writing, reading and
//! comparing. A rule outside the vocabulary, such as a manual edit of one of our chains, is a [`Rule::Foreign`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::net::{Family, Protocol};

pub mod extension;
mod parse;

pub use extension::Extension;

/// An iptables table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `filter`
    Filter,
    /// `nat`
    Nat,
}

impl Table {
    /// The tables in use.
    pub const BOTH: [Table; 2] = [Table::Filter, Table::Nat];

    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            Table::Filter => "filter",
            Table::Nat => "nat",
        }
    }

    /// The built-in chains of the table, in the order in which `iptables-save` lists them.
    pub fn built_in_chains(self) -> &'static [Chain] {
        match self {
            Table::Filter => &[Chain::Input, Chain::Forward, Chain::Output],
            Table::Nat => &[Chain::Prerouting, Chain::Input, Chain::Output, Chain::Postrouting],
        }
    }

    /// The chains of IPVS mode in this table.
    pub fn own_chains(self) -> &'static [Chain] {
        match self {
            Table::Filter => &[
                Chain::KubeForward,
                Chain::KubeNodePort,
                Chain::KubeProxyFirewall,
                Chain::KubeSourceRangesFirewall,
                Chain::KubeIpvsFilter,
                Chain::KubeIpvsOutFilter,
            ],
            Table::Nat => &[
                Chain::KubeServices,
                Chain::KubePostrouting,
                Chain::KubeNodePort,
                Chain::KubeLoadBalancer,
                Chain::KubeMarkMasq,
                Chain::WeirMasquerade,
                Chain::WeirPostrouting,
                Chain::WeirSnat1,
                Chain::WeirSnat2,
            ],
        }
    }

    /// The [own chains](Table::own_chains) that kube-proxy has, too. They always exist; the others exist only while
    /// a decision needs them.
    pub fn upstream_chains(self) -> impl Iterator<Item = Chain> {
        self.own_chains().iter().copied().filter(|chain| !chain.is_of_policy())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! chains {
    ($($variant:ident $name:literal $ownership:ident $doc:literal,)*) => {
        /// A chain, either built-in or one of IPVS mode.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Chain { $(#[doc = $doc] $variant,)* }

        impl Chain {
            /// Every chain known to weir.
            pub const ALL: &'static [Chain] = &[$(Chain::$variant,)*];

            /// The chain's name.
            pub fn name(self) -> &'static str {
                match self { $(Chain::$variant => $name,)* }
            }

            /// Whether the chain belongs to the kernel or to IPVS mode.
            pub fn ownership(self) -> Ownership {
                match self { $(Chain::$variant => Ownership::$ownership,)* }
            }
        }
    };
}

impl Chain {
    /// Whether the chain implements decisions that only a policy makes. Such a chain exists only while a decision
    /// needs it. All jumps to it are in kube-proxy's chains, and it refers to none of kube-proxy's chains or sets.
    /// So it becomes unreachable once kube-proxy rewrites its own rules, and blocks nothing that `kube-proxy
    /// --cleanup` removes.
    pub fn is_of_policy(self) -> bool {
        matches!(self, Chain::WeirMasquerade | Chain::WeirPostrouting | Chain::WeirSnat1 | Chain::WeirSnat2)
    }
}

/// The owner of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The kernel; other programs add rules too, and ours are only jumps.
    BuiltIn,
    /// IPVS mode; the entire content is ours.
    Own,
}

chains! {
    Input "INPUT" BuiltIn "Packets for this node.",
    Forward "FORWARD" BuiltIn "Packets passing through.",
    Output "OUTPUT" BuiltIn "Packets from this node.",
    Prerouting "PREROUTING" BuiltIn "Packets before the routing decision.",
    Postrouting "POSTROUTING" BuiltIn "Packets about to leave.",
    KubeServices "KUBE-SERVICES" Own "nat: identifies the VIP, and decides on masquerading.",
    KubePostrouting "KUBE-POSTROUTING" Own "nat: masquerades hairpin and marked packets.",
    KubeNodePort "KUBE-NODE-PORT" Own "nat: marks node port traffic. filter: admits health checks.",
    KubeLoadBalancer "KUBE-LOAD-BALANCER" Own "nat: marks load-balancer traffic.",
    KubeMarkMasq "KUBE-MARK-MASQ" Own "nat: sets the masquerade mark.",
    KubeForward "KUBE-FORWARD" Own "filter: admits marked and established packets.",
    KubeProxyFirewall "KUBE-PROXY-FIREWALL" Own "filter: identifies VIPs with source ranges.",
    KubeSourceRangesFirewall "KUBE-SOURCE-RANGES-FIREWALL" Own "filter: admits by source range, drops the rest.",
    KubeIpvsFilter "KUBE-IPVS-FILTER" Own "filter: refuses host ports on VIPs.",
    KubeIpvsOutFilter "KUBE-IPVS-OUT-FILTER" Own "filter: keeps the node itself off VIPs it may not use.",
    WeirMasquerade "WEIR-MASQUERADE" Own "nat: marks as policies decided.",
    WeirPostrouting "WEIR-POSTROUTING" Own "nat: masquerades as policies decided.",
    WeirSnat1 "WEIR-SNAT-1" Own "nat: replaces the source with the first chosen address.",
    WeirSnat2 "WEIR-SNAT-2" Own "nat: replaces the source with the second chosen address.",
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The location of rules: family, table and chain.
pub type ChainKey = (Family, Table, Chain);

/// Chains with their rules.
pub type Chains = BTreeMap<ChainKey, Vec<Rule>>;

/// The location of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The family.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// The chain.
    pub chain: Chain,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.chain)
    }
}

/// Whether a match is inverted (`!`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sense {
    /// The packet must match.
    Is,
    /// The packet must not match.
    Not,
}

/// Which side of a packet is compared with a set's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// `src`
    Source,
    /// `dst`
    Destination,
}

/// A test that a packet must pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// `-s NET`
    Source(Sense, IpNet),
    /// `-i NAME`; a `+` at the end matches any suffix.
    InInterface(Sense, String),
    /// `-p PROTOCOL`
    Protocol(Protocol),
    /// `-m comment`; matches everything.
    Comment(Cow<'static, str>),
    /// `-m set --match-set NAME SIDES`. The name is text, because a rule may refer to a set that is not ours.
    Set(Sense, String, Vec<Side>),
    /// `-m mark --mark VALUE/MASK`
    Mark(Sense, u32, u32),
    /// `-m addrtype --dst-type LOCAL` or `--src-type LOCAL`
    LocalAddress(Sense, Side),
    /// `-m physdev --physdev-is-in`
    BridgedIn(Sense),
    /// `-m conntrack --ctstate STATES`
    ConnectionState(Vec<ConnectionState>),
    /// `-m ipvs --vproto P --vaddr A --vport N`: the packet belongs to this virtual server.
    VirtualServer(Protocol, IpAddr, u16),
}

/// A connection tracking state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionState {
    /// `NEW`
    New,
    /// `RELATED`
    Related,
    /// `ESTABLISHED`
    Established,
}

/// What happens to a packet that passes all tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// `ACCEPT`: leave the table.
    Accept,
    /// `DROP`
    Drop,
    /// `RETURN`: back to the calling chain.
    Return,
    /// `REJECT --reject-with …-port-unreachable`, in the family's spelling.
    Reject(Family),
    /// `MASQUERADE`
    Masquerade(Ports),
    /// `MARK --set-xmark VALUE/MASK`: clear the mask's bits, then exclusive-or the value.
    SetMark(u32, u32),
    /// `SNAT --to-source ADDRESS`
    Snat(IpAddr, Ports),
    /// Jump to another chain.
    Jump(Chain),
    /// `-g CHAIN`: go to another chain. When that chain ends, the chain that called this one continues.
    Goto(Chain),
}

/// How `MASQUERADE` and `SNAT` pick source ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// Keep the port if it is free.
    Kept,
    /// `--random-fully`
    Random,
}

/// A rule of a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A rule of the vocabulary: tests in the order in which they are printed, and a target.
    Known(Vec<Match>, Target),
    /// Any other rule, as `iptables-save` printed it after `-A CHAIN `.
    Foreign(String),
}

impl Rule {
    /// A rule that applies to every packet.
    pub fn always(target: Target) -> Rule {
        Rule::Known(Vec::new(), target)
    }

    /// A rule with tests.
    pub fn when(matches: impl Into<Vec<Match>>, target: Target) -> Rule {
        Rule::Known(matches.into(), target)
    }

    /// Parses a rule as `iptables-save` prints it after `-A CHAIN `.
    pub fn parse(text: &str) -> Rule {
        parse::parse(text).unwrap_or_else(|| Rule::Foreign(text.to_owned()))
    }

    /// The chain that the rule jumps or goes to, if any.
    pub fn jump(&self) -> Option<Chain> {
        match self {
            Rule::Known(_, Target::Jump(chain) | Target::Goto(chain)) => Some(*chain),
            _ => None,
        }
    }

    /// Whether the rule only drops packets.
    pub fn drops(&self) -> bool {
        matches!(self, Rule::Known(_, Target::Drop))
    }

    /// The names of the sets that the rule refers to in any way.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        let (matches, text): (&[Match], &str) = match self {
            Rule::Known(matches, _) => (matches, ""),
            Rule::Foreign(text) => (&[], text),
        };
        let asked = matches.iter().filter_map(|m| match m {
            Match::Set(_, name, _) => Some(name.as_str()),
            _ => None,
        });
        let words = text.split(' ');
        let named = words.clone().zip(words.skip(1)).filter_map(|(option, name)| {
            matches!(option, "--match-set" | "--add-set" | "--del-set" | "--map-set").then_some(name)
        });
        asked.chain(named)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Known(matches, target) => {
                for test in matches {
                    write!(f, "{test} ")?;
                }
                match target {
                    Target::Goto(chain) => write!(f, "-g {chain}"),
                    target => write!(f, "-j {target}"),
                }
            }
            Rule::Foreign(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sense::Is => "",
            Sense::Not => "! ",
        })
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::Source(sense, net) => write!(f, "{sense}-s {net}"),
            Match::InInterface(sense, name) => write!(f, "{sense}-i {name}"),
            Match::Protocol(protocol) => write!(f, "-p {protocol}"),
            Match::Comment(text) => write!(f, "-m comment --comment \"{}\"", escape(text)),
            Match::Set(sense, name, sides) => {
                write!(f, "-m set {sense}--match-set {name} ")?;
                for (i, side) in sides.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{}", side.short())?;
                }
                Ok(())
            }
            Match::Mark(sense, value, mask) => write!(f, "-m mark {sense}--mark {value:#x}/{mask:#x}"),
            Match::LocalAddress(sense, side) => {
                write!(f, "-m addrtype {sense}--{}-type LOCAL", side.short())
            }
            Match::BridgedIn(sense) => write!(f, "-m physdev {sense}--physdev-is-in"),
            Match::ConnectionState(states) => {
                let names: Vec<&str> = states.iter().map(|s| s.name()).collect();
                write!(f, "-m conntrack --ctstate {}", names.join(","))
            }
            Match::VirtualServer(protocol, address, port) => {
                write!(f, "-m ipvs --vproto {} --vaddr {address} --vport {port}", protocol.number())
            }
        }
    }
}

/// `iptables-save` puts a backslash before these characters inside quotes (`xtables_save_string`).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl Side {
    fn short(self) -> &'static str {
        match self {
            Side::Source => "src",
            Side::Destination => "dst",
        }
    }
}

impl ConnectionState {
    const ALL: [ConnectionState; 3] =
        [ConnectionState::New, ConnectionState::Related, ConnectionState::Established];

    fn name(self) -> &'static str {
        match self {
            ConnectionState::New => "NEW",
            ConnectionState::Related => "RELATED",
            ConnectionState::Established => "ESTABLISHED",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Accept => f.write_str("ACCEPT"),
            Target::Drop => f.write_str("DROP"),
            Target::Return => f.write_str("RETURN"),
            Target::Reject(Family::V4) => f.write_str("REJECT --reject-with icmp-port-unreachable"),
            Target::Reject(Family::V6) => f.write_str("REJECT --reject-with icmp6-port-unreachable"),
            Target::Masquerade(Ports::Kept) => f.write_str("MASQUERADE"),
            Target::Masquerade(Ports::Random) => f.write_str("MASQUERADE --random-fully"),
            Target::SetMark(value, mask) => write!(f, "MARK --set-xmark {value:#x}/{mask:#x}"),
            Target::Snat(address, Ports::Kept) => write!(f, "SNAT --to-source {address}"),
            Target::Snat(address, Ports::Random) => write!(f, "SNAT --to-source {address} --random-fully"),
            Target::Jump(chain) | Target::Goto(chain) => write!(f, "{chain}"),
        }
    }
}
