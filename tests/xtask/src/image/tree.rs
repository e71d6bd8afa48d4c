//! The content of a layer: paths and entries, independent of any format.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// An entry at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    /// A regular file and its permissions.
    File {
        content: Vec<u8>,
        mode: u32,
    },
    /// A symbolic link and its target.
    Link(String),
}

/// Entries by path (without a leading slash), parents before their content.
#[derive(Debug, Default)]
pub(super) struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    pub(super) fn directory(&mut self, path: &str) {
        self.add(path, Entry::Directory);
    }

    /// Adds a regular file with the content of a file on the host.
    pub(super) fn copy(&mut self, path: &str, from: &Path, mode: u32) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.add(path, Entry::File { content, mode });
        Ok(())
    }

    /// Adds the entries of a host directory that `wanted` accepts by their path in the tree.
    pub(super) fn copy_all(&mut self, path: &str, from: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        let reading = || format!("cannot read {}", from.display());
        for entry in fs::read_dir(from).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let path = format!("{path}{}", entry.file_name().to_string_lossy());
            let metadata = entry.metadata().with_context(reading)?;
            if !wanted(&path) {
                continue;
            }
            if metadata.is_symlink() {
                let target = fs::read_link(entry.path()).with_context(reading)?;
                self.link(&path, &target.to_string_lossy());
            } else if metadata.is_dir() {
                self.directory(&path);
                self.copy_all(&format!("{path}/"), &entry.path(), wanted)?;
            } else {
                self.copy(&path, &entry.path(), metadata.permissions().mode() & 0o7777)?;
            }
        }
        Ok(())
    }

    /// Adds a regular file that everyone may read.
    pub(super) fn text(&mut self, path: &str, text: &str) {
        self.add(path, Entry::File { content: text.into(), mode: 0o644 });
    }

    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.add(path, Entry::Link(target.to_owned()));
    }

    fn add(&mut self, path: &str, entry: Entry) {
        let mut parent = path;
        while let Some((above, _)) = parent.rsplit_once('/') {
            self.entries.entry(above.to_owned()).or_insert(Entry::Directory);
            parent = above;
        }
        self.entries.insert(path.to_owned(), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_stay_what_they_are() {
        let mut tree = Tree::default();
        tree.text("usr/share/x", "x");
        tree.link("lib", "usr/lib");
        tree.text("usr-local", "no child of usr");
        let paths: Vec<&str> = tree.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["lib", "usr", "usr-local", "usr/share", "usr/share/x"]);
        assert!(tree.contains("usr/share"));
    }
}
