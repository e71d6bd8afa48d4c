//! Where the daemon takes its objects from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use tracing::debug;
use weir_k8s::config::ClientConnection;

use crate::cli::RunArguments;
use crate::inputs::Settings;

/// How to reach the API server and what to ask of it.
#[derive(Clone, Debug)]
pub(crate) struct ApiServer {
    /// Address that holds whatever the kubeconfig says (`--master`).
    pub(crate) master: Option<String>,
    /// `clientConnection`. Without a kubeconfig and a master: as a pod does.
    pub(crate) connection: ClientConnection,
    /// How often everything is asked for again (`configSyncPeriod`).
    pub(crate) resync: Duration,
}

impl ApiServer {
    fn of(arguments: &RunArguments, settings: &Settings) -> ApiServer {
        ApiServer {
            master: arguments.input.master.clone().filter(|master| !master.is_empty()),
            connection: settings.configuration.client_connection(),
            resync: settings.configuration.config_sync_period(),
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
            (None, false) => write!(f, " of {kubeconfig}"),
            (Some(master), false) => write!(f, " at {master}, with {kubeconfig}"),
        }
    }
}

/// The folder of manifests to take objects from.
pub(crate) fn objects(arguments: &RunArguments, settings: &Settings) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &arguments.input.manifests {
        return Ok(folder.clone());
    }
    let api_server = ApiServer::of(arguments, settings);
    debug!(connection = ?api_server.connection, resync = ?api_server.resync, "would watch {api_server}");
    bail!(
        "this version cannot watch {api_server} yet: give --manifests DIR, a folder of Services and EndpointSlices"
    );
}
