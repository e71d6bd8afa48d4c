//! Replaces a pod while clients send requests.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Conversation, POD_PORT};
use weir_harness::patience::{self, GENEROUS};

use crate::page;
use crate::requests::expect_even;
use crate::stage::{CLUSTER_IP, LOAD_BALANCER, Stage, WEB, vip};

const OLD: &str = "10.244.0.11]  # web-2";
const NEW: &str = "10.244.0.13]  # web-4";

/// Duration of the requests before and after the edit.
const AROUND: Duration = Duration::from_millis(1500);

/// Edits the manifest and checks that clients notice nothing.
pub(crate) fn replace_a_pod(stage: &Stage<'_>) -> Result<()> {
    let shopper = &stage.cluster.pod("shopper").host;
    let mut stream = stream_to(stage, "web-2")?;
    page::say("shopper has an open connection to web-2; shopper and outside send requests all the time.");
    let loads = [
        ("shopper → cluster IP", shopper.load(Protocol::Tcp, vip(CLUSTER_IP)?)),
        ("outside → load balancer's IP", stage.cluster.outside().load(Protocol::Tcp, vip(LOAD_BALANCER)?)),
    ];
    thread::sleep(AROUND);
    edit(stage)?;
    thread::sleep(AROUND);
    for (title, load) in loads {
        let tally = load.stop();
        page::chart(&format!("{title}: {} answers, no failures", tally.answered()), &tally);
        ensure!(tally.failures.is_empty(), "requests failed: {:?}", tally.failures);
    }
    let answer = stream.ask().context("the open connection broke")?;
    ensure!(answer.server == "web-2", "the open connection moved to {}", answer.server);
    page::say(
        "The open connection still reaches web-2. The kernel keeps web-2 with weight 0: no new connections.",
    );
    show_servers(stage)?;
    let tally = shopper.requests(30, Protocol::Tcp, vip(CLUSTER_IP)?);
    page::chart("New requests:", &tally);
    expect_even(&tally, 30, 3)?;
    ensure!(!tally.answers.contains_key("web-2"), "web-2 still gets new connections");
    page::say("weir removes web-2 once its last connection has closed.");
    Ok(())
}

/// Opens connections until one reaches the wanted server.
fn stream_to(stage: &Stage<'_>, server: &str) -> Result<Conversation> {
    for _ in 0..10 {
        let mut stream = stage.cluster.pod("shopper").host.converse(Protocol::Tcp, vip(CLUSTER_IP)?)?;
        if stream.ask()?.server == server {
            return Ok(stream);
        }
    }
    anyhow::bail!("none of ten connections reached {server}")
}

/// Writes the new manifest and waits until the kernel has followed.
fn edit(stage: &Stage<'_>) -> Result<()> {
    let manifests = stage.daemon.manifests();
    let text =
        fs::read_to_string(manifests.path().join(WEB)).context("cannot read the copy of the manifest")?;
    ensure!(text.contains(OLD), "{WEB} has no line with `{OLD}`");
    page::quote([format!("-  - addresses: [{OLD}").as_str(), format!("+  - addresses: [{NEW}").as_str()]);
    let start = Instant::now();
    manifests.put(WEB, text.replace(OLD, NEW))?;
    let new = std::net::SocketAddr::new(stage.cluster.pod("web-4").host.address(Family::V4), POD_PORT);
    patience::until(GENEROUS, || {
        let real_servers = stage.daemon.real_servers(Protocol::Tcp, vip(CLUSTER_IP)?)?;
        ensure!(
            real_servers.contains(&(new.to_string(), 1)),
            "web-4 is not among the real servers: {real_servers:?}"
        );
        Ok(())
    })?;
    page::say(&format!("web-4 is in the kernel {} ms after the edit.", start.elapsed().as_millis()));
    Ok(())
}

fn show_servers(stage: &Stage<'_>) -> Result<()> {
    let text = stage.cluster.node().namespace().output("ipvsadm", &["-Ln", "-t", CLUSTER_IP])?;
    page::quote(text.lines());
    let old = std::net::SocketAddr::new(stage.cluster.pod("web-2").host.address(Family::V4), POD_PORT);
    let real_servers = stage.daemon.real_servers(Protocol::Tcp, vip(CLUSTER_IP)?)?;
    ensure!(real_servers.contains(&(old.to_string(), 0)), "web-2 does not have weight 0: {real_servers:?}");
    Ok(())
}
