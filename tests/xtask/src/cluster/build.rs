//! The programs of a cluster, built by Go from the modules in `tests/cluster/go`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use weir_cluster::Programs;

use crate::examples::toolchain::Program;
use crate::{process, workspace};

/// The oldest that the modules allow.
const GO: Program = Program { name: "go", argument: "version", at_least: (1, 26) };

/// Programs whose dependencies have one set of versions.
struct Module {
    name: &'static str,
    /// Path of the module that has the version.
    versioned: &'static str,
    /// Name and package.
    programs: &'static [(&'static str, &'static str)],
}

const MODULES: &[Module] = &[
    Module {
        name: "etcd",
        versioned: "go.etcd.io/etcd/server/v3",
        programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
    },
    Module {
        name: "kubernetes",
        versioned: "k8s.io/kubernetes",
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ],
    },
];

/// Why there can be no cluster.
pub(crate) fn missing() -> Option<String> {
    if Programs::find().is_ok() { None } else { GO.missing() }
}

/// Builds what is not there or was made from other versions.
pub(crate) fn build() -> Result<()> {
    let folder = weir_cluster::folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock = fs::File::create(folder.join("lock")).context("cannot lock the cluster's programs")?;
    lock.lock().context("cannot lock the cluster's programs")?;
    MODULES.iter().try_for_each(|module| module.build(&folder))
}

impl Module {
    fn build(&self, folder: &Path) -> Result<()> {
        let source = self.source();
        let made_from = self.made_from(&source)?;
        let stamp = folder.join(format!("{}.made-from", self.name));
        let complete = self.programs.iter().all(|(name, _)| folder.join(name).is_file());
        if complete && fs::read_to_string(&stamp).is_ok_and(|last| last == made_from) {
            return Ok(());
        }
        if let Some(reason) = GO.missing() {
            bail!("{} cannot be built: {reason}", self.name);
        }
        for (name, package) in self.programs {
            eprintln!("building {name}");
            let mut go = self.go(&source)?;
            process::run(go.arg("-o").arg(folder.join(name)).arg(package))?;
        }
        fs::write(&stamp, made_from).with_context(|| format!("cannot write {}", stamp.display()))
    }

    fn source(&self) -> PathBuf {
        workspace::root().join("tests/cluster/go").join(self.name)
    }

    /// All that decides what the programs are, but for Go itself: a newer one is no reason to wait.
    fn made_from(&self, source: &Path) -> Result<String> {
        let mut text = self.linker_flags(source)?;
        for file in ["go.mod", "go.sum"] {
            let path = source.join(file);
            let read = fs::read_to_string(&path);
            text.push_str(&read.with_context(|| format!("cannot read {}", path.display()))?);
        }
        Ok(text)
    }

    fn go(&self, source: &Path) -> Result<Command> {
        let mut go = Command::new("go");
        // Another toolchain than the one at hand is not asked for; and what was meant for other modules stays out.
        go.current_dir(source).env("GOTOOLCHAIN", "local").env("GOFLAGS", "").env("GOWORK", "off");
        go.env("CGO_ENABLED", "0");
        go.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"]);
        go.arg(self.linker_flags(source)?);
        Ok(go)
    }

    /// kubectl refuses to work with the version that stands in the source.
    fn linker_flags(&self, source: &Path) -> Result<String> {
        let version = self.version(source)?;
        Ok(format!("-s -w -X k8s.io/component-base/version.gitVersion={version}"))
    }

    fn version(&self, source: &Path) -> Result<String> {
        let path = source.join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        version_of(&text, self.versioned)
            .map(str::to_owned)
            .with_context(|| format!("{} requires no {}", path.display(), self.versioned))
    }
}

/// The version of a module that a go.mod requires, in a list or alone.
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
        for module in MODULES {
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
        assert_eq!(built, ["etcd", "kube-apiserver", "kubectl", "kube-proxy"]);
    }
}
