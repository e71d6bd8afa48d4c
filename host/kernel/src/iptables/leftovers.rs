//! What service proxies leave behind in iptables: the chains of IPVS and iptables mode, and the jumps to them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use weir_core::rule::{Chain, Ownership};

/// Chains of iptables mode with fixed names (`pkg/proxy/iptables/proxier.go` and its predecessors). The kubelet's
/// own chains (KUBE-FIREWALL, KUBE-KUBELET-CANARY, KUBE-MARK-DROP, KUBE-IPTABLES-HINT) are not included.
const FIXED: [&str; 4] = ["KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-CANARY", "KUBE-XLB"];

/// Name prefixes of the chains that iptables mode creates per service and per endpoint.
const PREFIXES: [&str; 6] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-", "KUBE-XLB-"];

/// The leftovers of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Tables with leftovers, in the order of `iptables-save`.
    pub tables: Vec<TableLeftovers>,
}

/// The leftovers in one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableLeftovers {
    /// The table's name.
    pub table: String,
    /// Chains to remove.
    pub chains: BTreeSet<String>,
    /// Rules in other chains that jump to them, as chain and rule text.
    pub jumps: Vec<(String, String)>,
}

/// The proxy mode that a chain belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// IPVS mode (iptables mode has some of these chains, too).
    Ipvs,
    /// iptables mode.
    Iptables,
}

/// The mode that creates a chain of this name, if it belongs to a service proxy.
pub fn mode(chain: &str) -> Option<Mode> {
    let ours = |c: &&Chain| c.ownership() == Ownership::Own && c.name() == chain;
    if Chain::ALL.iter().any(|c| ours(&c)) {
        return Some(Mode::Ipvs);
    }
    let iptables = FIXED.contains(&chain) || PREFIXES.iter().any(|prefix| chain.starts_with(prefix));
    iptables.then_some(Mode::Iptables)
}

/// Finds leftovers in `iptables-save` text.
pub fn find(text: &str) -> Leftovers {
    let mut tables: Vec<TableLeftovers> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(TableLeftovers { table: name.to_owned(), ..TableLeftovers::default() });
        }
        let Some(table) = tables.last_mut() else { continue };
        if let Some(name) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
            if mode(name).is_some() {
                table.chains.insert(name.to_owned());
            }
        } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
            && mode(chain).is_none()
            && jump(rule).is_some_and(|target| mode(target).is_some())
        {
            table.jumps.push((chain.to_owned(), rule.to_owned()));
        }
    }
    tables.retain(|table| !table.chains.is_empty() || !table.jumps.is_empty());
    Leftovers { tables }
}

/// The chain that a rule jumps to. Quoted text is a comment, which may look like a jump.
fn jump(rule: &str) -> Option<&str> {
    let mut quoted = false;
    let mut words = rule.split(' ').filter(|word| {
        let outside = !quoted;
        quoted ^= quotes(word) % 2 == 1;
        outside
    });
    words.find(|word| matches!(*word, "-j" | "-g"))?;
    words.next()
}

/// How many unescaped quotes a word contains.
fn quotes(word: &str) -> usize {
    let mut escaped = false;
    let opens = |c: &char| {
        let counts = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        counts
    };
    word.chars().filter(opens).count()
}

impl Leftovers {
    /// Whether there are no leftovers.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The number of iptables-mode chains.
    pub fn iptables_mode_chains(&self) -> usize {
        let chains = self.tables.iter().flat_map(|table| &table.chains);
        chains.filter(|chain| mode(chain) == Some(Mode::Iptables)).count()
    }

    /// Input for `iptables-restore --noflush` that removes the leftovers: first the jumps, then all chains are
    /// flushed, then deleted, so that no chain is referenced when it is deleted.
    pub fn restore_input(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "*{}", table.table);
            table.chains.iter().for_each(|chain| {
                let _ = writeln!(text, ":{chain} - [0:0]");
            });
            table.jumps.iter().for_each(|(chain, rule)| {
                let _ = writeln!(text, "-D {chain} {rule}");
            });
            table.chains.iter().for_each(|chain| {
                let _ = writeln!(text, "-X {chain}");
            });
            text.push_str("COMMIT\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_modes_are_found_and_others_stay() {
        let text = "\
*mangle
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -j DOCKER
-A KUBE-SERVICES -d 10.0.0.1/32 -j KUBE-SVC-ABC
COMMIT
*filter
:INPUT ACCEPT [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
COMMIT
";
        let found = find(text);
        assert_eq!(found.iptables_mode_chains(), 2);
        assert_eq!(
            found.restore_input(),
            "\
*mangle
:KUBE-PROXY-CANARY - [0:0]
-X KUBE-PROXY-CANARY
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-X KUBE-SERVICES
-X KUBE-SVC-ABC
COMMIT
"
        );
        assert!(find("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n").is_empty());
    }

    /// After a kube-proxy took over and then cleaned up as well, only the chains unknown to it remain.
    #[test]
    fn chains_of_policies_are_found_without_those_that_led_to_them() {
        let text = "\
*nat
:KUBE-SERVICES - [0:0]
:WEIR-MASQUERADE - [0:0]
:WEIR-SNAT-1 - [0:0]
:WEIR-OF-OTHERS - [0:0]
-A KUBE-SERVICES -m set --match-set WEIR-MASQ dst,dst -g WEIR-MASQUERADE
-A POSTROUTING -g WEIR-SNAT-1
COMMIT
";
        let found = find(text);
        let chains: Vec<&str> = found.tables[0].chains.iter().map(String::as_str).collect();
        assert_eq!(chains, ["KUBE-SERVICES", "WEIR-MASQUERADE", "WEIR-SNAT-1"]);
        assert_eq!(found.tables[0].jumps, [("POSTROUTING".to_owned(), "-g WEIR-SNAT-1".to_owned())]);
        assert_eq!(found.iptables_mode_chains(), 0);
    }

    #[test]
    fn a_comment_that_looks_like_a_jump_is_no_jump() {
        let text = "\
*nat
:MINE - [0:0]
-A MINE -m comment --comment \"look \\\" at -j KUBE-SERVICES here\" -j ACCEPT
-A MINE -m comment --comment \"goes \\\" there\" -j KUBE-SERVICES
COMMIT
";
        let found = find(text);
        assert_eq!(found.tables[0].jumps.len(), 1);
        assert!(found.tables[0].jumps[0].1.contains("goes"));
    }
}
