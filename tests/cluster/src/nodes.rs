//! Additional components of a cluster with kubelets.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;

use crate::programs;
use crate::server::Server;

pub(crate) const CONTROLLER_MANAGER: &str = "kube-controller-manager";
pub(crate) const SCHEDULER: &str = "kube-scheduler";

/// Nodes whose kubelets connect to a cluster.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// This machine's address as seen by the nodes.
    pub address: Ipv4Addr,
    /// The nodes' names.
    pub names: Vec<String>,
}

impl Nodes {
    pub(crate) fn api_server_arguments(&self) -> [String; 4] {
        [
            "--bind-address=0.0.0.0".to_owned(),
            format!("--advertise-address={}", self.address),
            "--authorization-mode=Node,RBAC".to_owned(),
            // The nodes' names cannot be resolved here.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]
    }
}

/// Starts the controllers and the scheduler; both retry until the API server answers.
pub(crate) fn start_controllers(kubeconfig: &Path, folder: &Path) -> Result<Vec<Server>> {
    let file = |name: &str| folder.join(name).display().to_string();
    let common = [
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        // Nothing connects to them.
        "--secure-port=0".to_owned(),
    ];
    let of_manager = [
        format!("--service-account-private-key-file={}", file("tokens.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        // A busy emulated node may send its heartbeats late; the default is 50 s.
        "--node-monitor-grace-period=180s".to_owned(),
    ];
    let start = |name: &'static str, arguments: Vec<String>| {
        Server::start(name, &programs::folder().join(name), &arguments, folder.join(format!("{name}.log")))
    };
    Ok(vec![
        start(CONTROLLER_MANAGER, common.iter().chain(&of_manager).cloned().collect())?,
        start(SCHEDULER, common.to_vec())?,
    ])
}
