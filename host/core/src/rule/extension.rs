//! The matches and targets of iptables that are separate modules, in one table: their names, requirements, and
//! what happens to rules that use a missing one. Used by plans, the kernel probe and `weir doctor`.

use std::collections::BTreeSet;
use std::fmt;

use super::{Match, Ports, Rule, Table, Target};
use crate::net::{Family, PerFamily};

/// A match or target that a kernel or an iptables installation may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extension {
    /// `-m comment`
    Comment,
    /// `-m physdev`
    BridgePort,
    /// `-m addrtype`
    AddressType,
    /// `-m conntrack`
    ConnectionState,
    /// `-m set`
    Set,
    /// `-m mark`
    Mark,
    /// `-m ipvs`
    Ipvs,
    /// `-j MARK`
    SetMark,
    /// `-j MASQUERADE`
    Masquerade,
    /// `-j SNAT`
    Snat,
    /// `-j REJECT`
    Reject,
}

/// How iptables uses an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `-m NAME`
    Match,
    /// `-j NAME`
    Target,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Match => "match",
            Role::Target => "target",
        })
    }
}

/// What happens to a rule that uses a missing extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// The rule is written in another, equally safe way.
    Rewritten,
    /// The rule is left out.
    LeftOut(Loss),
    /// The rule stays in the plan, because without it the host's ports or a VIP would be open. So the kernel refuses
    /// the rule's table, and VIPs do not come up; rules already in the kernel stay.
    Needed,
}

/// How much is lost without the rules that are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Services work, with limitations.
    Some,
    /// Some VIPs do not work: the node must not report itself healthy.
    Vips,
}

/// Everything known about an extension.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The extension.
    pub extension: Extension,
    /// Its name in iptables; the library is `libxt_NAME.so`, `libipt_NAME.so` or `libip6t_NAME.so`.
    pub name: &'static str,
    /// Match or target.
    pub role: Role,
    /// The kernel's module in each family.
    pub modules: PerFamily<&'static str>,
    /// The table of the example.
    pub table: Table,
    /// A rule that uses it; see [`Row::example`].
    example: &'static str,
    /// What happens to rules without it.
    pub without: Without,
    /// The consequences for users.
    pub means: &'static str,
}

/// Every extension that weir's rules use.
pub const EXTENSIONS: [Row; 11] = [
    Row {
        extension: Extension::Comment,
        name: "comment",
        role: Role::Match,
        modules: both("xt_comment"),
        table: Table::Filter,
        example: "-m comment --comment weir -j RETURN",
        without: Without::Rewritten,
        means: "rules are written without comments, and work",
    },
    Row {
        extension: Extension::BridgePort,
        name: "physdev",
        role: Role::Match,
        modules: both("xt_physdev"),
        table: Table::Filter,
        example: "-m physdev ! --physdev-is-in -j RETURN",
        without: Without::Rewritten,
        // The rule after it accepts what the match excludes, because a VIP is an address of this node.
        means: "rules for external IPs are written without it, and work",
    },
    Row {
        extension: Extension::AddressType,
        name: "addrtype",
        role: Role::Match,
        modules: both("xt_addrtype"),
        table: Table::Filter,
        example: "-m addrtype --dst-type LOCAL -j RETURN",
        without: Without::LeftOut(Loss::Vips),
        means: "requests to node ports are not masqueraded, so they fail if the endpoint is on another node",
    },
    Row {
        extension: Extension::ConnectionState,
        name: "conntrack",
        role: Role::Match,
        modules: both("xt_conntrack"),
        table: Table::Filter,
        example: "-m conntrack --ctstate NEW -j RETURN",
        without: Without::Needed,
        means: "the host's own ports cannot be closed on VIPs, so VIPs do not come up",
    },
    Row {
        extension: Extension::Set,
        name: "set",
        role: Role::Match,
        modules: both("xt_set"),
        table: Table::Filter,
        example: "-m set --match-set WEIR-TRY dst -j RETURN",
        without: Without::Needed,
        means: "no rule can recognise a VIP, so VIPs do not come up",
    },
    Row {
        extension: Extension::Mark,
        name: "mark",
        role: Role::Match,
        modules: both("xt_mark"),
        table: Table::Filter,
        example: "-m mark --mark 0x1/0x1 -j RETURN",
        without: Without::LeftOut(Loss::Vips),
        means: "only hairpin traffic is masqueraded: node ports, external IPs and the node's own requests fail \
                if the endpoint is on another node",
    },
    Row {
        extension: Extension::Ipvs,
        name: "ipvs",
        role: Role::Match,
        modules: both("xt_ipvs"),
        table: Table::Filter,
        example: "-m ipvs --ipvs -j RETURN",
        without: Without::LeftOut(Loss::Some),
        means: "a node can reach a load balancer even if the load balancer's source ranges exclude the node",
    },
    Row {
        extension: Extension::SetMark,
        name: "MARK",
        role: Role::Target,
        modules: both("xt_mark"),
        table: Table::Filter,
        example: "-j MARK --set-xmark 0x1/0x1",
        without: Without::LeftOut(Loss::Vips),
        means: "only hairpin traffic is masqueraded: node ports, external IPs and the node's own requests fail \
                if the endpoint is on another node",
    },
    Row {
        extension: Extension::Masquerade,
        name: "MASQUERADE",
        role: Role::Target,
        modules: both("xt_MASQUERADE"),
        table: Table::Nat,
        example: "-j MASQUERADE --random-fully",
        without: Without::LeftOut(Loss::Vips),
        means: "nothing is masqueraded: node ports, external IPs and the node's own requests fail if the endpoint is \
                on another node, and pods cannot reach themselves through a VIP",
    },
    Row {
        extension: Extension::Snat,
        name: "SNAT",
        role: Role::Target,
        modules: both("xt_nat"),
        table: Table::Nat,
        // Its address depends on the family.
        example: "",
        without: Without::Rewritten,
        means: "the kernel picks a source address instead of the one that a policy chose",
    },
    Row {
        extension: Extension::Reject,
        name: "REJECT",
        role: Role::Target,
        modules: PerFamily { v4: "ipt_REJECT", v6: "ip6t_REJECT" },
        table: Table::Filter,
        // Its option depends on the family.
        example: "",
        without: Without::Rewritten,
        means: "packets to the host's own ports on VIPs are dropped instead of rejected",
    },
];

