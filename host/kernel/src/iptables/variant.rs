//! Which variant of iptables is used: the one in which the kubelet left its mark.
//!
//! Rules of both variants decide about packets, each in an order of its own, so all programs of a node have to use one.
//! On a node that is how its `iptables` was set up. In a container nothing says it but the node's kernel, where the
//! kubelet makes a chain for this very purpose. kube-proxy's official image reads it in scripts in the place of
//! `iptables`; here the two kernel interfaces are asked, which takes no process and makes no table.

use std::sync::OnceLock;

use weir_core::net::Family;
use weir_netlink::rules::{Client, legacy};

use crate::process;

/// Chains of the kubelet in the table `mangle` (`pkg/kubelet/kubelet_network_linux.go`): the first is made for others
/// to see, the second is how the kubelet notices that rules were flushed, and was a sign before the first one existed.
const HINTS: [&str; 2] = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];

/// The table in which the kubelet makes them.
const TABLE: &str = "mangle";

/// Which kernel interface programs of iptables use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// nf_tables.
    Nft,
    /// The older x_tables.
    Legacy,
}

impl Variant {
    /// The other one.
    pub fn other(self) -> Variant {
        match self {
            Variant::Nft => Variant::Legacy,
            Variant::Legacy => Variant::Nft,
        }
    }
}

/// Which names of programs are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `iptables-restore`: whatever the machine was set up to use.
    Plain,
    /// `iptables-nft-restore` or `iptables-legacy-restore`.
    Of(Variant),
}

impl Naming {
    /// Name of a program of one family; the action is `save` or `restore`.
    pub fn program(self, family: Family, action: &str) -> String {
        let iptables = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        match self {
            Naming::Plain => format!("{iptables}-{action}"),
            Naming::Of(Variant::Nft) => format!("{iptables}-nft-{action}"),
            Naming::Of(Variant::Legacy) => format!("{iptables}-legacy-{action}"),
        }
    }
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How programs are called.
    pub naming: Naming,
    /// The variant that the kubelet uses, if it says so.
    pub hint: Option<Variant>,
}

/// The choice of this process. It is made once: a process that changed its mind would leave rules in both variants.
pub fn choice() -> Choice {
    static CHOICE: OnceLock<Choice> = OnceLock::new();
    *CHOICE.get_or_init(|| {
        let hint = read_hint();
        Choice { naming: choose(hint, is_installed), hint }
    })
}

/// What the kubelet uses comes first, then what the machine was set up to use. Where neither says anything, as in an
/// image without plain names on a node whose kubelet makes no chains, it is nf_tables, as in kube-proxy's image.
fn choose(hint: Option<Variant>, is_installed: impl Fn(Naming) -> bool) -> Naming {
    let usual = [Naming::Plain, Naming::Of(Variant::Nft), Naming::Of(Variant::Legacy)];
    let order = hint.map(Naming::Of).into_iter().chain(usual);
    // Where nothing is installed, the plain name is the one to miss.
    order.into_iter().find(|naming| is_installed(*naming)).unwrap_or(Naming::Plain)
}

fn is_installed(naming: Naming) -> bool {
    process::find(&naming.program(Family::V4, "restore")).is_some()
}

/// A table's name and a chain's.
type ChainName = (String, String);

/// nf_tables first: a node that was moved from the older variant to it may have chains of the kubelet in both.
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

/// What cannot be read is no hint: whoever then reads or writes rules hears why.
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

    /// As `iptables-save` of either variant prints a node where the kubelet (1.37) and a proxy have run.
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
        // Before 1.24 there was the canary alone.
        let earlier = chains(&NODE.replace(":KUBE-IPTABLES-HINT - [0:0]\n", ""));
        assert_eq!(hint(&[], &earlier), Some(Variant::Legacy));
    }

    #[test]
    fn a_node_that_was_moved_to_nf_tables_stays_there() {
        let node = chains(NODE);
        assert_eq!(hint(&node, &node), Some(Variant::Nft));
    }

    /// A proxy that took the wrong variant once must not be followed, nor a chain that only begins alike.
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
        // What is not there cannot be followed.
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
