//! Complaints of the iptables programs, with cause and fix. The first matching row counts.

use weir_core::rule::extension::EXTENSIONS;

/// An error message of iptables 1.8 and what it means for weir.
#[derive(Clone, Copy, Debug)]
pub struct Complaint {
    /// Words the program prints; any of them identifies this cause.
    pub words: &'static [&'static str],
    /// The cause.
    pub cause: &'static str,
    /// The fix.
    pub fix: &'static str,
}

/// The known complaints, the more specific ones first.
pub const COMPLAINTS: [Complaint; 9] = [
    Complaint {
        words: &["Permission denied", "you must be root"],
        cause: "the process is not allowed to change the network",
        fix: "run as root or with the capability CAP_NET_ADMIN",
    },
    Complaint {
        // `get_version` of libxt_set opens a raw socket.
        words: &["Can't open socket to ipset"],
        cause: "the match `set` needs a raw socket",
        fix: "add the capability CAP_NET_RAW",
    },
    Complaint {
        words: &["is incompatible, use 'nft' tool"],
        cause: "the table contains something only nft can write, such as a set or a map",
        fix: "check `nft list ruleset`, and move everything not written by iptables to a table with another name",
    },
    Complaint {
        words: &["can't initialize", "Could not fetch rule set generation id", "Table does not exist"],
        cause: "the kernel does not have this table",
        fix: "run `modprobe -a ip_tables ip6_tables nf_tables`",
    },
    Complaint {
        words: &[
            "Couldn't load match",
            "Couldn't load target",
            "Couldn't find match",
            "Couldn't find target",
            "unknown option",
        ],
        cause: "an iptables library is not installed",
        fix: "install the complete package `iptables`",
    },
    Complaint {
        words: &["doesn't exist", "does not exist"],
        cause: "a rule refers to a set or chain that does not exist",
        fix: "see the log line that says why it could not be created",
    },
    Complaint {
        words: &["CHAIN_ADD failed (Operation not supported)", "CHAIN_ADD failed (No such file"],
        cause: "the kernel has no NAT for nf_tables",
        fix: "run `modprobe nft_chain_nat`",
    },
    Complaint {
        words: &["CHAIN_DEL failed (Device or resource busy)", "Too many links"],
        cause: "another program's rule jumps to a weir chain",
        fix: "remove that rule; `iptables-save` shows it",
    },
    Complaint {
        words: &["RULE_APPEND failed", "RULE_INSERT failed", "No chain/target/match by that name"],
        cause: "the kernel lacks a match or target that the rule uses",
        fix: "run `weir doctor`, which names the module and its package",
    },
];

/// Cause and fix, as the end of a sentence; empty if unknown.
pub fn explain(said: &str) -> String {
    // The program itself names the missing module, which says more than the line that then failed.
    let missing = EXTENSIONS.iter().find(|row| said.contains(&format!("Extension {} revision", row.name)));
    if let Some(row) = missing {
        let module = row.modules.v4;
        return format!(
            "; the kernel has no `{}` {}: run `modprobe {module}`; if that fails, `weir doctor` names its package",
            row.name, row.role
        );
    }
    let known = COMPLAINTS.iter().find(|complaint| complaint.words.iter().any(|words| said.contains(words)));
    known.map(|complaint| format!("; {}: {}", complaint.cause, complaint.fix)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_complaint_has_its_way_out() {
        for (said, words) in [
            ("iptables-restore v1.8.9 (nf_tables): Can't open socket to ipset.", "CAP_NET_RAW"),
            ("# Table `nat' is incompatible, use 'nft' tool.", "nft list ruleset"),
            (
                "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'\ncan't initialize",
                "modprobe",
            ),
            (
                "iptables-restore v1.8.9 (nf_tables): Couldn't load match `physdev':No such file",
                "package `iptables`",
            ),
            ("iptables-restore v1.8.9 (nf_tables): Set KUBE-CLUSTER-IP doesn't exist.", "a set or chain"),
            ("line 3: RULE_APPEND failed (No such file or directory): rule in chain X", "weir doctor"),
        ] {
            assert!(explain(said).contains(words), "{said}: {}", explain(said));
        }
        assert_eq!(explain("something new"), "");
    }

    #[test]
    fn a_missing_module_is_named() {
        let said = "Warning: Extension addrtype revision 0 not supported, missing kernel module?\n\
                    iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (No such file or directory)";
        assert!(explain(said).contains("`modprobe xt_addrtype`"), "{}", explain(said));
    }
}
