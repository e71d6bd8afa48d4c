//! Weights by node capacity, and nodes in maintenance.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Conversation, Node, Place, Service};
use weir_harness::lab::{Lab, Test, Vip, paths};
use weir_harness::policy::Plugin;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("node_weights::labels_of_nodes_spread_connections_three_to_one", labels_spread_connections),
    (
        "node_weights::a_node_in_maintenance_keeps_its_connections_and_gets_no_new_ones",
        a_node_in_maintenance_keeps_its_connections,
    ),
];

/// The index of the other node in the list.
const OTHER: usize = 1;

/// One endpoint on each node, with labels for a ratio of three to one.
fn serve(lab: &mut Lab) -> Result<(Service, Node)> {
    let service = lab.internal(30, &["web-1", "far-1"]);
    let node = |place, weight| lab.node(place).with_label("example.com/weight", weight);
    let nodes = [node(Place::Local, "3"), node(Place::Remote, "1")];
    let configuration = json!({
        "weight-label": "example.com/weight",
        "maintenance": {"unschedulable": true},
    });
    let plugin = Plugin::new("node-weights", "weir-plugin-node-weights", configuration);
    lab.serve_by(&[plugin], &nodes, &[&service])?;
    let [_, other] = nodes;
    Ok((service, other))
}

/// Exactly, because `wrr` is exact over multiples of its cycle of four.
fn labels_spread_connections(lab: &mut Lab) -> Result<()> {
    let (service, _) = serve(lab)?;
    for (family, protocol) in paths() {
        let target = lab.target(&service, Vip::Cluster, family);
        lab.expect_spread("app", protocol, target, &[("web-1", 12), ("far-1", 4)])?;
    }
    Ok(())
}

fn a_node_in_maintenance_keeps_its_connections(lab: &mut Lab) -> Result<()> {
    let (service, other) = serve(lab)?;
    let targets = Family::BOTH.map(|family| lab.target(&service, Vip::Cluster, family));
    let mut streams = Vec::new();
    for target in targets {
        streams.push((target, stream_to(lab, "far-1", target)?));
    }
    lab.put_node(OTHER, &other.clone().unschedulable())?;
    for (target, stream) in &mut streams {
        lab.await_weights(*target, &[("web-1", 1)])?;
        let quiesced = (lab.endpoint("far-1", Family::of(target.ip())), 0);
        let real_servers = lab.daemon()?.real_servers(Protocol::Tcp, *target)?;
        ensure!(real_servers.contains(&quiesced), "{quiesced:?} is not among {real_servers:?}");
        for _ in 0..4 {
            lab.expect_spread("app", Protocol::Tcp, *target, &[("web-1", 4)])?;
            ensure!(stream.ask()?.server == "far-1", "the stream changed its server");
        }
    }
    lab.put_node(OTHER, &other)?;
    for (target, stream) in &mut streams {
        lab.await_weights(*target, &[("web-1", 3), ("far-1", 1)])?;
        lab.expect_spread("app", Protocol::Tcp, *target, &[("web-1", 6), ("far-1", 2)])?;
        ensure!(stream.ask()?.server == "far-1", "the stream changed its server");
    }
    Ok(())
}

/// The first of several successive connections that reaches this pod.
fn stream_to(lab: &Lab, pod: &str, target: std::net::SocketAddr) -> Result<Conversation> {
    for _ in 0..8 {
        let mut stream = lab.host("app").converse(Protocol::Tcp, target)?;
        if stream.ask()?.server == pod {
            return Ok(stream);
        }
    }
    None.with_context(|| format!("no connection to {target} reached {pod}"))
}
