//! Components built for an earlier weir load and answer as they did then.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::goldens::check;

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn components_of_every_track_answer_as_they_did() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let tracks = listed(&root.join("tests/guests/built")).into_iter().filter(|path| path.is_dir());
    let mut asked = Vec::new();
    for track in tracks {
        for component in
            listed(&track).into_iter().filter(|path| path.extension().is_some_and(|e| e == "wasm"))
        {
            // The package only names a component that can be built; `source` takes precedence.
            check("weir-guest-identity", &json!({"source": component}), &component.with_extension(""));
            asked.push(component.strip_prefix(root).unwrap().to_owned());
        }
    }
    assert!(asked.len() >= 2, "expected components of track 0.2: {asked:?}");
}
