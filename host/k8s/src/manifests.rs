//! Manifests: objects from a folder or a file instead of an API server.

use std::path::Path;

use weir_core::cluster::Event;

use crate::Problem;

mod encoding;
mod folder;
mod inventory;
mod text;

pub use folder::Folder;
pub use inventory::Inventory;

/// Reads a folder (its `*.yaml`, `*.yml` and `*.json` files, sorted by name, without hidden files and subfolders) or
/// a single file, as events for everything in it. `node` is the name of this node.
pub fn read(path: &Path, node: &str) -> (Vec<Event>, Vec<Problem>) {
    Folder::new(path, node).scan()
}
