//! New endpoints get their share gradually.

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
    &[("slow_start::a_new_endpoint_gets_its_share_little_by_little_and_no_one_is_refused", little_by_little)];

/// The connections among which the new endpoint's are counted.
const REQUESTS: usize = 20;

/// How often weights are checked: more often than they change, which is ten times in the window.
const PAUSE: Duration = Duration::from_millis(300);

/// Weights of the old and the new endpoint.
type Weights = (u32, u32);

fn little_by_little(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(60, &["web-1"]);
    let configuration = json!({"window": "20s", "min-percent": 10});
    let plugin = Plugin::new("slow-start", "weir-plugin-slow-start", configuration);
    lab.serve_by(&[plugin], &[lab.node(Place::Local)], &[&service])?;
    let [v4, v6] = Family::BOTH.map(|family| lab.target(&service, Vip::Cluster, family));
    // Over UDP, which has separate virtual servers, so that the TCP counts stay exact.
    let loads = [v4, v6].map(|target| lab.host("app").load_with_pauses(PAUSE / 10, Protocol::Udp, target));
    lab.put(&lab.with_pods(service, &["web-1", "web-2"]))?;
    let first = await_new(lab, v4)?;
    ensure!(share(first) < 0.5, "the new endpoint starts with {first:?}");
    for target in [v4, v6] {
        let before = await_new(lab, target)?;
        let tally = lab.ask_often("app", Protocol::Tcp, target, REQUESTS)?;
        let after = await_new(lab, target)?;
        // Requests take time too.
        let wanted = expected(before) - 2.0..=expected(after) + 2.0;
        let new = tally.answers.get("web-2").copied().unwrap_or_default();
        ensure!(wanted.contains(&(new as f64)), "{target}, from {before:?} to {after:?}: {tally:?}");
    }
    let mut seen = vec![first];
    let end = Instant::now() + GENEROUS;
    while seen.last().is_some_and(|(old, new)| old != new) {
        ensure!(Instant::now() < end, "the new endpoint never gets its share: {seen:?}");
        sleep(PAUSE);
        let now = await_new(lab, v4)?;
        seen.extend((seen.last() != Some(&now)).then_some(now));
    }
    let grows = seen.windows(2).all(|pair| share(pair[0]) < share(pair[1]));
    ensure!(grows && seen.len() >= 4, "the share does not grow gradually: {seen:?}");
    for load in loads {
        let tally = load.stop();
        ensure!(tally.failures.is_empty() && tally.answers.len() == 2, "{tally:?}");
    }
    for target in [v4, v6] {
        lab.await_weights(target, &[("web-1", 1), ("web-2", 1)])?;
        lab.expect_spread("app", Protocol::Tcp, target, &[("web-1", REQUESTS / 2), ("web-2", REQUESTS / 2)])?;
    }
    Ok(())
}

fn share((old, new): Weights) -> f64 {
    f64::from(new) / f64::from(old)
}

/// The expected number of [`REQUESTS`] that reach the new endpoint.
fn expected(weights: Weights) -> f64 {
    let share = share(weights);
    REQUESTS as f64 * share / (1.0 + share)
}

fn weights(lab: &Lab, target: SocketAddr) -> Result<Option<Weights>> {
    let real_servers = lab.daemon()?.real_servers(Protocol::Tcp, target)?;
    let weight = |pod: &str| {
        let endpoint = lab.endpoint(pod, Family::of(target.ip()));
        real_servers.iter().find(|(address, _)| *address == endpoint).map(|(_, weight)| *weight)
    };
    Ok(weight("web-1").zip(weight("web-2")))
}

/// The first weights that include the new endpoint.
fn await_new(lab: &Lab, target: SocketAddr) -> Result<Weights> {
    weir_harness::patience::until(GENEROUS, || weights(lab, target)?.context("the new endpoint is missing"))
}
