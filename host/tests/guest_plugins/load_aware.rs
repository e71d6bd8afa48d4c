//! Slow endpoints get fewer connections, based on the real kernel's counters.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Conversation, Place};
use weir_harness::lab::{Lab, Test, Vip};
use weir_harness::patience::GENEROUS;
use weir_harness::policy::Plugin;

pub(crate) const TESTS: &[(&str, Test)] =
    &[("load_aware::a_slow_endpoint_gets_less_and_gets_it_back", a_slow_endpoint_gets_less)];

/// How long a connection to the slow endpoint stays open. Those to the other one end at once.
const SLOW: Duration = Duration::from_secs(2);

/// The pause between two connections.
const PAUSE: Duration = Duration::from_millis(100);

/// The kernel updates its counters every two seconds, and the emulated clock is slow: both have to pass several
/// times.
const PATIENCE: Duration = Duration::from_secs(2 * GENEROUS.as_secs());

fn a_slow_endpoint_gets_less(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(70, &["web-1", "web-2"]);
    let configuration = json!({
        "period": "1s", "memory": "5s", "min-connections": 10, "prior-connections": 1, "dead-band-percent": 0,
    });
    let plugin = Plugin::new("load-aware", "weir-plugin-load-aware", configuration);
    lab.serve_by(&[plugin], &[lab.node(Place::Local)], &[&service])?;
    let target = lab.target(&service, Vip::Cluster, Family::V4);
    connect_until(lab, target, Some("web-1"), |(slow, other)| 2 * slow <= other)?;
    expect_told(lab, &format!("default/{}", service.name()), &lab.endpoint("web-1", Family::V4))?;
    connect_until(lab, target, None, |(one, other)| 10 * one.abs_diff(other) <= 2 * one.max(other))
}

/// The counts are in the metrics, and in the output for a user who reads the same kernel.
fn expect_told(lab: &Lab, service: &str, slow: &str) -> Result<()> {
    let daemon = lab.daemon()?;
    for metric in ["weighted_ports", "slowest_percent", "moved_weights_total"] {
        let series = format!(r#"weir_policy_{metric}{{plugin="load-aware"}}"#);
        let value = daemon.metric(&series)?;
        ensure!(value.is_some_and(|value| value >= 1.0), "{series} is {value:?}");
    }
    let told = daemon.ask("explain", &[service, "--sample", "3s"])?;
    let line = told.lines().find(|line| line.contains(&format!(": {slow} has ")));
    ensure!(line.is_some_and(|line| line.contains(" in the kernel, ")), "{slow} is not explained:\n{told}");
    Ok(())
}

/// Connects repeatedly until the weights of both endpoints are as wanted. No connection may fail.
fn connect_until(
    lab: &Lab,
    target: SocketAddr,
    slow: Option<&str>,
    wanted: impl Fn((u32, u32)) -> bool,
) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut held: Vec<(Instant, Conversation)> = Vec::new();
    let mut seen = Vec::new();
    while Instant::now() < end {
        held.retain(|(since, _)| since.elapsed() < SLOW);
        let mut conversation = lab.host("app").converse(Protocol::Tcp, target)?;
        let answer = conversation.ask()?;
        if slow == Some(answer.server.as_str()) {
            held.push((Instant::now(), conversation));
        }
        let now = weights(lab, target)?;
        if wanted(now) {
            return Ok(());
        }
        seen.extend((seen.last() != Some(&now)).then_some(now));
        sleep(PAUSE);
    }
    bail!("with {slow:?} slow, weights were {seen:?}")
}

fn weights(lab: &Lab, target: SocketAddr) -> Result<(u32, u32)> {
    let real_servers = lab.daemon()?.real_servers(Protocol::Tcp, target)?;
    let weight = |pod: &str| {
        let endpoint = lab.endpoint(pod, Family::of(target.ip()));
        let found = real_servers.iter().find(|(address, _)| *address == endpoint);
        found.map(|(_, weight)| *weight).with_context(|| format!("{endpoint} is not behind {target}"))
    };
    Ok((weight("web-1")?, weight("web-2")?))
}
