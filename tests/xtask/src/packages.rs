//! Debian packages as a source of files: resolved and downloaded by apt, unpacked by dpkg, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::architecture::Architecture;
use crate::{base, process, setup, workspace};

/// A package file as apt names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The file's name in apt's archive directory, where a colon in the version is written as `%3a`.
    pub(crate) file: String,
}

impl Package {
    /// `all` if its files fit every architecture.
    pub(crate) fn architecture(&self) -> &str {
        let name = self.file.strip_suffix(".deb").unwrap_or(&self.file);
        name.rsplit('_').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Returns a command of apt. A foreign architecture has its own package lists, because adding it to the host's would
/// change the host.
fn apt(program: &str, architecture: Architecture) -> Command {
    let mut apt = Command::new(program);
    if architecture != Architecture::HOST {
        let directory = lists(architecture);
        apt.args(["-o", &format!("APT::Architecture={architecture}")]);
        apt.args(["-o", &format!("APT::Architectures::={architecture}")]);
        for (option, place) in STATE {
            apt.args(["-o", &format!("{option}={}", directory.join(place).display())]);
        }
    }
    apt
}

/// Options of apt for its own files, and their places below [`lists`].
const STATE: &[(&str, &str)] =
    &[("Dir::State", "state"), ("Dir::State::status", "nothing-installed"), ("Dir::Cache", "cache")];

fn lists(architecture: Architecture) -> PathBuf {
    workspace::lab().join(format!("apt-{architecture}"))
}

/// What to do about old or missing package lists.
fn refreshing(architecture: Architecture) -> String {
    match architecture {
        Architecture::HOST => "if the package lists are old, run: apt-get update".to_owned(),
        _ => format!(
            "run: cargo xtask setup --refresh --arch {architecture} (this needs a distribution whose mirror has \
             packages for this architecture, such as Debian)"
        ),
    }
}

/// Whether apt has package lists of a foreign architecture, however old.
pub(crate) fn has_lists(architecture: Architecture) -> bool {
    let entries = fs::read_dir(lists(architecture).join("state/lists"));
    entries.is_ok_and(|mut all| {
        all.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("_Packages")))
    })
}

/// Downloads the package lists of a foreign architecture.
pub(crate) fn update_lists(architecture: Architecture) -> Result<()> {
    let directory = lists(architecture);
    for place in ["state/lists/partial", "cache/archives/partial"] {
        let place = directory.join(place);
        fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    }
    fs::write(directory.join("nothing-installed"), "").context("cannot write apt's status")?;
    let mut apt = apt("apt-get", architecture);
    process::run(apt.args(["--quiet=2", "-o", "APT::Sandbox::User=root", "update"]))
}

/// Resolves the packages and all their dependencies as if nothing were installed, so the result does not vary with
/// the host. `directory` is an empty directory for apt.
fn closure(architecture: Architecture, directory: &Path, names: &[&str]) -> Result<Vec<Package>> {
    setup::require(architecture)?;
    let status = directory.join("nothing-installed");
    fs::write(&status, "").with_context(|| format!("cannot write {}", status.display()))?;
    fs::create_dir_all(directory.join("partial")).context("cannot create apt's directory")?;
    let mut apt = apt("apt-get", architecture);
    apt.args(["--quiet=2", "--print-uris", "--no-install-recommends", "-o", "Debug::NoLocking=true"]);
    // Nothing counts as installed or downloaded: apt omits what it already has.
    apt.args(["-o", &format!("Dir::State::status={}", status.display())]);
    apt.args(["-o", &format!("Dir::Cache::archives={}", directory.display())]);
    apt.arg("install").args(names);
    let output = process::output(&mut apt)
        .with_context(|| format!("apt-get cannot resolve the packages; {}", refreshing(architecture)))?;
    parse_uris(&output)
}

/// Reads `apt-get --print-uris`: `'URL' FILE SIZE HASH` per line.
fn parse_uris(text: &str) -> Result<Vec<Package>> {
    text.lines().filter(|line| line.starts_with('\'')).map(parse_uri).collect()
}

fn parse_uri(line: &str) -> Result<Package> {
    let package = || {
        let file = line.split(' ').nth(1)?;
        let mut parts = file.strip_suffix(".deb")?.split('_');
        let (name, version) = (parts.next()?, parts.next()?);
        Some(Package { name: name.to_owned(), version: version.replace("%3a", ":"), file: file.to_owned() })
    };
    package().with_context(|| format!("unknown line of apt-get --print-uris: {line}"))
}

/// Downloads the packages `names` and the wanted dependencies, unless present, and returns their files.
pub(crate) fn fetch(
    architecture: Architecture,
    names: &[&str],
    is_wanted: impl Fn(&Package) -> bool,
) -> Result<Vec<(Package, PathBuf)>> {
    let archives = workspace::lab().join("packages");
    fs::create_dir_all(&archives).with_context(|| format!("cannot create {}", archives.display()))?;
    let work = tempfile::tempdir().context("cannot create a directory")?;
    let mut found = closure(architecture, work.path(), names)?;
    found.retain(is_wanted);
    let files = download(architecture, &archives, &found)?;
    Ok(found.into_iter().zip(files).collect())
}

