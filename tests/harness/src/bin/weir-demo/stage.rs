//! The cluster, the manifests and weir.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Cluster, Daemon, Place};
use weir_harness::weir::Manifests;

use crate::page;

/// The addresses in the manifests follow this order, starting at `.10`.
const PODS: &[(&str, Place)] = &[
    ("web-1", Place::Local),
    ("web-2", Place::Local),
    ("web-3", Place::Remote),
    ("web-4", Place::Local),
    ("shopper", Place::Local),
];

/// The manifest that is edited.
pub(crate) const WEB: &str = "web.yaml";

/// VIPs in the manifests.
pub(crate) const CLUSTER_IP: &str = "10.96.0.10:80";
pub(crate) const NODE_PORT: &str = "10.0.2.15:30080";
pub(crate) const LOAD_BALANCER: &str = "198.51.100.10:80";
pub(crate) const SESSIONS: &str = "[fd00:10:96::53]:53";

/// The cluster running weir.
pub(crate) struct Stage<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) daemon: Daemon,
}

/// Creates the cluster.
pub(crate) fn cluster() -> Result<Cluster> {
    let cluster = Cluster::new(PODS).context("cannot create the cluster")?;
    for pod in cluster.pods() {
        let [v4, v6] = Family::BOTH.map(|family| pod.host.address(family));
        page::say(&format!("{:<8} {v4:<12} {v6:<18} on {}", pod.host.name(), pod.place.node()));
    }
    for (host, remark) in [(cluster.node(), "weir runs here"), (cluster.outside(), "a client outside")] {
        let [v4, v6] = Family::BOTH.map(|family| host.address(family));
        page::say(&format!("{:<8} {v4:<12} {v6:<18} {remark}", host.name()));
    }
    Ok(cluster)
}

/// Copies the manifests and shows the most important one.
pub(crate) fn manifests(folder: &Path) -> Result<Manifests> {
    let copy = Manifests::new()?;
    for name in ["node.yaml", "sessions.yaml", WEB] {
        copy.put(name, &read(&folder.join(name))?)?;
    }
    let web = read(&folder.join(WEB))?;
    let service = web.split("---\n").next().unwrap_or_default();
    page::quote(service.lines());
    page::say("and `sessions`: UDP at an IPv6 cluster IP with session affinity.");
    Ok(copy)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A VIP of the manifests.
pub(crate) fn vip(text: &str) -> Result<SocketAddr> {
    text.parse().with_context(|| format!("`{text}` is not an address with a port"))
}

impl<'c> Stage<'c> {
    /// Starts weir.
    pub(crate) fn start(cluster: &'c Cluster, weir: &Path, manifests: Manifests) -> Result<Stage<'c>> {
        let start = Instant::now();
        let daemon = Daemon::start(cluster, weir, &[], manifests)?;
        let took = start.elapsed().as_secs_f32();
        page::say(&format!(
            "The kernel matches the plan (checked with weir diff) {took:.1} s after the start."
        ));
        page::say("The guest's processor is emulated; real ones are about ten times faster.");
        Ok(Stage { cluster, daemon })
    }

    /// Shows the part of the plan that concerns one VIP.
    pub(crate) fn show_plan(&self) -> Result<()> {
        let plan = self.daemon.ask("plan", &[])?;
        let address = vip(CLUSTER_IP)?.ip().to_string();
        let lines: Vec<&str> = plan.lines().filter(|line| line.contains(&address)).collect();
        ensure!(!lines.is_empty(), "the plan does not mention {address}");
        page::quote(lines);
        page::say(&format!(
            "The whole plan has {} lines: sysctls, sets, rules, addresses and servers.",
            plan.lines().count()
        ));
        Ok(())
    }

    /// Shows the kernel's virtual servers.
    pub(crate) fn show_kernel(&self) -> Result<()> {
        let text = self.cluster.node().namespace().output("ipvsadm", &["-Ln"])?;
        page::quote(text.lines().skip(1));
        for server in [CLUSTER_IP, NODE_PORT, LOAD_BALANCER] {
            let real_servers = self.daemon.real_servers(Protocol::Tcp, vip(server)?)?;
            ensure!(real_servers.len() == 3, "{server} must have 3 real servers, not {real_servers:?}");
        }
        Ok(())
    }

    /// Asks weir where a client's packet would go.
    pub(crate) fn show_trace(&self) -> Result<()> {
        let client = self.cluster.outside().address(Family::V4).to_string();
        page::say(&format!("from {client} to {LOAD_BALANCER}:"));
        let trace = self.daemon.ask("trace", &["--from", &client, "--to", LOAD_BALANCER])?;
        page::quote(trace.lines());
        let endpoint = self.cluster.pod("web-1").host.address(Family::V4).to_string();
        ensure!(trace.contains(&endpoint), "the trace does not contain the endpoint {endpoint}");
        Ok(())
    }
}
