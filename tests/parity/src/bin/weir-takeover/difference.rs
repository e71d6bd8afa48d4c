//! A node on which the two are meant to differ: `nodePortAddresses` covers VIPs, which kube-proxy takes for node
//! addresses (Q20). When weir takes over, it removes what kube-proxy created for them, and touches nothing else.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_core::diff::Change;
use weir_core::net::{Family, Protocol};
use weir_core::state::VirtualServer;
use weir_harness::cluster::Service;
use weir_harness::lab::{at, node_port};
use weir_harness::patience::{self, GENEROUS};

use crate::node::{EXPOSED, Node, Program};

/// The load balancers' VIPs; the network contains no other addresses.
const VIPS: &str = "198.51.100.0/24";

/// Runs on a node without a proxy, and leaves it with another configuration.
pub(crate) fn taken_over(node: &mut Node<'_>) -> Result<()> {
    node.config["nodePortAddresses"] = json!(["10.0.2.0/24", "fd00:10:2::/64", VIPS]);
    node.start(Program::KubeProxy)?;
    // kube-proxy finds its own VIPs once they exist, one synchronisation later.
    patience::until(GENEROUS, || {
        let servers = node.script("ipvsadm -Sn")?;
        let missing = servers_on_vips()
            .into_iter()
            .find(|(option, server)| !servers.contains(&format!("-A {option} {server} ")));
        ensure!(missing.is_none(), "kube-proxy has no {missing:?}");
        Ok(())
    })?;
    node.settled()?;
    node.stop()?;
    let requests = node.requests_while(|node| node.start(Program::Weir))?;
    exactly(&node.changes()?)?;
    // No client has connected to these, so there are no flows to forget.
    let wanted = [("IPVS delete service".to_owned(), servers_on_vips().len())].into();
    ensure!(requests == wanted, "requested changes: {requests:?}, expected {wanted:?}");
    Ok(())
}

/// One per protocol for each pair of a VIP and a node port, as named by `ipvsadm`.
fn servers_on_vips() -> Vec<(&'static str, SocketAddr)> {
    let mut servers = Vec::new();
    for number in EXPOSED {
        let vip = Service::new("", number).load_balancer_ip(Family::V4);
        for port in EXPOSED.map(node_port) {
            servers.extend(["-t", "-u"].map(|option| (option, at(vip, port))));
        }
    }
    servers
}

/// Expects that the virtual servers are removed, and the flows of UDP clients. The sets of node ports contain no
/// addresses.
fn exactly(changes: &[String]) -> Result<()> {
    let mut wanted = BTreeSet::new();
    for (option, server) in servers_on_vips() {
        let protocol = if option == "-u" { Protocol::Udp } else { Protocol::Tcp };
        let server = VirtualServer { protocol, address: server };
        wanted.insert(Change::DeleteVirtualServer(server).to_string());
        if protocol == Protocol::Udp {
            wanted.insert(Change::ForgetFlows(server, BTreeSet::new()).to_string());
        }
    }
    let made: BTreeSet<String> = changes.iter().cloned().collect();
    let missing: Vec<_> = wanted.difference(&made).collect();
    let unexpected: Vec<_> = made.difference(&wanted).collect();
    ensure!(
        missing.is_empty() && unexpected.is_empty() && made.len() == changes.len(),
        "missing {missing:#?}, unexpected {unexpected:#?}"
    );
    println!("on VIPs that node ports cover: {} changes", changes.len());
    Ok(())
}