/// Downloads what `directory` does not contain yet, and returns the paths of all package files.
fn download(architecture: Architecture, directory: &Path, packages: &[Package]) -> Result<Vec<PathBuf>> {
    let missing: Vec<&Package> = packages.iter().filter(|p| !directory.join(&p.file).exists()).collect();
    if !missing.is_empty() {
        eprintln!("downloading {} packages", missing.len());
        let mut apt = apt("apt-get", architecture);
        // As root, apt would first try to write as another user, who has no access here.
        apt.args(["--quiet=2", "-o", "APT::Sandbox::User=root", "download"]).current_dir(directory);
        apt.args(missing.iter().map(|p| format!("{}={}", p.name, p.version)));
        process::run(&mut apt)
            .with_context(|| format!("cannot download packages; {}", refreshing(architecture)))?;
    }
    let files: Vec<PathBuf> = packages.iter().map(|p| directory.join(&p.file)).collect();
    for file in &files {
        ensure!(file.exists(), "apt-get download did not create {}", file.display());
    }
    Ok(files)
}

/// Unpacks package files below `root`, one over the other. Follows links to directories in `root`, which `dpkg-deb
/// --extract` would replace.
pub(crate) fn unpack<'a>(files: impl IntoIterator<Item = &'a PathBuf>, root: &Path) -> Result<()> {
    for file in files {
        let mut open = Command::new("dpkg-deb");
        open.arg("--fsys-tarfile").arg(file).stdout(Stdio::piped());
        let mut opened = open.spawn().with_context(|| format!("cannot start {open:?}"))?;
        let stream = opened.stdout.take().context("dpkg-deb has no output")?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--directory"])
            .arg(root)
            .stdin(stream);
        process::run(&mut tar).with_context(|| format!("cannot unpack {}", file.display()))?;
        let status = opened.wait().with_context(|| format!("cannot wait for {open:?}"))?;
        ensure!(status.success(), "{open:?}: {status}");
    }
    Ok(())
}

/// Returns a directory in the lab with the files of the package `name` and of its wanted dependencies.
///
/// # Errors
/// When a package cannot be downloaded or unpacked.
pub(crate) fn unpacked(
    architecture: Architecture,
    name: &str,
    is_wanted: impl Fn(&Package) -> bool,
) -> Result<PathBuf> {
    let _lock = workspace::lock_lab()?;
    let root = workspace::lab().join(format!("{name}{}", architecture.suffix()));
    if !root.exists() {
        let found = fetch(architecture, &[name], is_wanted)?;
        // Only complete directories have the name.
        let new = tempfile::tempdir_in(workspace::lab()).context("cannot create a directory")?;
        unpack(found.iter().map(|(_, file)| file), new.path())?;
        fs::rename(new.keep(), &root).with_context(|| format!("cannot create {}", root.display()))?;
    }
    Ok(root)
}

/// Lists a package file's paths, without leading slashes, as they are once `/usr` is merged.
pub(crate) fn list(file: &Path) -> Result<Vec<String>> {
    // Columns as in `ls -l`; a link is followed by its target.
    let text = process::output(Command::new("dpkg-deb").arg("--contents").arg(file))?;
    let paths = text.lines().filter_map(|line| line.split_once(" ./")).map(|(_, path)| path);
    let paths = paths.map(|path| path.split(" -> ").next().unwrap_or(path).trim_end_matches('/'));
    Ok(paths.filter(|path| !path.is_empty()).map(base::merged).collect())
}

/// Returns the first of `candidates` that apt knows, as distributions use different names.
pub(crate) fn first_known<'a>(architecture: Architecture, candidates: &[&'a str]) -> Result<&'a str> {
    for name in candidates {
        let policy = process::output(apt("apt-cache", architecture).args(["policy", name]))?;
        if policy.lines().any(|line| line.trim_start().starts_with("Candidate:") && !line.ends_with("(none)"))
        {
            return Ok(name);
        }
    }
    bail!("apt does not know any of {}; {}", candidates.join(", "), refreshing(architecture))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_prints() {
        let text = "\
'http://mirror.example/debian/pool/main/g/gmp/libgmp10_6.2.1%2bdfsg1-1.1_amd64.deb' libgmp10_2%3a6.2.1+dfsg1-1.1_amd64.deb 562588 SHA256:abc
'http://mirror.example/debian/pool/main/l/lsb/lsb-base_11.6_all.deb' lsb-base_11.6_all.deb 4584 MD5Sum:abc
";
        let package = |name: &str, version: &str, file: &str| Package {
            name: name.into(),
            version: version.into(),
            file: file.into(),
        };
        let expected = vec![
            package("libgmp10", "2:6.2.1+dfsg1-1.1", "libgmp10_2%3a6.2.1+dfsg1-1.1_amd64.deb"),
            package("lsb-base", "11.6", "lsb-base_11.6_all.deb"),
        ];
        let read = parse_uris(text).unwrap();
        assert_eq!(read, expected);
        assert_eq!(read.iter().map(Package::architecture).collect::<Vec<_>>(), ["amd64", "all"]);
    }

    #[test]
    fn refuses_another_format() {
        assert!(parse_uris("'http://host/x'").is_err());
    }
}
