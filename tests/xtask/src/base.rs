//! The guest's kernel and the part of its root that every run shares, built once and kept in `.lab`.
//!
//! ```text
//!  apt-get download ─▶ .lab/packages ─dpkg-deb -x─▶ tree ─depmod─▶ .lab/base/{vmlinuz, root.cpio, manifest}
//! ```

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::architecture::Architecture;
use crate::cpio::Archive;
use crate::packages::{self, Package};
use crate::{kernel, process, workspace};

/// Increase this when the code builds a different root from the same packages.
const FORMAT: u32 = 4;

/// The guest's packages; apt adds their dependencies.
const PACKAGES: &[&str] = &[
    "bash",
    "busybox-static",
    "conntrack",
    "coreutils",
    "curl",
    "grep",
    "iproute2",
    "ipset",
    "iptables",
    "ipvsadm",
    "kmod",
    "ncurses-base",
    "netcat-openbsd",
    "nftables",
    "sed",
    "socat",
    "strace",
    "tcpdump",
];

/// Dependencies that only installation scripts need. Those scripts never run here.
const FOR_INSTALLATION: &[&str] = &[
    "adduser",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "lsb-base",
    "passwd",
    "perl-base",
    "sysvinit-utils",
];

/// With `/usr` merged, files that packages still place in these directories end up below `/usr`.
pub(crate) const MERGED_DIRECTORIES: &[&str] = &["bin", "sbin", "lib", "lib64"];

/// Paths excluded from the root: nothing in the guest reads them, and an emulated processor unpacks every byte.
const LEFT_OUT: &[&str] = &[
    "boot",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/common-licenses",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zsh",
    "var/cache",
];

/// Links that packages normally create in installation scripts, which never run here: link and target.
const ALTERNATIVES: &[(&str, &str)] = &[
    ("usr/bin/awk", "mawk"),
    ("usr/bin/nc", "nc.openbsd"),
    ("usr/bin/sh", "bash"),
    ("usr/sbin/ip6tables", "ip6tables-nft"),
    ("usr/sbin/ip6tables-restore", "ip6tables-nft-restore"),
    ("usr/sbin/ip6tables-save", "ip6tables-nft-save"),
    ("usr/sbin/iptables", "iptables-nft"),
    ("usr/sbin/iptables-restore", "iptables-nft-restore"),
    ("usr/sbin/iptables-save", "iptables-nft-save"),
];

/// Programs that busybox provides because no package does.
const APPLETS: &[&str] = &[
    "diff", "dmesg", "find", "flock", "gunzip", "gzip", "hostname", "httpd", "less", "mount", "nsenter",
    "nslookup", "pgrep", "pidof", "ping", "ping6", "pkill", "ps", "setsid", "sysctl", "tar", "top", "umount",
    "unshare", "vi", "watch", "wget", "xargs",
];

/// A finished base.
#[derive(Debug)]
pub(crate) struct Base {
    architecture: Architecture,
    directory: PathBuf,
}

/// Whether a base from an earlier run will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The existing one, if this code built it.
    Any,
    /// A new one, from the newest packages that apt knows.
    Newest,
}

impl Base {
    /// The kernel that QEMU boots.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The archive that the kernel unpacks as its root; a run's own archive is appended to it.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("root.cpio")
    }

    /// What the base was built from: a line about this code, then one line per package, starting with its name.
    pub(crate) fn manifest(&self) -> Result<String> {
        fs::read_to_string(self.directory.join("manifest")).context("cannot read the base's manifest")
    }

    /// Unpacks the root into a directory.
    pub(crate) fn unpack(&self, directory: &Path) -> Result<()> {
        let archive = File::open(self.root()).context("cannot open the root's archive")?;
        let mut cpio = Command::new("cpio");
        cpio.args(["--extract", "--make-directories", "--quiet"]).current_dir(directory).stdin(archive);
        process::run(&mut cpio)
    }

    /// Returns the base, building it if it is missing.
    pub(crate) fn get(architecture: Architecture, freshness: Freshness) -> Result<Self> {
        let _lock = workspace::lock_lab()?;
        let base = Self::at_its_place(architecture);
        if !Self::is_ready(architecture, freshness) {
            base.make(&workspace::lab())?;
        }
        Ok(base)
    }

    /// Whether [`Base::get`] has nothing to do.
    pub(crate) fn is_ready(architecture: Architecture, freshness: Freshness) -> bool {
        let manifest = Self::at_its_place(architecture).manifest().unwrap_or_default();
        freshness == Freshness::Any && manifest.lines().next() == Some(&key())
    }

    fn at_its_place(architecture: Architecture) -> Self {
        let directory = workspace::lab().join(format!("base{}", architecture.suffix()));
        Base { architecture, directory }
    }

    fn make(&self, lab: &Path) -> Result<()> {
        let work = tempfile::Builder::new()
            .prefix("making-")
            .tempdir_in(lab)
            .context("cannot create a directory")?;
        let architecture = self.architecture;
        let mut fetched = packages::fetch(architecture, PACKAGES, |package| !is_for_installation(package))?;
        let meta = packages::first_known(architecture, &kernel::meta_packages(architecture))?;
        fetched.extend(packages::fetch(architecture, &[meta], is_kernel)?);
        let (found, files): (Vec<Package>, Vec<PathBuf>) = fetched.into_iter().unzip();

        let tree = work.path().join("tree");
        lay_out(&tree)?;
        packages::unpack(&files, &tree)?;
        link_programs(&tree)?;
        let result = work.path().join("base");
        fs::create_dir(&result).context("cannot create the base's directory")?;
        let version = take_kernel(&tree, &result)?;
        write_root(&tree, architecture, &version, &result.join("root.cpio"))?;
        fs::write(result.join("manifest"), manifest(&found)).context("cannot write the base's manifest")?;
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory).context("cannot remove the old base")?;
        }
        fs::rename(&result, &self.directory).context("cannot move the base into place")?;
        eprintln!("guest built: Linux {version}, {} packages", found.len());
        Ok(())
    }
}

