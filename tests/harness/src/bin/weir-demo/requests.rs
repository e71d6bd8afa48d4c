//! Requests to every kind of VIP.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use weir_core::net::Protocol;
use weir_harness::cluster::{Host, Tally};

use crate::page;
use crate::stage::{CLUSTER_IP, LOAD_BALANCER, NODE_PORT, SESSIONS, Stage, vip};

const REQUESTS: usize = 30;

/// Shows the spread and the source addresses of requests from inside and outside.
pub(crate) fn through_all_vips(stage: &Stage<'_>) -> Result<()> {
    let shopper = &stage.cluster.pod("shopper").host;
    let outside = stage.cluster.outside();
    let cases = [
        (shopper, Protocol::Tcp, CLUSTER_IP, "cluster IP", 3),
        (outside, Protocol::Tcp, NODE_PORT, "node port", 3),
        (outside, Protocol::Tcp, LOAD_BALANCER, "load balancer's IP", 3),
        (shopper, Protocol::Udp, SESSIONS, "cluster IP with session affinity", 1),
    ];
    for (client, protocol, target, kind, servers) in cases {
        let tally = client.requests(REQUESTS, protocol, vip(target)?);
        show(client, protocol, vip(target)?, kind, &tally);
        expect_even(&tally, REQUESTS, servers)?;
    }
    page::say(
        "The servers see a pod's own address, but the node's address for a client from outside: the answers must",
    );
    page::say(
        "return through the node (Services with externalTrafficPolicy: Local keep the client's address).",
    );
    Ok(())
}

fn show(client: &Host, protocol: Protocol, target: SocketAddr, kind: &str, tally: &Tally) {
    let sources: Vec<String> = tally.sources.iter().map(ToString::to_string).collect();
    let title = format!("{} → {protocol} {target} ({kind}), seen as {}:", client.name(), sources.join(", "));
    page::chart(&title, tally);
}

/// Checks that all requests were answered and that every server got the same share.
pub(crate) fn expect_even(tally: &Tally, requests: usize, servers: usize) -> Result<()> {
    ensure!(tally.failures.is_empty(), "requests failed: {:?}", tally.failures);
    let share = requests / servers;
    let even = tally.answers.values().all(|count| count.abs_diff(share) <= 1);
    ensure!(tally.answers.len() == servers && even, "uneven spread: {:?}", tally.answers);
    Ok(())
}
