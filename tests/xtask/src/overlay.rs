//! What one run adds to the guest's root: process 1, commands and files.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use weir_guest_init::{COMMANDS, Command};

use crate::base::{self, Base};
use crate::cpio::Archive;

/// A file or directory of the host and its path in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) host: PathBuf,
    /// Path in the guest. Defaults to the host's path, so that paths are valid on both sides.
    pub(crate) guest: Option<String>,
}

impl Given {
    pub(crate) fn same_path(host: impl Into<PathBuf>) -> Self {
        Given { host: host.into(), guest: None }
    }
}

impl FromStr for Given {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some((host, guest)) => Given { host: host.into(), guest: Some(guest.to_owned()) },
            None => Given::same_path(text),
        })
    }
}

/// Writes base and additions to `path`; returns the size in bytes.
pub(crate) fn write(
    path: &Path,
    base: &Base,
    init: &Path,
    commands: &[Command],
    files: &[Given],
) -> Result<u64> {
    let creating = || format!("cannot write {}", path.display());
    let mut output = BufWriter::new(File::create(path).with_context(creating)?);
    let mut root =
        File::open(base.root()).with_context(|| format!("cannot open {}", base.root().display()))?;
    io::copy(&mut root, &mut output).with_context(creating)?;
    let mut archive = Archive::new(output);
    let program = fs::read(init).with_context(|| format!("cannot read {}", init.display()))?;
    archive.file("/init", 0o755, &program).with_context(creating)?;
    for (index, command) in commands.iter().enumerate() {
        archive.file(&format!("{COMMANDS}/{index:04}"), 0o644, &command.encode()).with_context(creating)?;
    }
    for given in files {
        add(&mut archive, given)?;
    }
    let output = archive.finish().with_context(creating)?;
    Ok(output.get_ref().metadata().with_context(creating)?.len())
}

fn add(archive: &mut Archive<BufWriter<File>>, given: &Given) -> Result<()> {
    // A link given on the command line stands for its target.
    let real = given.host.canonicalize().with_context(|| format!("cannot find {}", given.host.display()))?;
    let place = match &given.guest {
        Some(place) => place.clone(),
        None => {
            let absolute = std::path::absolute(&given.host).context("cannot find the working directory")?;
            absolute.to_str().with_context(|| format!("{absolute:?} is not UTF-8"))?.to_owned()
        }
    };
    archive.tree(&base::merged(&place), &real, &|_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_path_unless_told_otherwise() {
        let given = |text: &str| text.parse::<Given>().unwrap();
        assert_eq!(given("data/x.yaml"), Given { host: "data/x.yaml".into(), guest: None });
        assert_eq!(given("x:/etc/x"), Given { host: "x".into(), guest: Some("/etc/x".into()) });
    }
}
