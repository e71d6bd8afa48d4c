//! Manifests: the objects of a folder or a file, instead of an API server.

use std::path::Path;

use weir_core::cluster::Event;

use crate::Problem;

mod encoding;
mod folder;
mod inventory;
mod text;

pub use folder::Folder;
pub use inventory::Inventory;

/// Reads a folder (its `*.yaml`, `*.yml` and `*.json` files, sorted by name, hidden ones and subfolders left
/// out) or a single file, as events of everything in it. `node` is the name of
/// this node.
pub fn read(path: &Path, node: &str) -> (Vec<Event>, Vec<Problem>) {
    Folder::new(path, node).scan()
}