const fn both(module: &'static str) -> PerFamily<&'static str> {
    PerFamily { v4: module, v6: module }
}

impl Extension {
    /// Its row of the table.
    pub fn row(self) -> &'static Row {
        // The table is in the order of the variants, which a test checks.
        &EXTENSIONS[self as usize]
    }
}

impl Row {
    /// The example for a family. Targets have an option: without one, iptables mistakes the name of a target that
    /// is not installed for a chain.
    pub fn example(&self, family: Family) -> &'static str {
        match (self.extension, family) {
            (Extension::Snat, Family::V4) => "-j SNAT --to-source 192.0.2.1",
            (Extension::Snat, Family::V6) => "-j SNAT --to-source 2001:db8::1",
            (Extension::Reject, Family::V4) => "-j REJECT --reject-with icmp-port-unreachable",
            (Extension::Reject, Family::V6) => "-j REJECT --reject-with icmp6-port-unreachable",
            _ => self.example,
        }
    }
}

impl Rule {
    /// The extensions that the rule uses. Rules of other programs are not analyzed.
    pub fn extensions(&self) -> BTreeSet<Extension> {
        let Rule::Known(matches, target) = self else { return BTreeSet::new() };
        let asked = matches.iter().filter_map(|test| match test {
            Match::Comment(_) => Some(Extension::Comment),
            Match::BridgedIn(_) => Some(Extension::BridgePort),
            Match::LocalAddress(..) => Some(Extension::AddressType),
            Match::ConnectionState(_) => Some(Extension::ConnectionState),
            Match::Set(..) => Some(Extension::Set),
            Match::Mark(..) => Some(Extension::Mark),
            Match::VirtualServer(..) => Some(Extension::Ipvs),
            Match::Source(..) | Match::InInterface(..) | Match::Protocol(_) => None,
        });
        let done = match target {
            Target::SetMark(..) => Some(Extension::SetMark),
            Target::Masquerade(_) => Some(Extension::Masquerade),
            Target::Snat(..) => Some(Extension::Snat),
            Target::Reject(_) => Some(Extension::Reject),
            Target::Accept | Target::Drop | Target::Return | Target::Jump(_) | Target::Goto(_) => None,
        };
        asked.chain(done).collect()
    }
}

/// The content of a chain for a kernel that lacks these extensions.
///
/// If a rule that returns packets to the calling chain is left out, the rest of its chain is left out, too: the
/// rest would see packets not meant for it, and masquerade everything that leaves the node.
pub(crate) fn fit(rules: Vec<Rule>, missing: &BTreeSet<Extension>) -> Vec<Rule> {
    let mut fitted = Vec::with_capacity(rules.len());
    for rule in rules {
        let rule = rewrite(rule, missing);
        let lost = rule.extensions().into_iter().any(|extension| {
            missing.contains(&extension) && matches!(extension.row().without, Without::LeftOut(_))
        });
        match rule {
            Rule::Known(_, Target::Return) if lost => break,
            _ if lost => {}
            rule => fitted.push(rule),
        }
    }
    fitted
}

/// The rule without the parts that can be expressed differently.
fn rewrite(rule: Rule, missing: &BTreeSet<Extension>) -> Rule {
    let Rule::Known(mut matches, mut target) = rule else { return rule };
    matches.retain(|test| match test {
        Match::Comment(_) => !missing.contains(&Extension::Comment),
        Match::BridgedIn(_) => !missing.contains(&Extension::BridgePort),
        _ => true,
    });
    target = match target {
        Target::Reject(_) if missing.contains(&Extension::Reject) => Target::Drop,
        Target::Snat(..) if missing.contains(&Extension::Snat) => Target::Masquerade(Ports::Random),
        target => target,
    };
    Rule::Known(matches, target)
}

#[cfg(test)]
mod tests;
