//! The disk that all nodes start from: the guest's programs, container runtime, kubelet, and imported images. Built once
//! and kept in `.lab`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::node::{Node, Task};
use crate::architecture::Architecture;
use crate::base::{self, Base, Freshness};
use crate::machine::{Disk, Writes};
use crate::{cluster, image, packages, process, workspace};

/// Increase this when the code builds a different disk from the same inputs.
const FORMAT: u32 = 3;

/// A node's packages in addition to the guest's. busybox's mount lacks options that the kubelet uses, and its wget crashes
/// with a segmentation fault.
const PACKAGES: &[&str] = &["mount", "runc", "wget"];

/// The Go programs that run on a node.
const PROGRAMS: &[&str] = &["containerd", "containerd-shim-runc-v2", "ctr", "kubelet"];
const NETWORK_PLUGINS: &[&str] = &["bridge", "host-local", "loopback", "portmap"];

/// The file is sparse: unwritten parts take no space.
const SIZE: &str = "8G";

/// Returns the disk image; builds it if it is missing or was built from other inputs.
pub(super) fn get() -> Result<PathBuf> {
    let base = Base::get(Architecture::HOST, Freshness::Any)?;
    let place = workspace::lab().join("nodes");
    let (image, stamp) = (place.join("disk.img"), place.join("made-from"));
    let made_from = made_from(&base)?;
    if image.is_file() && fs::read_to_string(&stamp).is_ok_and(|last| last == made_from) {
        return Ok(image);
    }
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let work = tempfile::Builder::new()
        .prefix("making-")
        .tempdir_in(workspace::lab())
        .context("cannot create a directory")?;
    eprintln!("building the nodes' disk");
    let tree = work.path().join("tree");
    fs::create_dir(&tree).context("cannot create a directory")?;
    base.unpack(&tree)?;
    add_packages(&base, &tree)?;
    let images = tree.join("images");
    fs::create_dir(&images).context("cannot create a directory")?;
    let version = cluster::kubernetes_version()?;
    image::write_for_nodes(&tree, &weir_cluster::folder(), &version, &images.join("nodes.tar"))?;
    add_programs(&tree)?;
    let unfinished = work.path().join("disk.img");
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"]).arg(&tree).arg(&unfinished).arg(SIZE);
    process::run(&mut mke2fs)?;
    eprintln!("importing images in a guest; this takes several minutes, but only once");
    let disk = Disk { image: unfinished.clone(), writes: Writes::Kept };
    Node { number: 1, of: 1, log: place.join("prepare.log"), files: Vec::new(), task: Task::Prepare }
        .run(disk)
        .with_context(|| {
            format!("preparing the disk of nodes; see {}", place.join("prepare.log").display())
        })?;
    fs::rename(&unfinished, &image).context("cannot move the disk into place")?;
    fs::write(&stamp, made_from).context("cannot write the disk's stamp")?;
    Ok(image)
}

/// Everything that determines the disk's content.
fn made_from(base: &Base) -> Result<String> {
    let folder = weir_cluster::folder();
    let mut text = format!("format {FORMAT}: {}\n{}", PACKAGES.join(" "), base.manifest()?);
    for module in ["kubernetes", "nodes", "containerd", "cni", "dns"] {
        let stamp = folder.join(format!("{module}.made-from"));
        text.push_str(
            &fs::read_to_string(&stamp).with_context(|| format!("cannot read {}", stamp.display()))?,
        );
    }
    Ok(text)
}

fn add_packages(base: &Base, tree: &Path) -> Result<()> {
    let manifest = base.manifest()?;
    let present: Vec<&str> = manifest.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    let found = packages::fetch(Architecture::HOST, PACKAGES, |package| {
        !present.contains(&package.name.as_str()) && !base::is_for_installation(package)
    })?;
    packages::unpack(found.iter().map(|(_, file)| file), tree)
}

fn add_programs(tree: &Path) -> Result<()> {
    for (names, place) in [(PROGRAMS, "usr/local/bin"), (NETWORK_PLUGINS, "opt/cni/bin")] {
        let place = tree.join(place);
        fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
        for name in names {
            let program = weir_cluster::folder().join(name);
            fs::copy(&program, place.join(name))
                .with_context(|| format!("cannot copy {}", program.display()))?;
        }
    }
    // Empty: nodes cannot reach the host's DNS servers, and pods use the cluster's.
    fs::write(tree.join("etc/resolv.conf"), "").context("cannot write resolv.conf")
}
