//! The cluster itself, without any service: failures here are not caused by weir.

use anyhow::{Result, ensure};
use weir_core::net::Family;
use weir_harness::cluster::{Host, POD_PORT, PROTOCOLS};

use weir_harness::lab::{Lab, Test, at};

pub(crate) const TESTS: &[(&str, Test)] =
    &[("network::everything_reaches_every_pod_without_translation", without_translation)];

fn without_translation(lab: &mut Lab) -> Result<()> {
    let pods: Vec<&Host> = lab.cluster.pods().iter().map(|pod| &pod.host).collect();
    let clients = pods.iter().copied().chain([lab.cluster.node(), lab.cluster.outside()]);
    for client in clients {
        for server in &pods {
            for (family, protocol) in Family::BOTH.into_iter().flat_map(|f| PROTOCOLS.map(|p| (f, p))) {
                let what = || format!("{} to {} by {protocol} over {family}", client.name(), server.name());
                let answer = client.request(protocol, at(server.address(family), POD_PORT));
                let answer = answer.map_err(|failure| anyhow::anyhow!("{}: {failure}", what()))?;
                ensure!(answer.server == server.name(), "{}: {answer:?}", what());
                // A node also has an address in its pods' network, and uses the nearest one.
                let own = client.address(family) == answer.source.ip() || client.name() == "node1";
                ensure!(own, "{}: seen from {}", what(), answer.source);
            }
        }
    }
    Ok(())
}
