//! Builds the programs of a cluster with Go, from the modules in `tests/cluster/go`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use weir_cluster::Programs;

use crate::examples::toolchain::Program;
use crate::{process, workspace};

/// The oldest version the modules allow.
const GO: Program = Program { name: "go", argument: "version", at_least: (1, 26) };

/// Programs that share one set of dependency versions.
struct Module {
    name: &'static str,
    /// Directory of its go.mod.
    folder: &'static str,
    /// Path of the module that determines the version.
    versioned: &'static str,
    /// Name and package. A name that ends with `.test` is the package's test program.
    programs: &'static [(&'static str, &'static str)],
}

const KUBERNETES: &str = "k8s.io/kubernetes";

/// What the tests with a cluster without nodes need.
const MODULES: &[Module] = &[
    Module {
        name: "etcd",
        folder: "etcd",
        versioned: "go.etcd.io/etcd/server/v3",
        programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
    },
    Module {
        name: "kubernetes",
        folder: "kubernetes",
        versioned: KUBERNETES,
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ],
    },
    Module {
        name: "helm",
        folder: "helm",
        versioned: "helm.sh/helm/v4",
        programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
    },
    Module {
        name: "board",
        folder: "board",
        versioned: "github.com/grafana/grafana-foundation-sdk/go",
        programs: &[("board", ".")],
    },
];

