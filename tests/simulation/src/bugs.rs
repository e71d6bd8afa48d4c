//! Deliberate bugs: checks whether the simulation finds them.
//!
//! The sources are copied below `target/bugs`, and all bugs of `bugs.json` are inserted into the copy at once,
//! each next to the code it replaces: `if bug 7 is chosen { the bug } else { the right code }`. So a single build
//! serves them all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde::Deserialize;

/// The directories the simulation is built from.
const SOURCES: [&str; 6] = ["host", "plugin-sdk", "tests/laws", "tests/simulation", "tests/world", "wit"];

/// Chooses a bug in the program that contains them all.
const VARIABLE: &str = "WEIR_BUG";

/// The code added to the copy of weir-core.
const CHOICE: &str = r#"
pub mod bugs {
    //! Deliberate bugs; at most one is chosen.
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<usize> = LazyLock::new(|| std::env::var("WEIR_BUG").ok().and_then(|n| n.parse().ok()).unwrap_or(0));
    /// Whether a bug is chosen.
    pub fn on(number: usize) -> bool { *CHOSEN == number }
}
"#;

/// A deliberate bug.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bug {
    name: String,
    /// A description in one sentence.
    what: String,
    file: String,
    /// An expression or whole statements that occur exactly once in the file.
    from: String,
    /// The replacement.
    to: String,
}

/// Runs up to `seeds` seeds with each bug whose name contains `name`, and prints which seed found it. Returns the
/// number of bugs that were not found.
///
/// # Errors
/// When a bug does not apply, or does not compile.
pub fn hunt(name: &str, seeds: u64) -> Result<usize, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    let list = fs::read_to_string(root.join("tests/simulation/bugs.json"));
    let list = list.map_err(|error| format!("tests/simulation/bugs.json: {error}"))?;
    let bugs: Vec<Bug> =
        serde_json::from_str(&list).map_err(|error| format!("tests/simulation/bugs.json: {error}"))?;
    let program = build(&root, &bugs)?;
    let mut missed = 0;
    println!("| Bug | Found by |\n|---|---|");
    for (index, bug) in bugs.iter().enumerate().filter(|(_, bug)| bug.name.contains(name)) {
        let output = Command::new(&program)
            .args(["--first", "--seeds", &seeds.to_string()])
            .env(VARIABLE, (index + 1).to_string())
            .output()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = match output.status.success() {
            true => {
                missed += 1;
                "NOT FOUND"
            }
            false => text.lines().next().unwrap_or("the program exited without output"),
        };
        println!("| {}: {} | {found} |", bug.name, bug.what);
    }
    Ok(missed)
}

fn build(root: &Path, bugs: &[Bug]) -> Result<PathBuf, String> {
    let target = root.join("target/bugs");
    let copy = target.join("workspace");
    let mut files = BTreeMap::new();
    SOURCES.iter().try_for_each(|source| collect(root, Path::new(source), &mut files)).map_err(said)?;
    for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        files.insert(PathBuf::from(file), fs::read(root.join(file)).map_err(said)?);
    }
    for (path, content) in &mut files {
        if path.ends_with("Cargo.toml") {
            let text = String::from_utf8_lossy(content);
            *content = manifest(&text, path == Path::new("Cargo.toml")).into_bytes();
        }
    }
    for (index, bug) in bugs.iter().enumerate() {
        let content =
            files.get_mut(Path::new(&bug.file)).ok_or_else(|| format!("file not found: {}", bug.file))?;
        *content = insert(&String::from_utf8_lossy(content), bug, index + 1)?.into_bytes();
    }
    let core =
        files.get_mut(Path::new("host/core/src/lib.rs")).ok_or("file not found: host/core/src/lib.rs")?;
    core.extend_from_slice(CHOICE.as_bytes());
    for (path, content) in &files {
        // Unchanged files are not compiled again.
        let path = copy.join(path);
        if fs::read(&path).is_ok_and(|old| old == *content) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap_or(&copy)).map_err(said)?;
        fs::write(&path, content).map_err(said)?;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "weir-simulation"]).current_dir(&copy);
    // Warnings about code that a bug leaves unused are irrelevant.
    let output = cargo.env("CARGO_TARGET_DIR", target.join("target")).output().map_err(said)?;
    match output.status.success() {
        true => Ok(target.join("target/debug/weir-simulation")),
        false => Err(format!("a bug does not compile:\n{}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn said(error: io::Error) -> String {
    format!("cannot copy the sources: {error}")
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, folder.join(entry.file_name()));
        if kind.is_dir() && entry.file_name() != "target" {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            files.insert(path.clone(), fs::read(root.join(&path))?);
        }
    }
    Ok(())
}

/// A manifest without test-only parts; the workspace's only members are the simulation and its dependencies.
fn manifest(text: &str, of_workspace: bool) -> String {
    let (mut kept, mut skips) = (String::new(), false);
    for line in text.lines() {
        if line.starts_with('[') {
            skips = line == "[dev-dependencies]";
        }
        let ends_members = of_workspace && skips && line == "]";
        let begins_members = of_workspace && line == "members = [";
        if begins_members {
            kept.push_str("members = [\"tests/simulation\"]\n");
        }
        skips |= begins_members;
        if !skips {
            kept.push_str(line);
            kept.push('\n');
        }
        skips &= !ends_members;
    }
    kept
}

/// Inserts a bug next to the code it replaces.
fn insert(text: &str, bug: &Bug, number: usize) -> Result<String, String> {
    let times = text.matches(&bug.from).count();
    if times != 1 {
        return Err(format!(
            "bug {}: {} contains this {times} times, expected once: {}",
            bug.name, bug.file, bug.from
        ));
    }
    let of_core = bug.file.starts_with("host/core/");
    let on = format!("{}::bugs::on({number})", if of_core { "crate" } else { "weir_core" });
    let choice = format!("if {on} {{ {} }} else {{ {} }}", bug.to, bug.from);
    let is_statement = bug.from.ends_with([';', '}']);
    Ok(text.replace(&bug.from, &if is_statement { choice } else { format!("({choice})") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list with outdated code positions would find nothing.
    #[test]
    fn every_bug_has_its_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let list = fs::read_to_string(root.join("tests/simulation/bugs.json")).expect("the list of bugs");
        let bugs: Vec<Bug> = serde_json::from_str(&list).expect("a list of bugs");
        for (index, bug) in bugs.iter().enumerate() {
            let text = fs::read_to_string(root.join(&bug.file)).expect("a source");
            insert(&text, bug, index + 1).unwrap();
        }
    }
}
