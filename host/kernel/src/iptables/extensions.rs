//! Which matches and targets iptables cannot use on this machine.
//!
//! `iptables-restore --test` loads an extension's library and checks the kernel for the matching module, loading
//! it if there is one. It writes nothing.

use std::collections::BTreeMap;

use weir_core::net::Family;
use weir_core::rule::extension::{EXTENSIONS, Row};
use weir_core::rule::{Extension, Table};

use super::{LOCK_WAIT, offending_line, program};
use crate::process::{self, Finished};

/// What an extension lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// The kernel's part.
    Module,
    /// The library of iptables.
    Library,
}

/// The extensions that do not work in a family, except the `skipped` ones. Extensions that cannot be tested
/// because a permission or the program is missing are not included: writing rules will report that.
pub fn missing(family: Family, skipped: &[Extension]) -> BTreeMap<Extension, Lack> {
    let mut asked: Vec<&Row> = EXTENSIONS.iter().filter(|row| !skipped.contains(&row.extension)).collect();
    // The set named by this match's example does not exist, which stops the program, so all others come first.
    asked.sort_by_key(|row| (row.table == Table::Filter, row.extension == Extension::Set));
    let mut missing = BTreeMap::new();
    // The program stops at the first library it lacks, so the remaining extensions need another run.
    while let Some(done) = test(family, &asked) {
        let mut found: BTreeMap<Extension, Lack> =
            asked.iter().filter_map(|row| Some((row.extension, lack(row, &done.stderr)?))).collect();
        if found.is_empty() {
            found.extend(
                unknown_option(family, &asked, &done.stderr).map(|row| (row.extension, Lack::Library)),
            );
        }
        asked.retain(|row| !found.contains_key(&row.extension));
        let stopped = !done.status.success() && !found.is_empty();
        missing.extend(found);
        if !stopped {
            break;
        }
    }
    missing
}

/// Returns `None` if the program could not be run.
fn test(family: Family, rows: &[&Row]) -> Option<Finished> {
    let arguments = ["-w", LOCK_WAIT, "--noflush", "--test"];
    process::run(&program(family, "restore"), &arguments, &input(family, rows)).ok()
}

/// The examples in their tables, in the given order.
fn input(family: Family, rows: &[&Row]) -> String {
    let mut text = String::new();
    for rows in rows.chunk_by(|a, b| a.table == b.table) {
        let Some(first) = rows.first() else { continue };
        text += &format!("*{}\n:WEIR-TRY - [0:0]\n", first.table);
        rows.iter().for_each(|row| text += &format!("-A WEIR-TRY {}\n", row.example(family)));
        text += "COMMIT\n";
    }
    text
}

/// What the program said about one extension. The texts come from `libxtables/xtables.c` and `libxt_set.h` of
/// iptables 1.8.
fn lack(row: &Row, said: &str) -> Option<Lack> {
    let Row { name, role, .. } = row;
    let of_kernel = [format!("Extension {name} revision"), format!("Kernel module xt_{name} is not loaded")];
    let of_library = [format!("Couldn't load {role} `{name}'"), format!("Couldn't find {role} `{name}'")];
    let says = |texts: &[String]| texts.iter().any(|text| said.contains(text));
    if says(&of_kernel) {
        Some(Lack::Module)
    } else if says(&of_library) {
        Some(Lack::Library)
    } else {
        None
    }
}

/// The target whose option is unknown because its library is not installed. The program gives no other sign.
fn unknown_option<'a>(family: Family, asked: &[&'a Row], said: &str) -> Option<&'a Row> {
    let input = input(family, asked);
    let line = said.contains("unknown option").then(|| offending_line(said, &input)).flatten()?;
    asked.iter().find(|row| line.ends_with(row.example(family))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output is that of iptables 1.8.9, both variants.
    #[test]
    fn what_is_missing_is_read_from_what_the_program_says() {
        let lack = |extension: Extension, said: &str| lack(extension.row(), said);
        let warning = "Warning: Extension physdev revision 0 not supported, missing kernel module?\n";
        assert_eq!(lack(Extension::BridgePort, warning), Some(Lack::Module));
        assert_eq!(lack(Extension::Comment, warning), None);
        let option = "Warning: Extension MARK revision 0 not supported, missing kernel module?\n\
                      iptables-nft-restore v1.8.9 (nf_tables): unknown option \"--set-xmark\"\nError occurred at line: 3\n";
        assert_eq!(lack(Extension::SetMark, option), Some(Lack::Module));
        assert_eq!(lack(Extension::Mark, option), None);
        let library = "iptables-nft-restore v1.8.9 (nf_tables): Couldn't load match `physdev':No such file or directory\n\n\
                       Error occurred at line: 3\n";
        assert_eq!(lack(Extension::BridgePort, library), Some(Lack::Library));
        let target = library.replace("match `physdev'", "target `REJECT'");
        assert_eq!(lack(Extension::Reject, &target), Some(Lack::Library));
        // The example's set never exists, and a missing permission proves nothing.
        let no_set = "iptables-nft-restore v1.8.9 (nf_tables): Set WEIR-TRY doesn't exist.\n\nError occurred at line: 3\n";
        assert_eq!(lack(Extension::Set, no_set), None);
        assert_eq!(
            lack(Extension::Set, "iptables-restore v1.8.9 (legacy): Can't open socket to ipset."),
            None
        );
        let unloaded = "iptables-restore v1.8.9 (legacy): Kernel module xt_set is not loaded in.";
        assert_eq!(lack(Extension::Set, unloaded), Some(Lack::Module));
    }

    #[test]
    fn a_target_without_its_library_is_known_by_the_line_of_its_option() {
        let rows = [Extension::Snat, Extension::Comment, Extension::Reject].map(Extension::row);
        let said = "iptables-restore v1.8.9 (nf_tables): unknown option \"--reject-with\"\nError occurred at line: 8\n\
                    Try `iptables-restore -h' or 'iptables-restore --help' for more information.";
        let found = |said: &str| unknown_option(Family::V4, &rows, said).map(|row| row.name);
        assert_eq!(found(said), Some("REJECT"));
        assert_eq!(found(&said.replace("line: 8", "line: 3")), Some("SNAT"));
        assert_eq!(found("iptables-restore v1.8.9 (nf_tables): Permission denied"), None);
    }

    #[test]
    fn examples_are_tried_in_their_tables() {
        let rows = [Extension::Snat, Extension::Reject, Extension::Comment].map(Extension::row);
        assert_eq!(
            input(Family::V6, &rows),
            "*nat\n:WEIR-TRY - [0:0]\n-A WEIR-TRY -j SNAT --to-source 2001:db8::1\nCOMMIT\n\
             *filter\n:WEIR-TRY - [0:0]\n-A WEIR-TRY -j REJECT --reject-with icmp6-port-unreachable\n-A WEIR-TRY -m comment --comment weir -j RETURN\nCOMMIT\n"
        );
    }
}
