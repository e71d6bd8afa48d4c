//! A layer: a compressed tar archive of a tree.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::tree::{Entry, Tree};

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    Smallest,
    Least,
    /// Only the format, without compressing: for nodes where unpacking is slow, too.
    None,
}

/// A layer, ready to be written.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) title: String,
    /// The text for the image's history.
    pub(super) history: String,
    /// Digest of the uncompressed archive, by which runtimes identify a layer.
    pub(super) diff: String,
    /// The compressed archive: gzip, because every registry and runtime accepts it.
    pub(super) blob: Vec<u8>,
    /// Size in bytes before compression.
    pub(super) unpacked: u64,
}

impl Layer {
    pub(super) fn new(title: &str, history: &str, tree: &Tree, effort: Effort) -> Result<Layer> {
        let archive = archive(tree)?;
        let level = match effort {
            Effort::Smallest => Compression::best(),
            Effort::Least => Compression::fast(),
            Effort::None => Compression::none(),
        };
        // flate2's header contains no name and no time.
        let mut packer = GzEncoder::new(Vec::new(), level);
        packer.write_all(&archive).context("cannot compress a layer")?;
        Ok(Layer {
            title: title.to_owned(),
            history: history.to_owned(),
            diff: digest(&archive),
            blob: packer.finish().context("cannot compress a layer")?,
            unpacked: archive.len() as u64,
        })
    }

    pub(super) fn packed_size(&self) -> u64 {
        self.blob.len() as u64
    }
}

/// Formats a digest as OCI does.
pub(crate) fn digest(data: &[u8]) -> String {
    let hex: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn archive(tree: &Tree) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for (path, entry) in tree.entries() {
        append(&mut builder, path, entry).with_context(|| format!("cannot archive {path}"))?;
    }
    builder.into_inner().context("cannot archive a layer")
}

fn append(builder: &mut Builder<Vec<u8>>, path: &str, entry: &Entry) -> Result<()> {
    match entry {
        Entry::Directory => {
            let mut header = header(EntryType::Directory, 0o755, 0);
            builder.append_data(&mut header, format!("{path}/"), &[][..])?;
        }
        Entry::Link(target) => {
            builder.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)?;
        }
        Entry::File { content, mode } => file(builder, path, *mode, content)?,
    }
    Ok(())
}

/// Adds a regular file.
pub(super) fn file(builder: &mut Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, mode, content.len() as u64);
    builder.append_data(&mut header, path, content).with_context(|| format!("cannot archive {path}"))
}

/// Does not depend on who builds the archive, or when.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Layer {
        let mut tree = Tree::default();
        tree.text("etc/hello", "hello\n");
        tree.link("usr/bin/x", "../../etc/hello");
        tree.copy("bin/self", std::path::Path::new("/proc/self/cmdline"), 0o755).unwrap();
        Layer::new("sample", "", &tree, Effort::Smallest).unwrap()
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        assert_eq!(sample().blob, sample().blob);
    }

    #[test]
    fn digests_are_written_as_oci_does() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(b""), empty);
    }

    /// An independent check.
    #[test]
    fn the_tar_program_reads_it() {
        let mut tar = Command::new("tar")
            .args(["--list", "--verbose", "--gzip", "--numeric-owner", "--full-time", "--utc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&sample().blob).unwrap();
        let list = String::from_utf8(tar.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
        let brief: Vec<_> = lines.iter().map(|w| (w[0], w[1], w[3], w[5..].join(" "))).collect();
        let expected = [
            ("drwxr-xr-x", "bin/"),
            ("-rwxr-xr-x", "bin/self"),
            ("drwxr-xr-x", "etc/"),
            ("-rw-r--r--", "etc/hello"),
            ("drwxr-xr-x", "usr/"),
            ("drwxr-xr-x", "usr/bin/"),
            ("lrwxrwxrwx", "usr/bin/x -> ../../etc/hello"),
        ];
        assert_eq!(brief, expected.map(|(mode, name)| (mode, "0/0", "1970-01-01", name.to_owned())));
    }
}
