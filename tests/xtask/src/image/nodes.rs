//! Images for the nodes of `cargo xtask e2e`, under the names that Kubernetes' own tests ask for.

use std::path::Path;
use std::rc::Rc;

use anyhow::Result;
use serde_json::json;

use super::layer::{Effort, Layer};
use super::layout::{self, Image};
use super::tree::Tree;
use super::{assemble, default_name};

/// Name, entry point, and whether the image has agnhost. All of them have a node's programs; what agnhost's own
/// image takes from Alpine (a shell, curl, nc, ip, wget) is among them.
const IMAGES: &[(&str, &[&str], bool)] = &[
    ("registry.k8s.io/e2e-test-images/agnhost:2.66.1", &["/agnhost"], true),
    ("registry.k8s.io/e2e-test-images/busybox:1.37.0-2", &["sh"], false),
    // Ends by SIGKILL, which is what the runtime sends.
    (PAUSE, &["busybox", "sleep", "inf"], false),
];

/// The image that holds the namespaces of a pod, as `tests/e2e/containerd.toml` names it.
const PAUSE: &str = "registry.k8s.io/pause:3.10.2";

/// As `tests/e2e/coredns.yaml` names it.
const DNS: &str = "localhost/coredns:e2e";

/// Writes one archive with all images but weir's. `userland` is a node's root as a directory, `programs` where Go's
/// programs are.
pub(crate) fn write_for_nodes(userland: &Path, programs: &Path, archive: &Path) -> Result<()> {
    let mut tree = Tree::default();
    tree.copy_all("", userland, &|path| !["images", "usr/lib/modules"].contains(&path))?;
    let userland = Rc::new(Layer::new("userland", "a node's programs", &tree, Effort::None)?);
    let program = |name: &str, links: &[&str]| {
        let mut tree = Tree::default();
        tree.copy(name, &programs.join(name), 0o755)?;
        links.iter().for_each(|link| tree.link(link, name));
        Layer::new(name, name, &tree, Effort::None).map(Rc::new)
    };
    let agnhost = program("agnhost", &["agnhost-2"])?;
    let mut images = vec![Image::new(DNS, &["/coredns"], &json!({}), vec![program("coredns", &[])?])];
    for &(name, entrypoint, has_agnhost) in IMAGES {
        let layers = [Some(&userland), has_agnhost.then_some(&agnhost)].into_iter().flatten();
        images.push(Image::new(name, entrypoint, &json!({}), layers.cloned().collect()));
    }
    layout::write_archive(&images, archive)
}

/// Writes weir's image under the name of `host/install`.
pub(crate) fn write_weir(weir: &Path, archive: &Path) -> Result<()> {
    layout::write_archive(&[assemble(weir, &default_name(), Effort::None)?.0], archive)
}
