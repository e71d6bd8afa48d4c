//! Images for the nodes of `cargo xtask e2e`, under the names that Kubernetes' own tests use.

use std::path::Path;
use std::rc::Rc;

use anyhow::Result;
use serde_json::json;

use super::layer::{Effort, Layer};
use super::layout::{self, Image};
use super::tree::Tree;
use super::{assemble, default_name};
use crate::architecture::Architecture;

/// Name, entry point, and whether the image has agnhost. All images have a node's programs, which include those
/// that agnhost's own image gets from Alpine (a shell, curl, nc, ip, wget).
const IMAGES: &[(&str, &[&str], bool)] = &[
    ("registry.k8s.io/e2e-test-images/agnhost:2.66.1", &["/agnhost"], true),
    ("registry.k8s.io/e2e-test-images/busybox:1.37.0-2", &["sh"], false),
    // The runtime stops it with SIGKILL.
    (PAUSE, &["busybox", "sleep", "inf"], false),
];

/// The image that holds a pod's namespaces, as named in `tests/e2e/containerd.toml`.
const PAUSE: &str = "registry.k8s.io/pause:3.10.2";

/// As named by kubeadm, which adds the version of Kubernetes as the tag.
const KUBE_PROXY: &str = "registry.k8s.io/kube-proxy";

/// As named in `tests/e2e/coredns.yaml`.
const DNS: &str = "localhost/coredns:e2e";

/// Writes one archive with all images except weir's. `userland` is a directory with a node's root, `programs` the
/// directory of the Go programs, `version` the version of Kubernetes.
pub(crate) fn write_for_nodes(userland: &Path, programs: &Path, version: &str, archive: &Path) -> Result<()> {
    let mut tree = Tree::default();
    tree.copy_all("", userland, &|path| !["images", "usr/lib/modules"].contains(&path))?;
    let userland = Rc::new(Layer::new("userland", "a node's programs", &tree, Effort::None)?);
    let program = |name: &str, place: &str, links: &[&str]| {
        let mut tree = Tree::default();
        tree.copy(place, &programs.join(name), 0o755)?;
        links.iter().for_each(|link| tree.link(link, name));
        Layer::new(name, name, &tree, Effort::None).map(Rc::new)
    };
    let agnhost = program("agnhost", "agnhost", &["agnhost-2"])?;
    let coredns = program("coredns", "coredns", &[])?;
    let kube_proxy = program("kube-proxy", layout::ALIAS, &[])?;
    let mut images = vec![
        Image::new(DNS, Architecture::HOST, &["/coredns"], &json!({}), vec![coredns]),
        Image::new(
            &format!("{KUBE_PROXY}:{version}"),
            Architecture::HOST,
            &[&format!("/{}", layout::ALIAS)],
            &json!({}),
            vec![Rc::clone(&userland), kube_proxy],
        ),
    ];
    for &(name, entrypoint, has_agnhost) in IMAGES {
        let layers = [Some(&userland), has_agnhost.then_some(&agnhost)].into_iter().flatten();
        images.push(Image::new(name, Architecture::HOST, entrypoint, &json!({}), layers.cloned().collect()));
    }
    layout::write_archive(&images, archive)
}

/// Writes weir's image under the name used in `host/install`.
pub(crate) fn write_weir(weir: &Path, archive: &Path) -> Result<()> {
    layout::write_archive(&[assemble(Architecture::HOST, weir, &default_name(), Effort::None)?.0], archive)
}
