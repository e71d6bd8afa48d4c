//! A node on which the two are meant to differ: `nodePortAddresses` covers VIPs, which kube-proxy takes for addresses of the
//! node (Q20). Taking over, weir removes what kube-proxy made for that, and touches nothing else.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_core::net::Family;
use weir_harness::cluster::Service;
use weir_harness::lab::{at, node_port};
use weir_harness::patience::{self, GENEROUS};

use crate::node::{EXPOSED, Node, Program};

/// The load balancers' VIPs; there are no other addresses in it.
const VIPS: &str = "198.51.100.0/24";

/// On a node where nothing runs. It is left with another configuration.
pub(crate) fn taken_over(node: &mut Node<'_>) -> Result<()> {
    node.config["nodePortAddresses"] = json!(["10.0.2.0/24", "fd00:10:2::/64", VIPS]);
    node.start(Program::KubeProxy)?;
    // It finds its own VIPs once they are there, one synchronisation later.
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
    // No client has talked to these, so that there are no flows to forget.
    let wanted = [("IPVS delete service".to_owned(), servers_on_vips().len())].into();
    ensure!(requests == wanted, "the kernel was asked for {requests:?}, not {wanted:?}");
    Ok(())
}

/// One of each protocol for each pair of a VIP and a node port, as `ipvsadm` names them.
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

/// The virtual servers go, and what UDP clients had to do with them. The sets of node ports name no addresses.
fn exactly(changes: &[String]) -> Result<()> {
    let mut wanted = BTreeSet::new();
    for (option, server) in servers_on_vips() {
        if option == "-u" {
            wanted.insert(format!("delete virtual udp {server}"));
            wanted.insert(format!("forget flows to udp {server} but to 0 real servers"));
        } else {
            wanted.insert(format!("delete virtual tcp {server}"));
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
