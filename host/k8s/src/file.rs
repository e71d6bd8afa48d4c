//! Files given by the user.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is a directory, a pipe or a device, which may block or never end.
    #[error("it is not a regular file")]
    Kind,
    /// It is too large.
    #[error("it is larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
}

/// Reads a regular file of at most `most` bytes. Anything else is refused without blocking.
///
/// # Errors
/// See [`FileError`].
pub fn read_regular(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    // Opening a pipe without a writer would block.
    let file: File =
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(FileError::Kind);
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(FileError::TooLarge(most)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_one_waits_for_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        for odd in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            assert!(matches!(read_regular(odd, 9), Err(FileError::Kind)), "{}", odd.display());
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "ten bytes.").unwrap();
        assert_eq!(read_regular(&file, 10).unwrap(), b"ten bytes.");
        assert!(matches!(read_regular(&file, 9), Err(FileError::TooLarge(9))));
        assert!(matches!(read_regular(&folder.path().join("none"), 9), Err(FileError::Io(_))));
    }
}
