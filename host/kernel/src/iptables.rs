//! iptables through its own programs: `iptables-save` to read, `iptables-restore` to write.

use std::fs;
use std::path::PathBuf;

use weir_core::causes::with_causes;
use weir_core::diff::RulesChange;
use weir_core::kernel::{Failure, FailureKind};
use weir_core::net::Family;

use crate::process::{self, Finished, ProcessError};

pub mod leftovers;
pub mod save;
pub mod variant;

pub use variant::{Naming, Variant};

/// How long `iptables-restore` waits for the lock that the legacy variant's programs share, in seconds. Short,
/// because everything after it waits too; a failed try is repeated.
const LOCK_WAIT: &str = "1";

/// `iptables-restore` ends with this status when somebody else holds the lock (`RESOURCE_PROBLEM` in
/// `include/xtables.h` of iptables).
const RESOURCE_PROBLEM: i32 = 4;

/// Name of a program of one family in the variant that was chosen at start; the action is `save` or `restore`.
pub fn program(family: Family, action: &str) -> String {
    variant::choice().naming.program(family, action)
}

/// The variant of the programs that are used, by what their name leads to; no program is started.
pub fn variant(family: Family) -> Option<(PathBuf, Variant)> {
    let file = process::find(&program(family, "restore"))?;
    let target = file.canonicalize().ok()?;
    let name = target.file_name()?.to_string_lossy().into_owned();
    if name.contains("nft") {
        Some((target, Variant::Nft))
    } else if name.contains("legacy") || name.starts_with("xtables-multi") {
        Some((target, Variant::Legacy))
    } else {
        // A wrapper script chooses by itself (the official image has one).
        None
    }
}

/// What the variant that is not used holds: the program that shows it, and what it prints.
/// `None` where that variant is unknown, not installed, or has no tables; asking for tables would make them.
pub fn other_variant(family: Family) -> Option<(String, String)> {
    let other = variant(family)?.1.other();
    let tables = match (other, family) {
        (Variant::Legacy, Family::V4) => Some("/proc/net/ip_tables_names"),
        (Variant::Legacy, Family::V6) => Some("/proc/net/ip6_tables_names"),
        (Variant::Nft, _) => None,
    };
    if tables.is_some_and(|file| fs::read_to_string(file).unwrap_or_default().is_empty()) {
        return None;
    }
    let name = Naming::Of(other).program(family, "save");
    let done = process::run(&name, &[], "").ok()?;
    done.status.success().then_some((name, done.stdout))
}

/// Whether the kernel lacks the table `nat` of a family, as Linux built for old distributions does for IPv6. Asking makes the
/// table where there is none yet; nf_tables makes any table when it is written, so that it is not asked.
pub fn lacks_nat(family: Family) -> bool {
    if variant(family).is_none_or(|(_, variant)| variant != Variant::Legacy) {
        return false;
    }
    // A lock or a missing permission is no answer.
    process::run(&program(family, "save"), &["-t", "nat"], "")
        .is_ok_and(|done| !done.status.success() && done.stderr.contains("Table does not exist"))
}

/// Whether `iptables-restore` cannot use the match of IPVS, for want of its module or its library. Nothing is written; the
/// kernel loads the module if it has it.
pub fn lacks_ipvs_match(family: Family) -> bool {
    let arguments = ["-w", LOCK_WAIT, "--noflush", "--test"];
    // A lock or a missing permission is no answer.
    process::run(&program(family, "restore"), &arguments, IPVS_MATCH)
        .is_ok_and(|done| !done.status.success() && done.stderr.contains("ipvs"))
}

/// A rule that is only tried.
const IPVS_MATCH: &str = "*filter\n:WEIR-TRY - [0:0]\n-A WEIR-TRY -m ipvs --ipvs -j RETURN\nCOMMIT\n";

/// All tables of a family, as `iptables-save` prints them.
pub fn save(family: Family) -> Result<String, Failure> {
    let name = program(family, "save");
    let done = process::run(&name, &[], "").map_err(|error| failure(&error))?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    Err(refused(&name, &done, ""))
}

/// Writes a change of rules, all of it or nothing.
pub fn restore(change: &RulesChange) -> Result<(), Failure> {
    restore_with(&program(change.family, "restore"), &change.restore_input())
}

/// Feeds text to this program, which is one of the variants of `iptables-restore`.
pub fn restore_with(name: &str, input: &str) -> Result<(), Failure> {
    let arguments = ["-w", LOCK_WAIT, "--noflush", "--counters"];
    let done = process::run(name, &arguments, input).map_err(|error| failure(&error))?;
    if done.status.success() {
        return Ok(());
    }
    Err(refused(name, &done, input))
}

fn failure(error: &ProcessError) -> Failure {
    let (kind, hint) = match error {
        ProcessError::Missing(_) => (FailureKind::Refused, ": install the package `iptables`"),
        ProcessError::Run { .. } | ProcessError::Deadline(_) => (FailureKind::Refused, ""),
    };
    Failure { kind, message: format!("{}{hint}", with_causes(error)) }
}

fn refused(program: &str, done: &Finished, input: &str) -> Failure {
    let said = done.stderr.trim();
    if done.status.code() == Some(RESOURCE_PROBLEM) && said.contains("lock") {
        let message = format!("`{program}`: another program holds the xtables lock; tried again soon");
        return Failure { kind: FailureKind::Busy, message };
    }
    let line = offending_line(said, input).map(|line| format!(" (line: `{line}`)")).unwrap_or_default();
    let hint = hint(said, input);
    Failure {
        kind: FailureKind::Refused,
        message: format!("`{program}` failed, {}: {said}{line}{hint}", done.status),
    }
}

/// The line of the input that the program complained about.
fn offending_line<'a>(said: &str, input: &'a str) -> Option<&'a str> {
    let (_, after) = said.split_once("line ").or_else(|| said.split_once("Error occurred at line: "))?;
    let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    let number: usize = digits.parse().ok()?;
    input.lines().nth(number.checked_sub(1)?)
}

fn hint(said: &str, input: &str) -> &'static str {
    if said.contains("Permission denied") {
        "; run as root, or with the capability CAP_NET_ADMIN"
    } else if said.contains("Can't open socket to ipset") {
        // `get_version` of libxt_set opens a raw socket.
        "; the capability CAP_NET_RAW is needed, too"
    } else if said.contains("can't initialize") || said.contains("Could not fetch rule set generation id") {
        "; load the tables: `modprobe -a ip_tables ip6_tables nf_tables`"
    } else if input.contains("-m ipvs") && (said.contains("ipvs") || said.contains("RULE_APPEND failed")) {
        "; the `ipvs` match is needed: `modprobe xt_ipvs`"
    } else if said.contains("match-set") || said.contains("Set ") {
        "; the `set` match is needed: `modprobe xt_set`"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_raw_sockets_is_told_what_it_lacks() {
        let said = "iptables-restore v1.8.9 (nf_tables): Can't open socket to ipset.";
        assert!(hint(said, "").contains("CAP_NET_RAW"));
    }

    #[test]
    fn the_offending_line_is_shown() {
        let input = "*nat\n:X - [0:0]\n-A X -m nonsense -j ACCEPT\nCOMMIT\n";
        let said = "iptables-restore v1.8.9 (nf_tables): Couldn't load match `nonsense'\n\nError occurred at line: 3";
        assert_eq!(offending_line(said, input), Some("-A X -m nonsense -j ACCEPT"));
        assert_eq!(offending_line("iptables-restore: line 4 failed", input), Some("COMMIT"));
        assert_eq!(offending_line("nothing said", input), None);
    }
}
