//! New endpoints get their share little by little.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::Place;
use weir_harness::lab::{Lab, Test, Vip};
use weir_harness::patience::GENEROUS;
use weir_harness::policy::Plugin;

pub(crate) const TESTS: &[(&str, Test)] =
    &[("slow_start::a_new_endpoint_gets_its_share_little_by_little", little_by_little)];

/// How often weights are looked at: more often than the ten times in ten seconds that they change.
const PAUSE: Duration = Duration::from_millis(300);

/// Weights of the old and the new endpoint.
type Weights = (u32, u32);

fn little_by_little(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(60, &["web-1"]);
    let configuration = json!({"window": "10s", "min-percent": 10});
    let plugin = Plugin::new("slow-start", "weir-plugin-slow-start", configuration);
    lab.serve_by(&[plugin], &[lab.node(Place::Local)], &[&service])?;
    let [v4, v6] = Family::BOTH.map(|family| lab.target(&service, Vip::Cluster, family));
    lab.put(&lab.with_pods(service, &["web-1", "web-2"]))?;
    let first = await_new(lab, v4)?;
    for target in [v4, v6] {
        // A tenth, or somewhat more if this machine is slow; it would be ten of twenty.
        let tally = lab.ask_often("app", Protocol::Tcp, target, 20)?;
        let new = tally.answers.get("web-2").copied().unwrap_or_default();
        ensure!(new <= 6, "{target}, whose weights were {first:?}: {tally:?}");
    }
    let mut seen = vec![first];
    let end = Instant::now() + GENEROUS;
    while seen.last().is_some_and(|(old, new)| old != new) {
        ensure!(Instant::now() < end, "the new endpoint never gets its share: {seen:?}");
        sleep(PAUSE);
        let now = weights(lab, v4)?.context("the new endpoint is gone")?;
        seen.extend((seen.last() != Some(&now)).then_some(now));
    }
    let grows = seen.windows(2).all(|pair| share(pair[0]) < share(pair[1]));
    ensure!(grows && seen.len() >= 5, "the share does not grow little by little: {seen:?}");
    for target in [v4, v6] {
        lab.await_weights(target, &[("web-1", 1), ("web-2", 1)])?;
        lab.expect_spread("app", Protocol::Tcp, target, &[("web-1", 10), ("web-2", 10)])?;
    }
    Ok(())
}

fn share((old, new): Weights) -> f64 {
    f64::from(new) / f64::from(old)
}

fn weights(lab: &Lab, target: SocketAddr) -> Result<Option<Weights>> {
    let real_servers = lab.daemon()?.real_servers(Protocol::Tcp, target)?;
    let weight = |pod: &str| {
        let endpoint = lab.endpoint(pod, Family::of(target.ip()));
        real_servers.iter().find(|(address, _)| *address == endpoint).map(|(_, weight)| *weight)
    };
    Ok(weight("web-1").zip(weight("web-2")))
}

/// The first weights with the new endpoint.
fn await_new(lab: &Lab, target: SocketAddr) -> Result<Weights> {
    weir_harness::patience::until(GENEROUS, || weights(lab, target)?.context("the new endpoint is not there"))
}
