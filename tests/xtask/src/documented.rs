//! The commands in the pages and workflows exist, with the arguments that are written there; what a workflow must use.

use std::fs;
use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::{Arguments, workspace};

/// Passes the text of every page and workflow below a directory to `take`.
fn each_page(folder: &Path, take: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let is_ours =
            name == ".github" || !name.starts_with('.') && name != "target" && name != "node_modules";
        if entry.file_type().unwrap().is_dir() {
            if is_ours {
                each_page(&path, take);
            }
        } else if name.ends_with(".md") || name.ends_with(".yml") {
            take(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

/// The arguments in a line that begins with them, up to the end of the code, a comment or a redirection. Knows single
/// quotes.
fn arguments(line: &str) -> Vec<String> {
    let line = line.split('`').next().unwrap_or_default();
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    let is_argument = |word: &String| !["#", ">", "\\", "&&"].contains(&word.as_str());
    words.into_iter().filter(|word| !word.is_empty()).take_while(is_argument).collect()
}

#[test]
fn every_documented_command_is_accepted() {
    let mut count = 0;
    each_page(workspace::root(), &mut |path, text| {
        for line in text.lines() {
            for start in ["`cargo xtask ", "$ cargo xtask ", "run: cargo xtask "] {
                for rest in line.split(start).skip(1) {
                    let words = arguments(rest);
                    let parsed = Arguments::try_parse_from(["xtask".to_owned()].iter().chain(&words));
                    // Prose may name a command without its arguments.
                    let refused =
                        parsed.err().filter(|error| error.kind() != ErrorKind::MissingRequiredArgument);
                    assert!(refused.is_none(), "{}: {words:?}: {}", path.display(), refused.unwrap());
                    count += 1;
                }
            }
        }
    });
    assert!(count > 50, "only {count} commands");
}

#[test]
fn every_tested_limit_has_a_command() {
    let page = fs::read_to_string(workspace::root().join("host/LIMITS.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let command = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(command.starts_with("`cargo ") || command.starts_with("`weir "), "{command}");
    }
}

/// A tag can move to another commit. The action would then change the workflow, and a release.
#[test]
fn workflows_use_actions_by_commit() {
    let mut count = 0;
    each_page(&workspace::root().join(".github"), &mut |path, text| {
        for action in text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action) {
            let commit =
                action.split_once('@').map_or("", |(_, rest)| rest.split(' ').next().unwrap_or_default());
            let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_commit || action.starts_with("./"), "{}: {action}", path.display());
            count += 1;
        }
    });
    assert!(count > 3, "only {count} actions");
}

#[test]
fn a_release_waits_for_all_tests() {
    let workflow =
        |name: &str| fs::read_to_string(workspace::root().join(".github/workflows").join(name)).unwrap();
    let (release, test) = (workflow("release.yml"), workflow("test.yml"));
    assert!(
        release.contains("  test:\n    uses: ./.github/workflows/test.yml\n  make:\n    needs: test\n"),
        "{release}"
    );
    assert!(release.contains("  publish:\n    needs: make\n"), "{release}");
    assert!(test.contains("  workflow_call:\n") && test.contains("- run: .ci/run\n"), "{test}");
}
