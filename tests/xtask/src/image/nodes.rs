//! Images for the nodes of `cargo xtask e2e`, under the names that Kubernetes' own tests use.

use std::path::Path;
use std::rc::Rc;

use anyhow::Result;
use serde_json::json;

use super::layer::{Effort, Layer};
use super::layout::{self, Image, Start};
use super::tree::Tree;
use super::{assemble, default_name};
use crate::architecture::Architecture;

/// Name, what it starts, and the Go program that the image has beside a node's programs, which include those that
/// agnhost's own image gets from Alpine (a shell, curl, nc, ip, wget), and conntrack.
const IMAGES: &[(&str, Start<'_>, Option<&str>)] = &[
    (
        "registry.k8s.io/e2e-test-images/agnhost:2.66.1",
        Start { entrypoint: &["/agnhost"], arguments: &["pause"] },
        Some("agnhost"),
    ),
    ("registry.k8s.io/e2e-test-images/busybox:1.37.0-2", SHELL, None),
    (
        "registry.k8s.io/e2e-test-images/regression-issue-74839:1.5",
        only(&["/regression-issue-74839"]),
        Some(BOOM),
    ),
    ("registry.k8s.io/build-image/distroless-iptables:v0.9.9", SHELL, None),
    // A stand-in: the tests of EndpointSlices only need pods that run.
    ("registry.k8s.io/e2e-test-images/nginx:1.27.0-2", SLEEP, None),
    (PAUSE, SLEEP, None),
];

/// Like busybox's own image: a pod's `args` are a whole command.
const SHELL: Start<'_> = Start { entrypoint: &[], arguments: &["sh"] };

/// The runtime stops it with SIGKILL.
const SLEEP: Start<'_> = only(&["busybox", "sleep", "inf"]);

const fn only<'a>(entrypoint: &'a [&'a str]) -> Start<'a> {
    Start { entrypoint, arguments: &[] }
}

/// Sends packets outside of the TCP window, as in Kubernetes' issue 74839.
const BOOM: &str = "regression-issue-74839";

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
    let added = [program("agnhost", "agnhost", &["agnhost-2"])?, program(BOOM, BOOM, &[])?];
    let coredns = program("coredns", "coredns", &[])?;
    let kube_proxy = program("kube-proxy", layout::ALIAS, &[])?;
    let mut images = vec![
        Image::new(DNS, Architecture::HOST, only(&["/coredns"]), &json!({}), vec![coredns]),
        Image::new(
            &format!("{KUBE_PROXY}:{version}"),
            Architecture::HOST,
            only(&[&format!("/{}", layout::ALIAS)]),
            &json!({}),
            vec![Rc::clone(&userland), kube_proxy],
        ),
    ];
    for &(name, start, program) in IMAGES {
        let added = added.iter().filter(|layer| program == Some(&layer.title));
        let layers = [&userland].into_iter().chain(added);
        images.push(Image::new(name, Architecture::HOST, start, &json!({}), layers.cloned().collect()));
    }
    layout::write_archive(&images, archive)
}

/// Writes weir's image under the name used in `host/install`.
pub(crate) fn write_weir(weir: &Path, archive: &Path) -> Result<()> {
    layout::write_archive(&[assemble(Architecture::HOST, weir, &default_name(), Effort::None)?.0], archive)
}
