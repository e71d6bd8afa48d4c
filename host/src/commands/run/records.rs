//! Records of plugins' questions and answers, written while the daemon runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tracing::warn;
use weir_policy::Record;

/// At this size, the file is renamed to `FILE.1`, so that a daemon that records for weeks does not fill the disk.
const LARGEST: u64 = 64 << 20;

/// A file of records, one per line, for `weir replay`.
pub(super) struct Records {
    path: PathBuf,
    /// Whether the last attempt failed, which is logged once.
    failed: bool,
}

impl Records {
    pub(super) fn new(path: &Path) -> Records {
        Records { path: path.to_owned(), failed: false }
    }

    /// Appends records. Those that cannot be written are lost: traffic does not wait for records.
    pub(super) fn append(&mut self, records: &[Record]) {
        if records.is_empty() {
            return;
        }
        let result = self.write(records);
        if let Err(error) = &result
            && !self.failed
        {
            warn!(file = %self.path.display(), "cannot write plugin records: {error}; these records are lost");
        }
        self.failed = result.is_err();
    }

    fn write(&self, records: &[Record]) -> io::Result<()> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        let mut file = self.open()?;
        if file.metadata()?.len() > LARGEST {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            fs::rename(&self.path, aside)?;
            file = self.open()?;
        }
        file.write_all(&lines)
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)
    }
}