/// Replaces `/bin` and the like in `path` by their targets in the guest. Otherwise an archive appended to the root
/// would replace the link by a directory, and programs would no longer find their libraries.
pub(crate) fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let first = path.split('/').next().unwrap_or(path);
    if MERGED_DIRECTORIES.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

/// Identifies the parts of this code that determine the base's content.
fn key() -> String {
    format!("format {FORMAT}: {}", PACKAGES.join(" "))
}

fn manifest(found: &[Package]) -> String {
    let lines = found.iter().map(|package| format!("{package}\n"));
    [key(), "\n".to_owned()].into_iter().chain(lines).collect()
}

/// Whether a package only serves to install others.
pub(crate) fn is_for_installation(package: &Package) -> bool {
    FOR_INSTALLATION.contains(&package.name.as_str())
}

/// Selects the packages that contain a kernel and modules; a meta package also pulls in what only a real
/// installation needs.
fn is_kernel(package: &Package) -> bool {
    package.name.starts_with("linux-image-") || package.name.starts_with("linux-modules-")
}

/// Makes `/bin` and the like links before packages are unpacked over them.
pub(crate) fn merge_directories(tree: &Path) -> Result<()> {
    for directory in MERGED_DIRECTORIES {
        let place = tree.join("usr").join(directory);
        fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
        let link = tree.join(directory);
        std::os::unix::fs::symlink(format!("usr/{directory}"), &link)
            .with_context(|| format!("cannot link {}", link.display()))?;
    }
    Ok(())
}

fn lay_out(tree: &Path) -> Result<()> {
    merge_directories(tree)?;
    for directory in ["dev", "etc", "proc", "root", "run", "sys", "tmp", "var"] {
        fs::create_dir_all(tree.join(directory))?;
    }
    // Without these entries `root` has no name and `localhost` no address.
    fs::write(
        tree.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n",
    )?;
    fs::write(tree.join("etc/group"), "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")?;
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n10.0.2.15 node1\n")?;
    Ok(())
}

fn link_programs(tree: &Path) -> Result<()> {
    let applets = APPLETS.iter().map(|applet| (format!("usr/bin/{applet}"), "busybox"));
    let alternatives = ALTERNATIVES.iter().map(|&(link, target)| (link.to_owned(), target));
    for (link, target) in alternatives.chain(applets) {
        let place = tree.join(&link);
        if place.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(target, &place)
                .with_context(|| format!("cannot link {}", place.display()))?;
        }
    }
    Ok(())
}

/// Copies the kernel to `result` and returns its version, which is also the name of its modules directory.
fn take_kernel(tree: &Path, result: &Path) -> Result<String> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(tree.join("boot")).context("the kernel's package has no /boot")? {
        let name = entry?.file_name();
        versions.extend(name.to_string_lossy().strip_prefix("vmlinuz-").map(str::to_owned));
    }
    ensure!(versions.len() == 1, "expected one kernel, but found: {}", versions.join(", "));
    let version = versions.remove(0);
    fs::copy(tree.join("boot").join(format!("vmlinuz-{version}")), result.join("vmlinuz"))?;
    process::run(Command::new("depmod").arg("-b").arg(tree).arg(&version).env("PATH", administrator_path()))?;
    Ok(version)
}

/// Debian does not put `depmod` in the search path of normal users.
fn administrator_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn write_root(tree: &Path, architecture: Architecture, version: &str, path: &Path) -> Result<()> {
    let modules = format!("usr/lib/modules/{version}");
    let dependencies =
        fs::read_to_string(tree.join(&modules).join("modules.dep")).context("depmod wrote no modules.dep")?;
    let selected = kernel::select_modules(&dependencies);
    let all = format!("{modules}/kernel");
    let conversions = format!("usr/lib/{}/gconv", architecture.tuple());
    let wanted = |path: &str| path != all && path != conversions && !LEFT_OUT.contains(&path);
    let mut archive =
        Archive::new(BufWriter::new(File::create(path).context("cannot create the root's archive")?));
    archive.tree("", tree, &wanted)?;
    for module in &selected {
        archive.tree(&format!("{modules}/{module}"), &tree.join(&modules).join(module), &|_| true)?;
    }
    archive.finish().context("cannot write the root's archive")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_directories_are_found_below_usr() {
        assert_eq!(merged("/bin/true"), "usr/bin/true");
        assert_eq!(merged("/lib64/x/y"), "usr/lib64/x/y");
        assert_eq!(merged("/library/x"), "library/x");
        assert_eq!(merged("/usr/bin/true"), "usr/bin/true");
    }
}
