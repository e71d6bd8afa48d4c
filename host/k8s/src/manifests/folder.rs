//! A folder of manifests that is scanned repeatedly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weir_core::cluster::Event;

use super::inventory::{Inventory, Key, Object};
use super::{encoding, text};
use crate::Problem;
use crate::document::{Format, SyntaxError};
use crate::objects::Decoded;

/// A folder of manifests, or a single file, with the last good version of each object.
///
/// Mistakes never remove anything: an unreadable file or an invalid object keeps its previous version, a file with an
/// unparseable document keeps the objects that its other documents do not name, and a missing folder keeps
/// everything. Only a file deleted from a folder, or an object removed from a valid file, is gone.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    node: String,
    files: BTreeMap<PathBuf, FileState>,
    announced: Inventory,
    /// Whether the path could be listed at least once.
    listed: bool,
}

/// One file, as last read.
#[derive(Debug, Default)]
struct FileState {
    /// `None` if it was never read completely.
    stamp: Option<Stamp>,
    /// Whether the file was read again after the stamp was first seen. A second write within the same clock tick may
    /// not change the stamp, so a single reading does not prove the content.
    reading: Reading,
    digest: Option<u64>,
    objects: BTreeMap<Key, Object>,
    problems: Vec<Problem>,
    ignored: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    /// Must be read once more.
    #[default]
    First,
    /// Read twice with the same stamp.
    Confirmed,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("larger than {} MiB, and therefore not read", MAX_BYTES >> 20)]
    TooLarge,
    #[error("cannot be read: {0}")]
    Encoding(#[from] encoding::Utf16),
}

/// The largest file that is read.
const MAX_BYTES: u64 = 256 << 20;
/// The extensions of files that are read in a folder.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

impl Folder {
    /// A folder, or a single file, that has not been scanned. `node` is the name of this node.
    pub fn new(path: &Path, node: &str) -> Folder {
        Folder {
            path: path.to_owned(),
            node: node.to_owned(),
            files: BTreeMap::new(),
            announced: Inventory::default(),
            listed: false,
        }
    }

    /// Scans for changes. The events lead from the state announced by the last scan to the current one; all current
    /// problems are returned each time.
    pub fn scan(&mut self) -> (Vec<Event>, Vec<Problem>) {
        let mut problems = Vec::new();
        match list(&self.path) {
            Ok(paths) => {
                self.refresh(paths);
                self.listed = true;
            }
            Err(error) => {
                let stays = if self.listed { "; its last known content stays in use" } else { "" };
                problems.push(Problem::of_file(&self.path, format!("cannot be read: {error}{stays}")));
            }
        }
        let (inventory, clashes) = self.merged();
        problems.extend(self.files.values().flat_map(|file| file.problems.iter().cloned()));
        problems.extend(clashes);
        let events = self.announced.changes_to(&inventory);
        self.announced = inventory;
        (events, problems)
    }

    /// Whether the path could be listed at least once. Before that, it is unknown which objects are wanted. After that,
    /// an empty folder means that no object is wanted.
    pub fn is_complete(&self) -> bool {
        self.listed
    }

    /// How many objects of other kinds were ignored.
    pub fn ignored(&self) -> usize {
        self.files.values().map(|file| file.ignored).sum()
    }

    fn refresh(&mut self, paths: BTreeSet<PathBuf>) {
        self.files.retain(|path, _| paths.contains(path));
        for path in paths {
            self.files.entry(path.clone()).or_default().refresh(&path, &self.node);
        }
    }

    /// All objects; if two files contain the same one, the last file's is used.
    fn merged(&self) -> (Inventory, Vec<Problem>) {
        let mut inventory = Inventory::default();
        let mut clashes = Vec::new();
        let mut origin: BTreeMap<&Key, &Path> = BTreeMap::new();
        for (path, file) in &self.files {
            for (key, object) in &file.objects {
                inventory.insert(key.clone(), object.clone());
                if let Some(other) = origin.insert(key, path)
                    && !key.is_second()
                {
                    let message = format!("is also in {}; the object in this file is used", other.display());
                    let problem = Problem::of_object(key.to_string(), message);
                    clashes.push(Problem { file: Some(path.clone()), ..problem });
                }
            }
        }
        (inventory, clashes)
    }
}

