//! A node on which the two are meant to differ: `nodePortAddresses` covers VIPs, which kube-proxy takes for addresses of the
//! node (Q20). Taking over, weir removes what kube-proxy made for that, and touches nothing else.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_core::net::Family;
use weir_harness::cluster::Service;

use crate::Report;
use crate::node::{Node, config};
use crate::objects::{LOCAL, WITH_NODE_PORTS, node_port};

/// The load balancers' VIPs; there are no other addresses in it.
const VIPS: &str = "198.51.100.0/24";

pub(crate) fn run(node: &mut Node<'_>, report: &mut Report) -> Result<()> {
    let mut covered = config();
    covered["nodePortAddresses"] = json!(["10.0.2.0/24", "fd00:10:2::/64", VIPS]);
    node.kill();
    node.start_kube_proxy(&covered)?;
    // It finds its own VIPs once they are there.
    node.await_next_syncs(1)?;
    node.kill();
    node.start_weir(&covered)?;
    let changes = node.changes()?;
    report.step("a_meant_difference_and_nothing_else", exactly(&changes));
    Ok(())
}

/// For each pair of a VIP and a node port: a virtual server of each protocol, what UDP clients had to do with it, and the entries of
/// SCTP's sets, which are the only ones that name addresses.
fn exactly(changes: &[String]) -> Result<String> {
    let mut wanted = BTreeSet::new();
    for at in WITH_NODE_PORTS {
        let vip = Service::new("", at).load_balancer_ip(Family::V4);
        for port in WITH_NODE_PORTS.map(node_port) {
            for protocol in ["tcp", "udp", "sctp"] {
                wanted.insert(format!("delete virtual {protocol} {vip}:{port}"));
            }
            wanted.insert(format!("forget flows to udp {vip}:{port} but to 0 real servers"));
            wanted.insert(format!("delete entry KUBE-NODE-PORT-SCTP-HASH {vip},sctp:{port}"));
            if port == node_port(LOCAL) {
                wanted.insert(format!("delete entry KUBE-NODE-PORT-LOCAL-SCTP-HASH {vip},sctp:{port}"));
            }
        }
    }
    let made: BTreeSet<String> = changes.iter().cloned().collect();
    let (missing, unexpected): (Vec<_>, Vec<_>) =
        (wanted.difference(&made).collect(), made.difference(&wanted).collect());
    ensure!(
        missing.is_empty() && unexpected.is_empty() && made.len() == changes.len(),
        "missing {missing:#?}, unexpected {unexpected:#?}"
    );
    Ok(format!("{} changes, all of node ports on VIPs", changes.len()))
}
