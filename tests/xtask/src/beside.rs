//! The real kube-proxy and weir in one guest, driven by a program of `tests/parity`; the API server runs here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use weir_cluster::{Cluster, Programs};
use weir_guest_init::{Command, Streams};

use crate::job::{Hardware, Job};
use crate::machine::Listener;
use crate::overlay::Given;
use crate::workspace::{self, Role};
use crate::{cluster, setup};

/// The programs that it takes.
pub(crate) struct Beside {
    driver: PathBuf,
    weir: PathBuf,
    kube_proxy: PathBuf,
}

impl Beside {
    /// Builds them; a weir may be given instead.
    ///
    /// # Errors
    /// When something is missing, or cannot be built.
    pub(crate) fn build(driver: &str, weir: Option<&Path>) -> Result<Beside> {
        let missing: Vec<&str> = setup::missing().iter().map(|requirement| requirement.program).collect();
        ensure!(missing.is_empty(), "{} not installed; run: cargo xtask setup", missing.join(", "));
        cluster::build()?;
        Ok(Beside {
            driver: program("weir-parity", driver)?,
            weir: match weir {
                Some(weir) => weir.canonicalize().with_context(|| format!("--weir {}", weir.display()))?,
                None => program("weir", "weir")?,
            },
            kube_proxy: Programs::find()?.kube_proxy,
        })
    }

    /// Runs the driver with these arguments, after those that say where everything is, against a new API server.
    ///
    /// # Errors
    /// When the API server or the guest does not start, or the guest ends early.
    pub(crate) fn run(
        &self,
        arguments: Vec<String>,
        timeout: u64,
        listener: &mut impl Listener,
    ) -> Result<()> {
        let cluster = Cluster::start()?;
        let [admin, proxy] = [cluster.guest_kubeconfig(), cluster.guest_proxy_kubeconfig()];
        let mut line = vec![text(&self.driver)?];
        for (name, path) in [
            ("--kubeconfig", admin.as_path()),
            ("--proxy-kubeconfig", &proxy),
            ("--kube-proxy", &self.kube_proxy),
            ("--weir", &self.weir),
        ] {
            line.extend([name.to_owned(), text(path)?]);
        }
        line.extend(arguments);
        let command = Command {
            streams: Streams::Port,
            directory: "/root".to_owned(),
            environment: Vec::new(),
            arguments: line,
        };
        let mut hardware = Hardware::with_timeout(timeout);
        hardware.api_server = Some(cluster.port());
        let files = [&self.driver, &self.weir, &self.kube_proxy, &admin, &proxy].map(Given::same_path).into();
        Job { hardware, commands: vec![command], files }.run(listener)
    }
}

fn program(package: &str, name: &str) -> Result<PathBuf> {
    let built = workspace::build(&["build", "--package", package, "--bin", name])?;
    let found = built.into_iter().find(|artifact| artifact.role == Role::Program && artifact.name == name);
    found.map(|artifact| artifact.executable).with_context(|| format!("cargo built no {name}"))
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{path:?} is not UTF-8"))
}
