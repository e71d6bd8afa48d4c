//! Access to iptables through its programs: `iptables-save` to read, `iptables-restore` to write.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use weir_core::causes::with_causes;
use weir_core::diff::RulesChange;
use weir_core::kernel::{Failure, FailureKind};
use weir_core::net::Family;
use weir_core::rule::Table;

use crate::process::{self, Finished, ProcessError};

pub mod complaint;
pub mod extensions;
pub mod leftovers;
pub mod save;
pub mod variant;

pub use variant::{Naming, Variant};

/// How long `iptables-restore` waits for the lock shared by the legacy programs, in seconds. Short, because
/// everything after it waits too; a failed attempt is retried.
const LOCK_WAIT: &str = "1";

/// The exit status of `iptables-restore` when another program holds the lock (`RESOURCE_PROBLEM` in
/// `include/xtables.h` of iptables).
const RESOURCE_PROBLEM: i32 = 4;

/// The name of a family's program in the variant chosen at start; the action is `save` or `restore`.
pub fn program(family: Family, action: &str) -> String {
    variant::choice().naming.program(family, action)
}

/// The variant of the programs in use, judged by the file to which their links lead; starts no program.
pub fn variant(family: Family) -> Option<(PathBuf, Variant)> {
    let file = process::find(&program(family, "restore"))?;
    let target = file.canonicalize().ok()?;
    let name = target.file_name()?.to_string_lossy().into_owned();
    if name.contains("nft") {
        Some((target, Variant::Nft))
    } else if name.contains("legacy") || name.starts_with("xtables-multi") {
        Some((target, Variant::Legacy))
    } else {
        // A wrapper script chooses at run time (the official image has one).
        None
    }
}

/// The rules of the unused variant: the program that prints them, and its output. `None` if that variant is
/// unknown, not installed, or has no tables; querying tables would create them.
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

/// Whether the kernel lacks a family's `nat` table, as Linux built for old distributions does for IPv6. The query
/// creates the table if it does not exist yet. With nf_tables, writing creates any table, so there is nothing to
/// query.
pub fn lacks_nat(family: Family) -> bool {
    if variant(family).is_none_or(|(_, variant)| variant != Variant::Legacy) {
        return false;
    }
    // A held lock or a missing permission does not mean that the table is missing.
    process::run(&program(family, "save"), &["-t", "nat"], "")
        .is_ok_and(|done| !done.status.success() && done.stderr.contains("Table does not exist"))
}

/// The rules of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The tables that could be read, as `iptables-save` prints them.
    pub text: String,
    /// The tables written by weir that could not be read.
    pub unread: BTreeMap<Table, Failure>,
}

/// Reads all tables of a family. A table that cannot be read does not affect the others.
pub fn save(family: Family) -> Saved {
    let name = program(family, "save");
    if let Ok(text) = save_with(&name, &[]) {
        return Saved { unread: incompatible(&name, &text), text };
    }
    let mut saved = Saved::default();
    for table in Table::BOTH {
        match save_with(&name, &["-t", table.name()]) {
            Ok(text) => {
                saved.unread.extend(incompatible(&name, &text));
                saved.text += &text;
            }
            Err(failure) => {
                saved.unread.insert(table, failure);
            }
        }
    }
    saved
}

fn save_with(name: &str, arguments: &[&str]) -> Result<String, Failure> {
    let done = process::run(name, arguments, "").map_err(|error| failure(&error))?;
    if done.status.success() { Ok(done.stdout) } else { Err(refused(name, &done, "")) }
}

/// The tables for which the program prints only a remark that they are incompatible, although it succeeds.
fn incompatible(name: &str, text: &str) -> BTreeMap<Table, Failure> {
    let remark = |table: Table| {
        let about = format!("# Table `{table}' is incompatible");
        let line = text.lines().find(|line| line.starts_with(&about))?;
        let said = line.trim_start_matches("# ");
        let message = format!("`{name}`: {said}{}", complaint::explain(said));
        Some((table, Failure { kind: FailureKind::Refused, message }))
    };
    Table::BOTH.into_iter().filter_map(remark).collect()
}

/// Writes a change of rules, each table as one transaction. A refused table does not block the others.
pub fn restore(change: &RulesChange) -> Result<(), Failure> {
    let name = program(change.family, "restore");
    let done = restore_with(&name, &change.restore_input());
    match done {
        Err(Failure { kind: FailureKind::Refused, .. }) if change.tables.len() > 1 => {
            let single = change.tables.iter().map(|(table, content)| {
                let tables = BTreeMap::from([(*table, content.clone())]);
                restore_with(&name, &RulesChange { tables, ..change.clone() }.restore_input())
            });
            // Every table is tried before the first failure is returned.
            single.collect::<Vec<_>>().into_iter().collect()
        }
        done => done,
    }
}

/// Feeds text to one of the variants of `iptables-restore`.
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
        let message = format!("`{program}`: another program holds the xtables lock; weir will retry soon");
        return Failure { kind: FailureKind::Locked, message };
    }
    let line = offending_line(said, input).map(|line| format!(" (line: `{line}`)")).unwrap_or_default();
    let hint = complaint::explain(said);
    Failure {
        kind: FailureKind::Refused,
        message: format!("`{program}` failed ({}): {said}{line}{hint}", done.status),
    }
}

/// The input line that the program complained about.
fn offending_line<'a>(said: &str, input: &'a str) -> Option<&'a str> {
    let (_, after) = said.split_once("line ").or_else(|| said.split_once("Error occurred at line: "))?;
    let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    let number: usize = digits.parse().ok()?;
    input.lines().nth(number.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If it were read as a table without rules, every audit would rewrite it.
    #[test]
    fn a_table_that_only_nft_can_read_is_unread() {
        let text = "# Table `nat' is incompatible, use 'nft' tool.\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n\
                    # Table `mangle' is incompatible, use 'nft' tool.\n";
        let unread = incompatible("iptables-nft-save", text);
        assert_eq!(unread.keys().copied().collect::<Vec<_>>(), [Table::Nat]);
        let message = &unread[&Table::Nat].message;
        assert!(
            message.contains("`nat' is incompatible") && message.contains("nft list ruleset"),
            "{message}"
        );
        assert!(incompatible("iptables-save", "*nat\nCOMMIT\n").is_empty());
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
