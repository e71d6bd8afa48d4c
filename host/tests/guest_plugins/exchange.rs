//! Plugins that are exchanged under load.

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::Place;
use weir_harness::lab::{Lab, Test, Vip};
use weir_harness::policy::Plugin;

pub(crate) const TESTS: &[(&str, Test)] =
    &[("exchange::of_a_plugin_file_drops_no_connection", of_a_plugin_file_drops_no_connection)];

const NAME: &str = "plugin";
const KEEPS_EVERYTHING: &str = "weir-guest-identity";
const READS_ANNOTATIONS: &str = "weir-plugin-annotations";

fn of_a_plugin_file_drops_no_connection(lab: &mut Lab) -> Result<()> {
    let service = lab
        .exposed(70, &[])
        .with_group("stable", [lab.cluster.endpoint("web-1")])
        .with_group("canary", [lab.cluster.endpoint("web-2")])
        .with_annotation("policy.weir/weights", "stable=3, canary=1");
    let plugin = Plugin::new(NAME, KEEPS_EVERYTHING, Value::Null);
    lab.serve_by(&[plugin], &[lab.node(Place::Local)], &[&service])?;
    let [inside, outside] = [(Vip::Cluster, Family::V4), (Vip::LoadBalancer, Family::V6)]
        .map(|(vip, family)| lab.target(&service, vip, family));
    let mut streams = Vec::new();
    for (client, target) in [("app", inside), ("outside", outside)] {
        for _ in 0..2 {
            let mut stream = lab.host(client).converse(Protocol::Tcp, target)?;
            streams.push((stream.ask()?, stream));
        }
    }
    let loads = [
        lab.host("app").load(Protocol::Tcp, inside),
        lab.host("outside").load(Protocol::Tcp, outside),
        lab.host("app").load(Protocol::Udp, inside),
    ];
    let steps: [(&'static str, &[(&str, u32)]); 3] = [
        (READS_ANNOTATIONS, &[("web-1", 3), ("web-2", 1)]),
        (KEEPS_EVERYTHING, &[("web-1", 1), ("web-2", 1)]),
        (READS_ANNOTATIONS, &[("web-1", 3), ("web-2", 1)]),
    ];
    for (package, weights) in steps {
        lab.exchange(NAME, package)?;
        for target in [inside, outside] {
            lab.await_weights(target, weights)?;
        }
        for (before, stream) in &mut streams {
            let now = stream.ask()?;
            ensure!(now == *before, "{now:?}, not {before:?}");
        }
    }
    for load in loads {
        let tally = load.stop();
        ensure!(tally.failures.is_empty() && tally.answers.len() == 2, "{tally:?}");
    }
    for target in [inside, outside] {
        lab.expect_spread("app", Protocol::Tcp, target, &[("web-1", 6), ("web-2", 2)])?;
    }
    Ok(())
}
