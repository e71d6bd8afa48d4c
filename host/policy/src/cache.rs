//! Compiled code on disk, so that a restart takes milliseconds.
//!
//! Machine code cannot be verified: anyone who can write to this directory can run anything as weir. So the
//! directory is used only if it belongs to this user and only this user can write to it. Each file is read through
//! one checked descriptor and compared with the digest stored with it. Anything unexpected is deleted and
//! recompiled.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};
use wasmtime::component::Component;

use crate::compile::deserialize;
use crate::configuration::Digest;
use crate::engine::Runtime;
use crate::stable_hash::StableHasher;

/// The first bytes of our files, followed by the digest of the rest.
const MAGIC: &[u8; 8] = b"weircwa1";

/// The maximum file size; SpiderMonkey's code is 33.5 MB.
const LARGEST: u64 = 256 << 20;

/// The maximum number of files; the oldest are deleted first.
const FILES: usize = 64;

/// A directory of compiled code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    directory: PathBuf,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be created or inspected.
    #[error("cannot use the directory {path} for compiled plugins")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another user could put code there.
    #[error(
        "the directory {path} for compiled plugins belongs to user {owner} and has mode {mode:o}, but it must be a \
         directory, belong to user {user} and have mode 700"
    )]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permissions.
        mode: u32,
        /// This process's user.
        user: u32,
    },
}

impl Cache {
    /// Opens the cache in a directory, which is created if it does not exist.
    pub fn open(directory: &Path) -> Result<Cache, CacheError> {
        let failed = |source| CacheError::Io { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let metadata = fs::symlink_metadata(directory).map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        if !metadata.is_dir() || metadata.uid() != user || metadata.mode() & 0o077 != 0 {
            return Err(CacheError::Untrusted {
                path: directory.to_owned(),
                owner: metadata.uid(),
                mode: metadata.mode() & 0o7777,
                user,
            });
        }
        Ok(Cache { directory: directory.to_owned() })
    }

    /// The compiled component with this digest, if the cache has it and it is intact.
    pub(crate) fn get(&self, runtime: &Runtime, digest: Digest) -> Option<Component> {
        let path = self.path(runtime, digest);
        let code = match read(&path) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(
                    file = %path.display(),
                    "cannot use the cached compiled plugin: {error}; compiling the plugin again"
                );
                let _ = fs::remove_file(&path);
                return None;
            }
        };
        match deserialize(runtime, &code) {
            Ok(component) => Some(component),
            Err(error) => {
                debug!(
                    file = %path.display(),
                    "cannot use the cached compiled plugin: {error:#}; compiling the plugin again"
                );
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Stores compiled code. A cache that cannot be written only costs time.
    pub(crate) fn put(&self, runtime: &Runtime, digest: Digest, code: &[u8]) {
        let path = self.path(runtime, digest);
        if let Err(error) = write(&path, code).and_then(|()| self.tidy()) {
            warn!(file = %path.display(), "cannot cache the compiled plugin: {error}");
        }
    }

    fn path(&self, runtime: &Runtime, digest: Digest) -> PathBuf {
        // Each version and configuration of the engine has its own files, so that two versions of weir do not
        // delete each other's.
        let mut hasher = StableHasher::default();
        runtime.engine().precompile_compatibility_hash().hash(&mut hasher);
        let name = digest.to_string();
        let name = name.strip_prefix("sha256:").unwrap_or(&name);
        self.directory.join(format!("{name}-{:016x}.cwasm", hasher.finish()))
    }

    /// Deletes the oldest files beyond [`FILES`].
    fn tidy(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        for (_, path) in files.iter().take(files.len().saturating_sub(FILES)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn odd(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let follow_no_link =
        i32::try_from(OFlags::NOFOLLOW.bits()).map_err(|_| odd("O_NOFOLLOW is not available"))?;
    let mut file = OpenOptions::new().read(true).custom_flags(follow_no_link).open(path)?;
    let metadata = file.metadata()?;
    let user = rustix::process::geteuid().as_raw();
    if !metadata.is_file() || metadata.uid() != user || metadata.mode() & 0o022 != 0 {
        return Err(odd("it is not a regular file that only this user can write to"));
    }
    if metadata.len() > LARGEST {
        return Err(odd("it is too large"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some((head, code)) = bytes.split_at_checked(MAGIC.len() + 32) else {
        return Err(odd("it is truncated"));
    };
    if !head.starts_with(MAGIC) || head[MAGIC.len()..] != Sha256::digest(code)[..] {
        return Err(odd("its content has changed"));
    }
    Ok(code.to_vec())
}

/// Writes a file completely or not at all.
fn write(path: &Path, code: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = (|| {
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const DIGEST: Digest = Digest([7; 32]);

    fn code(runtime: &Runtime) -> Vec<u8> {
        // The smallest possible component.
        runtime.engine().precompile_component(b"\0asm\x0d\0\x01\0").unwrap()
    }

    struct Kept {
        runtime: Runtime,
        cache: Cache,
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    fn kept() -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        cache.put(&runtime, DIGEST, &code(&runtime));
        let path = cache.path(&runtime, DIGEST);
        Kept { runtime, cache, path, _folder: folder }
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let Kept { runtime, cache, path, _folder } = kept();
        assert!(cache.get(&runtime, DIGEST).is_some());
        assert!(cache.get(&runtime, Digest([8; 32])).is_none());
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn changed_cut_foreign_and_linked_files_are_not_run_but_deleted() {
        let spoil: [fn(&Path); 5] = [
            |path| {
                let mut bytes = fs::read(path).unwrap();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            |path| fs::write(path, &fs::read(path).unwrap()[..20]).unwrap(),
            |path| fs::write(path, b"machine code of another program, long enough to have a head").unwrap(),
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o622)).unwrap(),
            |path| {
                let elsewhere = path.with_extension("elsewhere");
                fs::rename(path, &elsewhere).unwrap();
                symlink(&elsewhere, path).unwrap();
            },
        ];
        for (i, spoil) in spoil.into_iter().enumerate() {
            let Kept { runtime, cache, path, _folder } = kept();
            spoil(&path);
            assert!(cache.get(&runtime, DIGEST).is_none(), "case {i}");
            assert!(fs::symlink_metadata(&path).is_err(), "case {i} still exists");
        }
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(Cache::open(folder.path()), Err(CacheError::Untrusted { .. })));
    }

    #[test]
    fn only_so_many_files_are_kept() {
        let Kept { runtime, cache, path, _folder } = kept();
        for n in 0..FILES + 3 {
            cache.put(&runtime, Digest([n as u8 + 10; 32]), &code(&runtime));
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), FILES);
    }
}
