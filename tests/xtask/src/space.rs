//! Checks the free disk space first: a build that fills the disk fails in the middle, with misleading errors.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Bytes that a fresh clone needs at least until all tests have run. The caches of cargo and Go, which may be on another
/// disk, take as much again.
const WHOLE: u64 = 12 << 30;

/// Bytes that tests take when everything is built: images, logs, and what cargo rebuilds.
const RUN: u64 = 3 << 30;

/// Fails if the workspace's disk has too little room for all tests.
///
/// # Errors
/// The space that is needed and what to do, or when the free space cannot be read.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root();
    let asking = || format!("cannot read the free space of {}", root.display());
    let disk = rustix::fs::statvfs(root).with_context(asking)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Usually there is enough space, and counting takes a moment.
    let built = if free < WHOLE { size(&workspace::target()) + size(&workspace::lab()) } else { 0 };
    ensure_room(free, built, &root.display().to_string())
}

fn ensure_room(free: u64, built: u64, place: &str) -> Result<()> {
    let needed = WHOLE.saturating_sub(built).max(RUN);
    let gigabytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    ensure!(
        free >= needed,
        "{place} has {:.1} GB free, but building and running all tests needs {:.1} GB of free space; old files in \
         target/ can be deleted with: cargo clean",
        gigabytes(free),
        gigabytes(needed)
    );
    Ok(())
}

/// Bytes of all files below; unreadable files count as 0.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_already_needs_no_room() {
        ensure_room(WHOLE, 0, "here").unwrap();
        ensure_room(WHOLE / 2, WHOLE / 2, "here").unwrap();
        ensure_room(RUN, 3 * WHOLE, "here").unwrap();
        let error = ensure_room(4 << 30, 0, "here").unwrap_err().to_string();
        assert!(
            error.starts_with("here has 4.0 GB free, ") && error.contains(" needs 12.0 GB of free space"),
            "{error}"
        );
        ensure_room(RUN - 1, 3 * WHOLE, "here").unwrap_err();
    }

    #[test]
    fn files_of_all_levels_count() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("one"), "1").unwrap();
        fs::write(folder.path().join("a/b/two"), "22").unwrap();
        assert_eq!(size(folder.path()), 3);
        assert_eq!(size(&folder.path().join("nothing")), 0);
    }
}