/// What nodes and Kubernetes' own tests need in addition.
const NODE_MODULES: &[Module] = &[
    Module {
        name: "containerd",
        folder: "containerd",
        versioned: "github.com/containerd/containerd/v2",
        programs: &[
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
            ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ],
    },
    Module {
        name: "cni",
        folder: "cni",
        versioned: "github.com/containernetworking/plugins",
        programs: &[
            ("bridge", "github.com/containernetworking/plugins/plugins/main/bridge"),
            ("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
            ("loopback", "github.com/containernetworking/plugins/plugins/main/loopback"),
            ("portmap", "github.com/containernetworking/plugins/plugins/meta/portmap"),
        ],
    },
    Module {
        name: "dns",
        folder: "coredns",
        versioned: "github.com/coredns/coredns",
        programs: &[("coredns", ".")],
    },
    Module {
        name: "nodes",
        folder: "kubernetes",
        versioned: KUBERNETES,
        programs: &[
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("agnhost", "k8s.io/kubernetes/test/images/agnhost"),
            ("regression-issue-74839", "k8s.io/kubernetes/test/images/regression-issue-74839"),
        ],
    },
    // Apart from the others: what they require stays as it is.
    Module {
        name: "kubeadm",
        folder: "kubeadm",
        versioned: KUBERNETES,
        programs: &[("kubeadm", "k8s.io/kubernetes/cmd/kubeadm")],
    },
    Module {
        name: "tests",
        folder: "kubernetes",
        versioned: KUBERNETES,
        programs: &[("e2e.test", "k8s.io/kubernetes/test/e2e")],
    },
];

/// Another service proxy for clusters, to compare with.
const KUBE_ROUTER: Module = Module {
    name: "kube-router",
    folder: "kube-router",
    versioned: "github.com/cloudnativelabs/kube-router/v2",
    programs: &[("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router")],
};

/// Returns why a cluster cannot run here.
pub(crate) fn missing() -> Option<String> {
    if Programs::find().is_ok() { None } else { GO.missing() }
}

/// Returns why a cluster with nodes cannot run here.
pub(crate) fn missing_for_nodes() -> Option<String> {
    let folder = weir_cluster::folder();
    let mut programs = NODE_MODULES.iter().flat_map(|module| module.programs);
    let are_built = programs.all(|(name, _)| folder.join(name).is_file());
    missing().or_else(|| if are_built { None } else { GO.missing() })
}

/// Builds programs that are missing or were built from other versions.
pub(crate) fn build() -> Result<()> {
    build_all(MODULES)
}

/// Like [`build`], for nodes and Kubernetes' own tests.
pub(crate) fn build_for_nodes() -> Result<()> {
    build()?;
    build_all(NODE_MODULES)
}

/// Builds kube-router and returns its path.
pub(crate) fn build_kube_router() -> Result<PathBuf> {
    build_all(&[KUBE_ROUTER])?;
    Ok(weir_cluster::folder().join(KUBE_ROUTER.name))
}

/// The version of Kubernetes that clusters have, as `v1.37.2`.
pub(crate) fn kubernetes_version() -> Result<String> {
    let module = MODULES.iter().find(|module| module.versioned == KUBERNETES);
    let module = module.context("the list of Go modules does not contain Kubernetes")?;
    module.version(&module.source())
}

fn build_all(modules: &[Module]) -> Result<()> {
    let folder = weir_cluster::folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    modules.iter().try_for_each(|module| module.build(&folder))
}

impl Module {
    fn build(&self, folder: &Path) -> Result<()> {
        if self.is_built(folder)? {
            return Ok(());
        }
        let lock = fs::File::create(folder.join("lock")).context("cannot lock the cluster's programs")?;
        lock.lock().context("cannot lock the cluster's programs")?;
        // Another process may have built it before it released the lock.
        if self.is_built(folder)? {
            return Ok(());
        }
        if let Some(reason) = GO.missing() {
            bail!("cannot build {}: {reason}", self.name);
        }
        for (name, package) in self.programs {
            eprintln!("building {name}");
            let mut go = self.go(name)?;
            process::run(go.arg("-o").arg(folder.join(name)).arg(package))?;
        }
        let stamp = self.stamp(folder);
        fs::write(&stamp, self.made_from()?).with_context(|| format!("cannot write {}", stamp.display()))
    }

    fn is_built(&self, folder: &Path) -> Result<bool> {
        let made_from = self.made_from()?;
        Ok(self.programs.iter().all(|(name, _)| folder.join(name).is_file())
            && fs::read_to_string(self.stamp(folder)).is_ok_and(|last| last == made_from))
    }

    fn stamp(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.made-from", self.name))
    }

    fn source(&self) -> PathBuf {
        workspace::root().join("tests/cluster/go").join(self.folder)
    }

    /// Everything that determines the programs except Go itself: a newer Go is no reason to rebuild.
    fn made_from(&self) -> Result<String> {
        let source = self.source();
        let mut text = self.linker_flags(&source)?;
        for file in ["go.mod", "go.sum"] {
            let path = source.join(file);
            let read = fs::read_to_string(&path);
            text.push_str(&read.with_context(|| format!("cannot read {}", path.display()))?);
        }
        Ok(text)
    }

    fn go(&self, name: &str) -> Result<Command> {
        let source = self.source();
        let mut go = process::in_the_background(Command::new("go"));
        // Go must not download another toolchain, and flags meant for other modules must not apply.
        go.current_dir(&source).env("GOTOOLCHAIN", "local").env("GOFLAGS", "").env("GOWORK", "off");
        go.env("CGO_ENABLED", "0");
        go.args(if name.ends_with(".test") { &["test", "-c", "-vet=off"][..] } else { &["build"] });
        go.args(["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"]);
        go.arg(self.linker_flags(&source)?);
        Ok(go)
    }

    /// kubectl does not work with the version found in the source.
    fn linker_flags(&self, source: &Path) -> Result<String> {
        let version = self.version(source)?;
        Ok(format!("-s -w -X k8s.io/component-base/version.gitVersion={version}"))
    }

    fn version(&self, source: &Path) -> Result<String> {
        let path = source.join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        version_of(&text, self.versioned)
            .map(str::to_owned)
            .with_context(|| format!("{} does not require {}", path.display(), self.versioned))
    }
}

/// Finds the version of a module that a go.mod requires, in a block or on a single line.
fn version_of<'t>(text: &'t str, module: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        (words.next() == Some(module)).then(|| words.next()).flatten().filter(|word| word.starts_with('v'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_says_its_version() {
        for module in MODULES.iter().chain(NODE_MODULES).chain([&KUBE_ROUTER]) {
            let version = module.version(&module.source()).unwrap();
            assert!(version.starts_with('v'), "{version}");
        }
        let text = "tool k8s.io/x/cmd\nrequire (\n\tk8s.io/x-y v1.2.3 // indirect\n\tk8s.io/x v4.5.6\n)\n";
        assert_eq!(version_of(text, "k8s.io/x"), Some("v4.5.6"));
        assert_eq!(version_of("require k8s.io/x v1.0.0", "k8s.io/x"), Some("v1.0.0"));
        assert_eq!(version_of(text, "k8s.io/z"), None);
    }

    #[test]
    fn what_is_built_is_what_clusters_look_for() {
        let built: Vec<&str> = MODULES.iter().flat_map(|m| m.programs).map(|(name, _)| *name).collect();
        assert_eq!(built, ["etcd", "kube-apiserver", "kubectl", "kube-proxy", "helm", "board"]);
    }
}
