//! Readers of user-provided text: they accept any bytes, and report problems in lines that are safe for a
//! terminal. The fuzz target runs this, and so does weir-k8s' own test `corpus`, on the corpus and mutations of
//! it.

use weir_core::cluster::Event;
use weir_k8s::Problem;
use weir_k8s::config::{self, ConfigError};
use weir_k8s::manifests::Inventory;

/// Reads text both as manifests and as a configuration file.
pub(crate) fn manifests(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (events, problems) = read(text);
    problems.iter().for_each(is_a_line);
    // Two of these close what the text left open; the third is broken, but must not affect any object.
    let (with_broken, told) = read(&format!("{text}\n---\n---\n[\n"));
    assert!(
        told.len() > problems.len() || told.iter().any(|problem| problem.message.contains("not readable"))
    );
    if !has_directives(text) {
        assert_eq!(with_broken, events, "a broken document changes the result of other documents");
    }
    match config::parse(text, serde_json::Map::new()) {
        Ok((configuration, warnings)) => {
            warnings.iter().for_each(is_a_line);
            let _ = configuration.proxy_config();
        }
        Err(ConfigError::Invalid(problems)) => problems.iter().for_each(is_a_line),
        Err(_) => {}
    }
}

fn read(text: &str) -> (Vec<Event>, Vec<Problem>) {
    let (inventory, problems) = Inventory::parse(text, "n");
    (Inventory::default().changes_to(&inventory), problems)
}

fn is_a_line(problem: &Problem) {
    let line = problem.to_string();
    assert!(!line.is_empty() && !line.chars().any(char::is_control), "{line:?}");
}

/// A document with directives cannot be distinguished from the end of the previous one if one of the two cannot be
/// read.
fn has_directives(text: &str) -> bool {
    text.lines().any(|line| line.starts_with('%'))
}
