//! Components built for an earlier weir load and answer as they did then.

use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use weir_policy::configuration::Digest;

use crate::goldens::check;

/// The components and their SHA-256. Never change a line: a component that was built again proves nothing.
const KEPT: [(&str, &str); 2] = [
    ("0.2/annotations.wasm", "sha256:89ffe974014fcf19726057bbe276a8c74664e198486bb578295f536846644c0c"),
    ("0.2/load-aware.wasm", "sha256:70752901578acc4551a799141cf12acb43997358d60678460cdfe5a10ca14e2f"),
];

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn components_of_every_track_answer_as_they_did() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("tests/guests/built");
    let tracks = listed(&root).into_iter().filter(|path| path.is_dir());
    let mut asked = Vec::new();
    for track in tracks {
        for component in
            listed(&track).into_iter().filter(|path| path.extension().is_some_and(|e| e == "wasm"))
        {
            // The package only names a component that can be built; `source` takes precedence.
            check("weir-guest-identity", &json!({"source": component}), &component.with_extension(""));
            let digest = Digest(Sha256::digest(std::fs::read(&component).unwrap()).into());
            asked.push((component.strip_prefix(&root).unwrap().display().to_string(), digest.to_string()));
        }
    }
    let kept = KEPT.map(|(name, digest)| (name.to_owned(), digest.to_owned()));
    assert_eq!(asked, kept);
}
