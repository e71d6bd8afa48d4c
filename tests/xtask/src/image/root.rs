//! Content of the image: Debian's iptables in both variants, kmod, their dependencies, and weir. No shell, no
//! package manager, and no plain `iptables-restore`: weir chooses the variant.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::elf;
use super::layout::{ALIAS, PROGRAM};
use super::tree::Tree;
use crate::architecture::Architecture;
use crate::packages::{self, Package};
use crate::{base, process, workspace};

/// Packages to take files from; apt adds their dependencies.
const PACKAGES: &[&str] = &["base-files", "iptables", "kmod", "libgcc-s1", "netbase"];

/// Programs that read and write rules, and the one that loads IPVS if the kernel does not do so by itself.
const PROGRAMS: &[&str] = &["usr/bin/kmod", "usr/sbin/xtables-legacy-multi", "usr/sbin/xtables-nft-multi"];

/// Names used by weir, and by people with `kubectl exec`: link and target.
const LINKS: &[(&str, &str)] = &[
    ("usr/sbin/ip6tables-legacy", "xtables-legacy-multi"),
    ("usr/sbin/ip6tables-legacy-restore", "xtables-legacy-multi"),
    ("usr/sbin/ip6tables-legacy-save", "xtables-legacy-multi"),
    ("usr/sbin/ip6tables-nft", "xtables-nft-multi"),
    ("usr/sbin/ip6tables-nft-restore", "xtables-nft-multi"),
    ("usr/sbin/ip6tables-nft-save", "xtables-nft-multi"),
    ("usr/sbin/iptables-legacy", "xtables-legacy-multi"),
    ("usr/sbin/iptables-legacy-restore", "xtables-legacy-multi"),
    ("usr/sbin/iptables-legacy-save", "xtables-legacy-multi"),
    ("usr/sbin/iptables-nft", "xtables-nft-multi"),
    ("usr/sbin/iptables-nft-restore", "xtables-nft-multi"),
    ("usr/sbin/iptables-nft-save", "xtables-nft-multi"),
    ("usr/sbin/modprobe", "../bin/kmod"),
];

/// Files that programs or vulnerability scanners read.
const FILES: &[&str] = &["etc/protocols", "usr/lib/os-release"];

/// The modules of iptables. All IP-related ones: saving rules needs the module of every rule, including foreign
/// ones.
const MODULE_KINDS: &[&str] = &["libip6t_", "libipt_", "libxt_"];

/// Mount points of the container runtime and the manifest; the root may be read-only.
const MOUNT_POINTS: &[&str] = &["dev", "etc", "proc", "run", "sys", "tmp", "usr/lib/modules", "var/lib"];

/// Returns the layer of Debian's files, and their packages, sorted by name. It includes the libraries that `weir`
/// needs.
pub(super) fn debian(architecture: Architecture, weir: &Path) -> Result<(Tree, Vec<Package>)> {
    let source = Source::unpack(architecture)?;
    let mut tree = Tree::default();
    MOUNT_POINTS.iter().for_each(|path| tree.directory(path));
    for directory in base::MERGED_DIRECTORIES {
        tree.directory(&format!("usr/{directory}"));
        tree.link(directory, &format!("usr/{directory}"));
    }
    tree.link("var/run", "/run");
    tree.link("etc/os-release", "../usr/lib/os-release");
    LINKS.iter().for_each(|(link, target)| tree.link(link, target));
    for path in FILES.iter().chain(PROGRAMS) {
        source.take(&mut tree, path)?;
    }
    source.take_modules(&mut tree)?;
    source.take_libraries(&mut tree, weir)?;
    let packages = source.take_records(&mut tree)?;
    Ok((tree, packages))
}

/// The layer of weir's files.
pub(super) fn program(weir: &Path) -> Result<Tree> {
    ensure!(weir.is_file(), "{} is not a file", weir.display());
    let mut tree = Tree::default();
    tree.copy(PROGRAM, weir, 0o755)?;
    tree.link(ALIAS, "weir");
    tree.copy("usr/share/doc/weir/LICENSE", &workspace::root().join("LICENSE"), 0o644)?;
    Ok(tree)
}

/// Unpacked packages.
struct Source {
    architecture: Architecture,
    directory: TempDir,
    packages: Vec<(Package, PathBuf)>,
    /// Maps a path to its package.
    owners: BTreeMap<String, String>,
}

impl Source {
    fn unpack(architecture: Architecture) -> Result<Source> {
        let _lock = workspace::lock_lab()?;
        let directory = tempfile::tempdir().context("cannot create a directory")?;
        let packages =
            packages::fetch(architecture, PACKAGES, |package| !base::is_for_installation(package))?;
        let root = directory.path().join("root");
        base::merge_directories(&root)?;
        packages::unpack(packages.iter().map(|(_, file)| file), &root)?;
        let mut owners = BTreeMap::new();
        for (package, file) in &packages {
            owners.extend(packages::list(file)?.into_iter().map(|path| (path, package.name.clone())));
        }
        Ok(Source { architecture, directory, packages, owners })
    }

