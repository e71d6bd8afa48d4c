//! Puts `iptables-save` text into an order that has meaning.

use std::collections::BTreeMap;

/// All rules of this chain end in DROP, so their order has no effect, and kube-proxy writes them in random order.
const UNORDERED: &str = "KUBE-IPVS-OUT-FILTER";

#[derive(Default)]
struct Chain<'l> {
    /// `-` for a user-defined chain.
    policy: Option<&'l str>,
    rules: Vec<&'l str>,
}

/// One line per chain, followed by its rules in order; chains and tables are sorted. Comment lines and counters
/// are removed. Each line starts with its table, so it can be read on its own.
pub(super) fn canonical<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<String> {
    let mut table = "";
    let mut chains: BTreeMap<(&str, &str), Chain<'_>> = BTreeMap::new();
    for line in lines {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some((chain, policy)) = line.strip_prefix(':').and_then(|rest| rest.split_once(' ')) {
            chains.entry((table, chain)).or_default().policy = policy.split(' ').next();
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let chain = rule.split(' ').next().unwrap_or_default();
            chains.entry((table, chain)).or_default().rules.push(line);
        }
    }
    let mut canonical = Vec::new();
    for ((table, chain), Chain { policy, mut rules }) in chains {
        if chain == UNORDERED {
            rules.sort_unstable();
        }
        canonical.push(format!("{table} :{chain} {}", policy.unwrap_or("(not declared)")));
        canonical.extend(rules.into_iter().map(|rule| format!("{table} {rule}")));
    }
    canonical
}

/// Converts a line to the form of the recordings: no comments, and chains without counters.
pub(super) fn recorded(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let chain = line.starts_with(':').then(|| line.split_once(" [")).flatten();
    Some(chain.map_or(line, |(chain, _counters)| chain).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_order_within_chains_counts() {
        let one = "# by iptables-save\n*nat\n:B - [0:0]\n:A ACCEPT [7:420]\n-A B -j X\n-A A -j Y\n-A B -j Z\nCOMMIT\n*filter\n:C -\nCOMMIT";
        let other = "*filter\n:C -\nCOMMIT\n*nat\n:A ACCEPT\n:B -\n-A A -j Y\n-A B -j X\n-A B -j Z\nCOMMIT";
        let lines =
            ["filter :C -", "nat :A ACCEPT", "nat -A A -j Y", "nat :B -", "nat -A B -j X", "nat -A B -j Z"];
        assert_eq!(canonical(one.lines()), lines);
        assert_eq!(canonical(other.lines()), lines);
        let swapped = other.replace("-j X", "-j Q").replace("-j Z", "-j X").replace("-j Q", "-j Z");
        assert_ne!(canonical(swapped.lines()), lines);
    }

    #[test]
    fn the_order_of_equal_verdicts_does_not_count() {
        let lines = |a, b| canonical(["*filter", ":KUBE-IPVS-OUT-FILTER -", a, b].into_iter());
        let (a, b) = (
            "-A KUBE-IPVS-OUT-FILTER -s 1.1.1.1/32 -j DROP",
            "-A KUBE-IPVS-OUT-FILTER -s 2.2.2.2/32 -j DROP",
        );
        assert_eq!(lines(a, b), lines(b, a));
    }
}
