//! A load balancer that publishes node addresses, such as that of k3s.

use anyhow::{Result, ensure};
use serde_json::json;
use weir_api_server::{Collection, Kind};
use weir_harness::patience::{self, GENEROUS};
use weir_harness::scenario;
use weir_harness::witness::Dump;

use crate::api_server::Cluster;

/// The addresses of another node, of no node, and of this node.
const NODE2: &str = "10.0.2.77";
const FREE: &str = "10.0.2.88";
const OWN: &str = "10.0.2.15";

/// Nodes are listed only while a VIP may be a node's address, and such an address is never bound.
pub(crate) fn other_nodes_stay_reachable() -> Result<()> {
    let cluster = Cluster::named("clusterip-tcp")?;
    cluster.become_of(&scenario::named("clusterip-tcp")?.steps().remove(0).objects()?)?;
    cluster.server.put(json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node2"},
        "status": {"addresses": [{"type": "InternalIP", "address": NODE2}]},
    }));
    let mut running = cluster.run()?;
    cluster.stage.settle(&running, &cluster.stage.recorded()?)?;
    let lists_of_nodes = || {
        let all = cluster.server.asked().into_iter().filter(|asked| {
            let listed =
                asked.is(Kind::List, Collection::Nodes) || asked.is(Kind::StreamedList, Collection::Nodes);
            listed && asked.parameter("fieldSelector").is_empty()
        });
        all.count()
    };
    ensure!(lists_of_nodes() == 0, "nodes are listed although no Service could have their address");
    let bound = || -> Result<String> { Ok(Dump::of(&cluster.stage.netns)?.section("addresses").join("\n")) };
    let await_bound = |wanted: &[&str], unwanted: &[&str]| {
        patience::until(GENEROUS, || {
            let bound = bound()?;
            let has = |ip: &&str| bound.contains(&format!("{ip}/32"));
            ensure!(wanted.iter().all(has) && !unwanted.iter().any(has), "{bound}");
            Ok(())
        })
    };
    let traefik = |ips: &[&str]| {
        let ingress: Vec<_> = ips.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "traefik", "namespace": "kube-system"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.7.10", "clusterIPs": ["10.96.7.10"],
                     "ports": [{"name": "web", "port": 80, "nodePort": 31080}]},
            "status": {"loadBalancer": {"ingress": ingress}},
        })
    };
    cluster.server.put(traefik(&[OWN, NODE2, FREE]));
    await_bound(&[FREE, "10.96.7.10"], &[NODE2, OWN]).map_err(|error| running.blame(&error))?;
    let line = running.await_line("about the other node", |line| line.field("reason") == "NodeAddress")?;
    ensure!(line.text().contains(&format!("{NODE2} (node node2)")), "{}", line.text());
    ensure!(lists_of_nodes() == 1, "the nodes were listed once");
    // It is not repeated after a change.
    cluster.server.put(traefik(&[OWN, NODE2]));
    await_bound(&["10.96.7.10"], &[NODE2, OWN, FREE])?;
    let said = running.log()?.iter().filter(|line| line.field("reason") == "NodeAddress").count();
    ensure!(said == 1, "said {said} times");
    // An address that no node has any more is bound.
    cluster.server.delete(Collection::Nodes, "", "node2");
    await_bound(&[NODE2], &[OWN]).map_err(|error| running.blame(&error))?;
    running.expect_health()
}
