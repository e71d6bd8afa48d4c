//! Writes cpio archives in the "newc" format, which the kernel unpacks as its first root file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! The `cpio` program would need root and a staging directory to write archives of selected files, owned by root.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive being written. Parent directories are added as needed; root owns everything.
pub(crate) struct Archive<W> {
    output: W,
    written: BTreeSet<String>,
    next_inode: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(output: W) -> Self {
        Archive { output, written: BTreeSet::new(), next_inode: 1 }
    }

    /// Adds a directory with `mode` (permission bits only) unless it exists.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.written.insert(path.to_owned()) {
            return Ok(());
        }
        self.parents(path)?;
        self.entry(path, DIRECTORY | mode, &[])
    }

    /// Adds a regular file with `mode` (permission bits only).
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let path = path.trim_matches('/');
        self.parents(path)?;
        self.entry(path, FILE | mode, content)
    }

    /// Adds a symbolic link at `path` to `target`.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        self.parents(path)?;
        self.entry(path, SYMLINK | 0o777, target.as_bytes())
    }

    /// Adds `host` at `path`: a file, a symbolic link (not followed), or a directory with everything below it that
    /// `wanted` accepts; `wanted` gets the path in the archive, without the leading slash.
    pub(crate) fn tree(&mut self, path: &str, host: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        let path = path.trim_matches('/');
        if !wanted(path) {
            return Ok(());
        }
        let reading = || format!("cannot read {}", host.display());
        let writing = || format!("cannot archive {}", host.display());
        let metadata = fs::symlink_metadata(host).with_context(reading)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_symlink() {
            let target = fs::read_link(host).with_context(reading)?;
            let target = target.to_str().with_context(|| format!("{target:?} is not UTF-8"))?;
            self.symlink(path, target).with_context(writing)
        } else if metadata.is_dir() {
            self.directory(path, mode).with_context(writing)?;
            let mut names: Vec<_> = fs::read_dir(host)
                .and_then(|list| list.map(|e| e.map(|e| e.file_name())).collect())
                .with_context(reading)?;
            names.sort();
            for name in names {
                let child = name.to_str().with_context(|| format!("{name:?} is not UTF-8"))?;
                let separator = if path.is_empty() { "" } else { "/" };
                self.tree(&format!("{path}{separator}{child}"), &host.join(&name), wanted)?;
            }
            Ok(())
        } else if metadata.is_file() {
            let content = fs::read(host).with_context(reading)?;
            self.file(path, mode, &content).with_context(writing)
        } else {
            bail!("{} is neither a file, a directory nor a symbolic link", host.display())
        }
    }

    /// Ends the archive. Another archive may follow in the same file.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.next_inode = 0;
        self.entry("TRAILER!!!", 0, &[])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent, 0o755),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, format!("{name} exceeds 4 GiB"));
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        // inode, mode, owner, group, links, time, size, device (2), special device (2), name's size, checksum
        let fields = [self.next_inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.next_inode += 1;
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        header.push_str(name);
        header.push('\0');
        self.output.write_all(header.as_bytes())?;
        self.pad(header.len())?;
        self.output.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.output.write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.directory("/tmp", 0o1777).unwrap();
        archive.file("/a/b/c", 0o755, b"hello").unwrap();
        archive.file("a/b/empty", 0o600, b"").unwrap();
        archive.symlink("/a/link", "b/c").unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn header_is_newc() {
        let mut archive = Archive::new(Vec::new());
        archive.file("f", 0o644, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let zero = "00000000";
        let mut expected =
            format!("070701{:08x}{:08x}{zero}{zero}{:08x}{zero}{:08x}", 1, 0o100_644, 1, 5).into_bytes();
        expected.extend(format!("{zero}{zero}{zero}{zero}{:08x}{zero}f\0hello\0\0\0070701", 2).into_bytes());
        assert_eq!(String::from_utf8_lossy(&bytes[..expected.len()]), String::from_utf8_lossy(&expected));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn parents_come_once_and_first() {
        let text = String::from_utf8_lossy(&sample()).into_owned();
        let position = |name: &str| text.find(&format!("{name}\0")).unwrap();
        assert!(position("a") < position("a/b") && position("a/b") < position("a/b/c"));
        assert_eq!(text.matches("a/b\0").count(), 1);
    }

    /// An independent check, where cpio is installed.
    #[test]
    fn the_cpio_program_reads_it() {
        let child = Command::new("cpio")
            .args(["-tv", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            println!("SKIPPED: cpio is not installed");
            return;
        };
        child.stdin.take().unwrap().write_all(&sample()).unwrap();
        let output = child.wait_with_output().unwrap();
        let list = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
        let brief: Vec<_> = lines.iter().map(|w| (w[0], w[4], w[8..].join(" "))).collect();
        let expected = [
            ("drwxrwxrwt", "0", "tmp"),
            ("drwxr-xr-x", "0", "a"),
            ("drwxr-xr-x", "0", "a/b"),
            ("-rwxr-xr-x", "5", "a/b/c"),
            ("-rw-------", "0", "a/b/empty"),
            ("lrwxrwxrwx", "3", "a/link -> b/c"),
        ];
        assert_eq!(brief, expected.map(|(mode, size, name)| (mode, size, name.to_owned())));
    }
}