    /// The directory of iptables' modules.
    fn modules(&self) -> String {
        format!("usr/lib/{}/xtables", self.architecture.tuple())
    }

    fn place(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path)
    }

    /// Copies a file to this path, following all links.
    fn take(&self, tree: &mut Tree, path: &str) -> Result<()> {
        let place = self.place(path);
        let metadata = fs::metadata(&place).with_context(|| format!("the packages do not contain {path}"))?;
        tree.copy(path, &place, metadata.permissions().mode() & 0o777)
    }

    fn take_modules(&self, tree: &mut Tree) -> Result<()> {
        let modules = self.modules();
        for entry in fs::read_dir(self.place(&modules)).context("the packages contain no iptables modules")? {
            let entry = entry.context("cannot list the iptables modules")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !MODULE_KINDS.iter().any(|kind| name.starts_with(kind)) {
                continue;
            }
            let path = format!("{modules}/{name}");
            match fs::read_link(entry.path()) {
                Ok(target) => tree.link(&path, &target.to_string_lossy()),
                Err(_) => self.take(tree, &path)?,
            }
        }
        Ok(())
    }

    /// Takes the libraries of everything in the tree, and the libraries of those.
    fn take_libraries(&self, tree: &mut Tree, weir: &Path) -> Result<()> {
        let directory = self.modules();
        let modules = tree.entries().map(|(path, _)| path).filter(|path| path.starts_with(&directory));
        let mut files: Vec<PathBuf> =
            modules.chain(PROGRAMS.iter().copied()).map(|p| self.place(p)).collect();
        files.push(weir.to_owned());
        let own = format!("usr/lib/{}", self.architecture.tuple());
        let directories = [own.as_str(), "usr/lib", "usr/lib64"];
        while let Some(file) = files.pop() {
            if file.is_dir() {
                continue;
            }
            let needs = elf::needs(&file)?;
            if let Some(interpreter) = needs.interpreter {
                let path = base::merged(&interpreter);
                if !tree.contains(&path) {
                    let wrong = || format!("{} does not run on {}", file.display(), self.architecture);
                    self.take(tree, &path).with_context(wrong)?;
                }
            }
            for name in needs.libraries {
                let found =
                    directories.iter().map(|dir| format!("{dir}/{name}")).find(|p| self.place(p).is_file());
                let path = found.with_context(|| {
                    format!("{} needs the library {name}, which the packages do not contain", file.display())
                })?;
                if !tree.contains(&path) {
                    self.take(tree, &path)?;
                    files.push(self.place(&path));
                }
            }
        }
        Ok(())
    }

    /// Takes the licences, which Debian requires of anyone who redistributes files, and the records that
    /// vulnerability scanners read: one per package below `var/lib/dpkg/status.d`, as in images without a package
    /// manager.
    fn take_records(&self, tree: &mut Tree) -> Result<Vec<Package>> {
        let root = self.place("").canonicalize().context("cannot find the directory of packages")?;
        let mut used = BTreeSet::new();
        for (path, _) in tree.entries() {
            // A library belongs to the package of the file, not to that of the link.
            let real = self.place(path).canonicalize().unwrap_or_default();
            let real = real.strip_prefix(&root).unwrap_or(Path::new("")).to_string_lossy().into_owned();
            used.extend(self.owners.get(path).filter(|_| self.place(path).is_file()).cloned());
            used.extend(self.owners.get(&real).filter(|_| self.place(&real).is_file()).cloned());
        }
        let mut packages = Vec::new();
        for (package, file) in self.packages.iter().filter(|(package, _)| used.contains(&package.name)) {
            let record = process::output(Command::new("dpkg-deb").arg("--field").arg(file))?;
            tree.text(&format!("var/lib/dpkg/status.d/{}", package.name), &record);
            let licence = format!("usr/share/doc/{}/copyright", package.name);
            let text = fs::read_to_string(self.place(&licence));
            tree.text(
                &licence,
                &text.with_context(|| format!("the package {} has no licence file", package.name))?,
            );
            packages.push(package.clone());
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(packages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_programs_of_the_image() {
        for (link, target) in LINKS {
            let name = target.rsplit('/').next().unwrap();
            assert!(PROGRAMS.iter().any(|program| program.ends_with(&format!("/{name}"))), "{link}");
            // A plain name would make the choice that belongs to weir.
            assert!(
                !["iptables", "iptables-restore", "iptables-save"]
                    .iter()
                    .any(|n| link.ends_with(&format!("/{n}")))
            );
        }
    }

    #[test]
    fn kubeadms_command_finds_weir() {
        let tree = program(&std::env::current_exe().unwrap()).unwrap();
        let entry = tree.entries().find(|(path, _)| *path == "usr/local/bin/kube-proxy").unwrap().1;
        assert_eq!(*entry, crate::image::tree::Entry::Link("weir".into()));
    }
}
