//! Runs the real kube-proxy and weir in one guest, driven by a program of `tests/parity`. The API server runs on
//! the host.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use weir_cluster::{Cluster, Programs};
use weir_guest_init::{Command, Streams};

use crate::job::{Hardware, Job};
use crate::machine::Listener;
use crate::overlay::Given;
use crate::workspace;
use crate::{cluster, setup};

/// The programs for such a run.
pub(crate) struct Beside {
    driver: PathBuf,
    weir: PathBuf,
    kube_proxy: PathBuf,
    /// Built only where it is measured.
    kube_router: Option<PathBuf>,
}

impl Beside {
    /// Builds them; an existing weir can be given instead.
    ///
    /// # Errors
    /// When something is missing or cannot be built.
    pub(crate) fn build(driver: &str, weir: Option<&Path>) -> Result<Beside> {
        Beside::build_as("dev", driver, weir)
    }

    /// Like [`Beside::build`], with another cargo profile.
    ///
    /// # Errors
    /// As [`Beside::build`].
    pub(crate) fn build_as(profile: &str, driver: &str, weir: Option<&Path>) -> Result<Beside> {
        if let Some(reason) = setup::reason() {
            bail!("{reason}");
        }
        cluster::build()?;
        Ok(Beside {
            driver: workspace::program(profile, "weir-parity", driver)?,
            weir: match weir {
                Some(weir) => weir.canonicalize().with_context(|| format!("--weir {}", weir.display()))?,
                None => workspace::program(profile, "weir", "weir")?,
            },
            kube_proxy: Programs::find()?.kube_proxy,
            kube_router: None,
        })
    }

    /// Adds kube-router, which is built if it is missing.
    ///
    /// # Errors
    /// When it cannot be built.
    pub(crate) fn with_kube_router(self) -> Result<Beside> {
        Ok(Beside { kube_router: Some(cluster::build_kube_router()?), ..self })
    }

    /// Runs the driver against a new API server, with the paths it needs followed by these arguments.
    ///
    /// # Errors
    /// When the API server or the guest does not start, or the guest stops early.
    pub(crate) fn run(
        &self,
        arguments: Vec<String>,
        timeout: u64,
        listener: &mut impl Listener,
    ) -> Result<()> {
        self.run_with(&Cluster::start()?, Hardware::with_timeout(timeout), arguments, listener)
    }

    /// Like [`Beside::run`], but against a running API server and in a guest with this hardware.
    ///
    /// # Errors
    /// As [`Beside::run`].
    pub(crate) fn run_with(
        &self,
        cluster: &Cluster,
        mut hardware: Hardware,
        arguments: Vec<String>,
        listener: &mut impl Listener,
    ) -> Result<()> {
        let [admin, proxy] = [cluster.guest_kubeconfig(), cluster.guest_proxy_kubeconfig()];
        let line = self.line(&admin, &proxy, arguments)?;
        let command = Command {
            streams: Streams::Port,
            directory: "/root".to_owned(),
            environment: Vec::new(),
            arguments: line,
        };
        hardware.api_server = Some(cluster.port());
        let files = [&self.driver, &self.weir, &self.kube_proxy, &admin, &proxy].into_iter();
        let files = files.chain(&self.kube_router).map(Given::same_path).collect();
        Job { hardware, commands: vec![command], files }.run(listener)
    }

    /// The driver on this machine instead, for the same API server.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub(crate) fn command_here(
        &self,
        cluster: &Cluster,
        arguments: Vec<String>,
    ) -> Result<std::process::Command> {
        let line = self.line(&cluster.kubeconfig(), &cluster.proxy_kubeconfig(), arguments)?;
        let mut command = std::process::Command::new(&self.driver);
        command.args(&line[1..]);
        Ok(command)
    }

    /// The driver's command line.
    fn line(
        &self,
        kubeconfig: &Path,
        proxy_kubeconfig: &Path,
        arguments: Vec<String>,
    ) -> Result<Vec<String>> {
        let mut line = vec![text(&self.driver)?];
        for (name, path) in [
            ("--kubeconfig", kubeconfig),
            ("--proxy-kubeconfig", proxy_kubeconfig),
            ("--kube-proxy", &self.kube_proxy),
            ("--weir", &self.weir),
        ] {
            line.extend([name.to_owned(), text(path)?]);
        }
        if let Some(path) = &self.kube_router {
            line.extend(["--kube-router".to_owned(), text(path)?]);
        }
        line.extend(arguments);
        Ok(line)
    }
}

/// Converts a path to an argument.
pub(crate) fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{path:?} is not UTF-8"))
}
