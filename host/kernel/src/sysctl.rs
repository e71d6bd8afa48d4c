//! Values below `/proc/sys`.

use std::fs;
use std::path::{Path, PathBuf};

use weir_core::state::Sysctl;

/// Why a value could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The file does not exist: the module that creates it is not loaded, or the kernel is too old.
    #[error("{path} does not exist{hint}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do, starting with a semicolon; empty if unknown.
        hint: &'static str,
    },
    /// Reading failed.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Writing failed.
    #[error("cannot write {value} to {path}{}", hint(path, .source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The value.
        value: i64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file does not contain a number.
    #[error("{path} contains `{text}`, which is not a number")]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// Its content.
        text: String,
    },
}

fn hint(path: &Path, source: &std::io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(13) if path.ends_with("oom_score_adj") => " (a lower value needs CAP_SYS_RESOURCE)",
        // EROFS and EACCES: containers mount /proc/sys read-only.
        Some(30 | 13) => {
            " (set it on the host, or run `weir run --init-only` once in a privileged container)"
        }
        _ => "",
    }
}

/// The file of a value, below a file system root.
pub(crate) fn file(root: &Path, sysctl: &Sysctl) -> PathBuf {
    root.join("proc/sys").join(&sysctl.0)
}

/// Reads a value; `None` if the file does not exist.
///
/// # Errors
/// When the file cannot be read or does not contain a number.
pub fn read(sysctl: &Sysctl) -> Result<Option<i64>, SysctlError> {
    read_file(&file(Path::new("/"), sysctl))
}

pub(crate) fn read_file(path: &Path) -> Result<Option<i64>, SysctlError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SysctlError::Read { path: path.to_owned(), source }),
    };
    match text.trim().parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(SysctlError::NotANumber { path: path.to_owned(), text: text.trim().to_owned() }),
    }
}

/// Writes a value.
///
/// # Errors
/// When the file does not exist or cannot be written.
pub fn write(sysctl: &Sysctl, value: i64) -> Result<(), SysctlError> {
    let path = file(Path::new("/"), sysctl);
    // If the file does not exist, creating it would not create a sysctl.
    if !path.exists() {
        let hint = if sysctl.0.starts_with("net/ipv4/vs/") { "; run `modprobe ip_vs`" } else { "" };
        return Err(SysctlError::Missing { path, hint });
    }
    write_file(&path, value)
}

pub(crate) fn write_file(path: &Path, value: i64) -> Result<(), SysctlError> {
    let written = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, value.to_string().as_bytes()));
    written.map_err(|source| SysctlError::Write { path: path.to_owned(), value, source })
}
