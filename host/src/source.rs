//! The source of the daemon's objects.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context;
use weir_k8s::config::ClientConnection;
use weir_watch::Access;

use crate::cli::RunArguments;
use crate::inputs::Settings;

/// Where the objects are.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// In a folder or a file.
    Manifests(PathBuf),
    /// In a cluster.
    ApiServer(ApiServer),
}

/// How to reach the API server.
#[derive(Clone, Debug)]
pub(crate) struct ApiServer {
    /// Address that overrides the kubeconfig (`--master`).
    pub(crate) master: Option<String>,
    /// `clientConnection`. Without a kubeconfig and a master: in-cluster, as a pod.
    pub(crate) connection: ClientConnection,
}

impl Source {
    /// The folder, if one is given, else the API server.
    pub(crate) fn of(arguments: &RunArguments, settings: &Settings) -> Source {
        if let Some(folder) = &arguments.input.manifests {
            return Source::Manifests(folder.clone());
        }
        Source::ApiServer(ApiServer {
            master: arguments.input.master.clone().filter(|master| !master.is_empty()),
            connection: settings.configuration.client_connection(),
        })
    }

    /// Fails if the source is unusable as given. A folder may be created later.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match self {
            Source::Manifests(_) => Ok(()),
            Source::ApiServer(server) => weir_watch::check(&server.access())
                .with_context(|| format!("cannot use {server} (give --manifests DIR to work without it)")),
        }
    }
}

impl ApiServer {
    /// The same settings, for weir-watch.
    pub(crate) fn access(&self) -> Access {
        let kubeconfig = Some(&self.connection.kubeconfig).filter(|file| !file.is_empty());
        Access { kubeconfig: kubeconfig.map(PathBuf::from), master: self.master.clone() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Manifests(path) => write!(f, "{}", path.display()),
            Source::ApiServer(server) => server.fmt(f),
        }
    }
}

impl fmt::Display for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the API server")?;
        let kubeconfig = &self.connection.kubeconfig;
        match (&self.master, kubeconfig.is_empty()) {
            (None, true) => f.write_str(" of the pod's cluster"),
            (Some(master), true) => write!(f, " at {master}"),
            (None, false) => write!(f, " named in {kubeconfig}"),
            (Some(master), false) => write!(f, " at {master}, with {kubeconfig}"),
        }
    }
}