/// The files to read: the path itself, unless it is a folder.
fn list(path: &Path) -> io::Result<BTreeSet<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(BTreeSet::from([path.to_owned()]));
    }
    let mut paths = BTreeSet::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        // A dangling link counts as a deleted file and is no reason to stop.
        if is_manifest(&path) && fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            paths.insert(path);
        }
    }
    Ok(paths)
}

/// Whether a file name is that of a manifest; editors' temporary files are hidden or have another extension.
fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let ending = path.extension().and_then(|ending| ending.to_str());
    !hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

impl FileState {
    fn refresh(&mut self, path: &Path, node: &str) {
        if self.reading == Reading::Confirmed
            && fs::metadata(path).is_ok_and(|m| self.stamp == Some(Stamp::of(&m)))
        {
            return;
        }
        if let Err(error) = self.read(path, node) {
            let stays = if self.objects.is_empty() { "" } else { "; its last good version stays in use" };
            self.problems = vec![Problem::of_file(path, format!("{error}{stays}"))];
        }
    }

    /// Reads the file. The new state is used completely or not at all.
    fn read(&mut self, path: &Path, node: &str) -> Result<(), FileError> {
        let previous = self.stamp.take();
        // Taken as well, so that a file that was unreadable for a while is judged again.
        let known = self.digest.take();
        let mut file = File::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let mut bytes = Vec::new();
        file.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(FileError::TooLarge);
        }
        self.stamp = Some(stamp);
        self.reading = if previous == self.stamp { Reading::Confirmed } else { Reading::First };
        self.digest = Some(digest_of(&bytes));
        if known == self.digest {
            return Ok(());
        }
        let format = if path.extension().is_some_and(|e| e == "json") { Format::Json } else { Format::Yaml };
        let encoding::Text { text, replaced } = encoding::text(bytes)?;
        let mut contents = text::read(&text, format, node);
        if let Some(line) = replaced {
            contents.is_partial = true;
            let message = format!(
                "line {line}: not UTF-8 text; invalid bytes are read as \u{fffd}; save the file as UTF-8"
            );
            contents.problems.insert(0, Problem::of_object("", message));
        }
        self.take_over(path, contents);
        Ok(())
    }

    fn take_over(&mut self, path: &Path, contents: text::Contents) {
        let mut last_good = std::mem::take(&mut self.objects);
        let mut problems = contents.problems;
        for (key, decoded) in contents.objects {
            let old = last_good.remove(&key);
            let object = match decoded {
                Decoded::Here(object) => Some(object),
                Decoded::Gone => None,
                Decoded::Invalid => {
                    let message = match old {
                        Some(_) => "invalid; its last good version stays in use",
                        None => "invalid; it is left out",
                    };
                    if !key.is_second() {
                        problems.push(Problem::of_object(key.to_string(), message));
                    }
                    old
                }
            };
            self.objects.extend(object.map(|object| (key, object)));
        }
        // An unreadable part may contain any of the objects that are missing now.
        last_good.retain(|_, _| contents.is_partial || !contents.broken.is_empty());
        if contents.broken.is_empty() && !last_good.is_empty() {
            let message = "not completely readable; its last good version stays in use";
            problems.push(Problem::of_object("", message));
        }
        let is_cut = matches!(contents.broken.last(), Some(SyntaxError::TooMany));
        let stays = match (last_good.is_empty(), self.objects.is_empty()) {
            (false, _) => "; its last good version stays in use",
            (true, false) if is_cut => "; the valid documents before it are used",
            (true, false) => "; the other documents of the file are used",
            (true, true) => "",
        };
        problems.extend(contents.broken.iter().map(|error| {
            // The last error of such a file speaks for all.
            let stays = if is_cut && !matches!(error, SyntaxError::TooMany) { "" } else { stays };
            Problem::of_object("", format!("not readable: {error}{stays}"))
        }));
        self.objects.append(&mut last_good);
        self.problems =
            problems.into_iter().map(|problem| Problem { file: Some(path.to_owned()), ..problem }).collect();
        self.ignored = contents.ignored;
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn digest_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
