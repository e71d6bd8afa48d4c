//! Which variant of iptables is used: the one in which the kubelet left its chains.
//!
//! The kernel applies the rules of both variants, in no common order, so all programs on a node must use the same
//! variant. On the node itself, the installed `iptables` decides. A container can only look into the node's kernel,
//! where the kubelet creates a chain for this purpose. kube-proxy's official image looks for this chain with wrapper
//! scripts in place of `iptables`; weir queries both kernel interfaces, which starts no process and creates no table.

use std::sync::OnceLock;

use weir_core::net::Family;
use weir_netlink::rules::{Client, legacy};

use crate::process;

/// Chains of the kubelet in the table `mangle` (`pkg/kubelet/kubelet_network_linux.go`). The first is made as a
/// hint for other programs. The second lets the kubelet notice flushed rules, and served as a hint before the
/// first one existed.
const HINTS: [&str; 2] = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];

/// The table in which the kubelet creates them.
const TABLE: &str = "mangle";

/// The kernel interface that iptables programs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// nf_tables.
    Nft,
    /// The older x_tables.
    Legacy,
}

impl Variant {
    /// The name in the names of its programs, such as `iptables-nft-save`.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Nft => "nft",
            Variant::Legacy => "legacy",
        }
    }

    /// The other variant.
    pub fn other(self) -> Variant {
        match self {
            Variant::Nft => Variant::Legacy,
            Variant::Legacy => Variant::Nft,
        }
    }
}

/// Which program names are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `iptables-restore`: whatever the machine is set up to use.
    Plain,
    /// `iptables-nft-restore` or `iptables-legacy-restore`.
    Of(Variant),
}

impl Naming {
    /// The name of a family's program; the action is `save` or `restore`.
    pub fn program(self, family: Family, action: &str) -> String {
        let iptables = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        match self {
            Naming::Plain => format!("{iptables}-{action}"),
            Naming::Of(variant) => format!("{iptables}-{}-{action}", variant.name()),
        }
    }
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How programs are called.
    pub naming: Naming,
    /// The variant that the kubelet uses, if it left a hint.
    pub hint: Option<Variant>,
}

/// The choice of this process. It is made only once: changing it would leave rules in both variants.
pub fn choice() -> Choice {
    static CHOICE: OnceLock<Choice> = OnceLock::new();
    *CHOICE.get_or_init(|| {
        let hint = read_hint();
        Choice { naming: choose(hint, is_installed), hint }
    })
}

/// The kubelet's variant comes first, then the machine's default. If neither is known, as in an image without
/// plain names on a node whose kubelet creates no chains, it is nf_tables, as in kube-proxy's image.
fn choose(hint: Option<Variant>, is_installed: impl Fn(Naming) -> bool) -> Naming {
    let usual = [Naming::Plain, Naming::Of(Variant::Nft), Naming::Of(Variant::Legacy)];
    let order = hint.map(Naming::Of).into_iter().chain(usual);
    // If nothing is installed, report the plain name as missing.
    order.into_iter().find(|naming| is_installed(*naming)).unwrap_or(Naming::Plain)
}

fn is_installed(naming: Naming) -> bool {
    process::find(&naming.program(Family::V4, "restore")).is_some()
}

/// The names of a table and a chain.
type ChainName = (String, String);

/// Checks nf_tables first: a node that was migrated to it may have kubelet chains in both.
fn hint(nft: &[ChainName], legacy: &[ChainName]) -> Option<Variant> {
    let has = |chains: &[ChainName]| {
        chains.iter().any(|(table, chain)| table == TABLE && HINTS.contains(&chain.as_str()))
    };
    if has(nft) {
        Some(Variant::Nft)
    } else if has(legacy) {
        Some(Variant::Legacy)
    } else {
        None
    }
}

/// A failed read counts as no hint: reading or writing rules later reports the reason.
fn read_hint() -> Option<Variant> {
    let families = [weir_netlink::Family::V4, weir_netlink::Family::V6];
    let mut nft = Vec::new();
    if let Ok(mut client) = Client::open() {
        let chains = families.into_iter().filter_map(|family| client.chains(family).ok().flatten()).flatten();
        nft.extend(chains.map(|chain| (chain.table, chain.name)));
    }
    let tables = families.into_iter().filter_map(|family| legacy::table(family, TABLE).ok().flatten());
    let legacy: Vec<ChainName> =
        tables.flat_map(|table| table.chains).map(|chain| (TABLE.to_owned(), chain)).collect();
    hint(&nft, &legacy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `iptables-save` of either variant prints on a node where the kubelet (1.37) and a proxy have run.
    const NODE: &str = "\
*mangle
:PREROUTING ACCEPT [0:0]
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*nat
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-SERVICES - [0:0]
COMMIT
";

    fn chains(text: &str) -> Vec<ChainName> {
        let mut table = String::new();
        let mut chains = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.to_owned();
            }
            if let Some(name) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
                chains.push((table.clone(), name.to_owned()));
            }
        }
        chains
    }

    #[test]
    fn the_kubelets_chains_tell_its_variant() {
        let node = chains(NODE);
        assert_eq!(hint(&node, &[]), Some(Variant::Nft));
        assert_eq!(hint(&[], &node), Some(Variant::Legacy));
        // Before 1.24 there was only the canary.
        let earlier = chains(&NODE.replace(":KUBE-IPTABLES-HINT - [0:0]\n", ""));
        assert_eq!(hint(&[], &earlier), Some(Variant::Legacy));
    }

    #[test]
    fn a_node_that_was_moved_to_nf_tables_stays_there() {
        let node = chains(NODE);
        assert_eq!(hint(&node, &node), Some(Variant::Nft));
    }

    /// The chains of a proxy that once chose the wrong variant are no hint, nor is a chain whose name only starts like
    /// a hint's.
    #[test]
    fn a_proxys_chains_are_no_hint() {
        let proxy = chains("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n");
        assert_eq!(hint(&proxy, &proxy), None);
        let similar = chains("*mangle\n:KUBE-IPTABLES-HINT-2 - [0:0]\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n");
        assert_eq!(hint(&similar, &similar), None);
    }

    #[test]
    fn the_hint_decides_between_what_is_installed() {
        const NFT: Naming = Naming::Of(Variant::Nft);
        const LEGACY: Naming = Naming::Of(Variant::Legacy);
        let choose = |hint, installed: &[Naming]| choose(hint, |naming| installed.contains(&naming));
        let node = [Naming::Plain, NFT, LEGACY];
        let image = [NFT, LEGACY];
        assert_eq!(choose(None, &node), Naming::Plain);
        assert_eq!(choose(Some(Variant::Legacy), &node), LEGACY);
        assert_eq!(choose(Some(Variant::Legacy), &image), LEGACY);
        assert_eq!(choose(Some(Variant::Nft), &image), NFT);
        assert_eq!(choose(None, &image), NFT);
        assert_eq!(choose(None, &[LEGACY]), LEGACY);
        // A variant that is not installed cannot be followed.
        assert_eq!(choose(Some(Variant::Nft), &[Naming::Plain]), Naming::Plain);
        assert_eq!(choose(None, &[]), Naming::Plain);
    }

    #[test]
    fn programs_are_called_as_debian_and_others_name_them() {
        assert_eq!(Naming::Plain.program(Family::V6, "save"), "ip6tables-save");
        assert_eq!(Naming::Of(Variant::Nft).program(Family::V4, "restore"), "iptables-nft-restore");
        assert_eq!(Naming::Of(Variant::Legacy).program(Family::V6, "restore"), "ip6tables-legacy-restore");
    }
}
