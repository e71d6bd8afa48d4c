//! Plugins that are replaced under load.
//!
//! Between two schedulers the kernel has none: while it waits for its other CPUs (`ip_vs_edit_service` in
//! `ip_vs_ctl.c`), it refuses new connections. So new connections are tested with a plugin that changes weights, and
//! open connections with one that changes the scheduler.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Answer, Conversation, Place};
use weir_harness::lab::{Lab, Test, Vip};
use weir_harness::policy::Plugin;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("exchange::of_a_plugin_file_drops_no_connection_and_refuses_none", drops_and_refuses_no_connection),
    ("exchange::that_changes_the_scheduler_drops_no_connection", drops_no_connection),
];

const NAME: &str = "plugin";
const KEEPS_EVERYTHING: &str = "weir-guest-identity";
const READS_ANNOTATIONS: &str = "weir-plugin-annotations";

/// Between two requests of one client, so that nearly all of the emulated CPU is available to weir.
const PAUSE: Duration = Duration::from_millis(20);

/// A plugin that changes nothing, in a weir with this scheduler, and a service with annotations that no plugin reads
/// yet. Targets in both families.
fn serve(lab: &mut Lab, number: u8, scheduler: &str) -> Result<[(&'static str, SocketAddr); 2]> {
    let service = lab
        .exposed(number, &[])
        .with_group("stable", [lab.cluster.endpoint("web-1")])
        .with_group("canary", [lab.cluster.endpoint("web-2")])
        .with_annotation("policy.weir/weights", "stable=3, canary=1");
    let plugin = Plugin::new(NAME, KEEPS_EVERYTHING, Value::Null);
    let nodes = [lab.node(Place::Local)];
    lab.serve_by_with(&["--ipvs-scheduler", scheduler], &[plugin], &nodes, &[&service])?;
    Ok([
        ("app", lab.target(&service, Vip::Cluster, Family::V4)),
        ("outside", lab.target(&service, Vip::LoadBalancer, Family::V6)),
    ])
}

/// Replaces the file back and forth and back again, and checks open connections each time.
fn exchange(lab: &mut Lab, targets: [(&str, SocketAddr); 2]) -> Result<()> {
    let mut streams = Vec::new();
    for (client, target) in targets {
        for _ in 0..2 {
            let mut stream = lab.host(client).converse(Protocol::Tcp, target)?;
            streams.push((stream.ask()?, stream));
        }
    }
    for (package, stable) in [(READS_ANNOTATIONS, 3), (KEEPS_EVERYTHING, 1), (READS_ANNOTATIONS, 3)] {
        lab.exchange(NAME, package)?;
        for (_, target) in targets {
            lab.await_weights(target, &[("web-1", stable), ("web-2", 1)])?;
        }
        expect_as_before(&mut streams)?;
    }
    Ok(())
}

/// The last plugin's decision. The spread is exact only without other connections in between.
fn expect_spread(lab: &Lab, targets: [(&str, SocketAddr); 2]) -> Result<()> {
    let spread = [("web-1", 6), ("web-2", 2)];
    targets
        .into_iter()
        .try_for_each(|(client, target)| lab.expect_spread(client, Protocol::Tcp, target, &spread))
}

fn expect_as_before(streams: &mut [(Answer, Conversation)]) -> Result<()> {
    for (before, stream) in streams {
        let now = stream.ask()?;
        ensure!(now == *before, "{now:?}, not {before:?}");
    }
    Ok(())
}

fn drops_and_refuses_no_connection(lab: &mut Lab) -> Result<()> {
    let targets = serve(lab, 70, "wrr")?;
    let [inside, outside] = targets;
    let loads = [(inside, Protocol::Tcp), (inside, Protocol::Udp), (outside, Protocol::Tcp)]
        .map(|((client, target), protocol)| lab.host(client).load_with_pauses(PAUSE, protocol, target));
    let exchanged = exchange(lab, targets);
    for load in loads {
        let tally = load.stop();
        ensure!(tally.failures.is_empty() && tally.answered() > 100, "{tally:?}");
    }
    exchanged?;
    expect_spread(lab, targets)
}

fn drops_no_connection(lab: &mut Lab) -> Result<()> {
    let targets = serve(lab, 71, "rr")?;
    exchange(lab, targets)?;
    expect_spread(lab, targets)
}
