//! kube-proxy issues, reproduced as reported; the numbers are those of kubernetes/kubernetes.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Conversation, Service};
use weir_harness::lab::{Lab, Test, Vip};
use weir_harness::patience;

use crate::change::{DRAINED, await_active};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "issues::kk92019_an_endpoint_that_returns_while_the_proxy_is_away_is_used",
        kk92019_an_endpoint_that_returns_while_the_proxy_is_away_is_used,
    ),
    (
        "issues::kk108319_a_restart_in_the_midst_of_a_drain_does_not_make_it_last_for_ever",
        kk108319_a_restart_in_the_midst_of_a_drain_does_not_make_it_last_for_ever,
    ),
    (
        "issues::kk108319_what_an_earlier_process_drains_goes_after_its_last_connection",
        kk108319_what_an_earlier_process_drains_goes_after_its_last_connection,
    ),
    (
        "issues::kk81775_a_client_that_reuses_its_port_does_not_keep_an_endpoint",
        kk81775_a_client_that_reuses_its_port_does_not_keep_an_endpoint,
    ),
];

/// A connection to an endpoint that is about to be removed.
struct Held {
    family: Family,
    target: SocketAddr,
    stream: Conversation,
}

/// One connection per family to `web-1`, which was then removed and replaced by `web-2`.
fn held(lab: &mut Lab, service: &Service) -> Result<Vec<Held>> {
    lab.serve(&[service])?;
    let mut all = Vec::new();
    for family in Family::BOTH {
        let target = lab.target(service, Vip::Cluster, family);
        let mut stream = lab.host("app").converse(Protocol::Tcp, target)?;
        ensure!(stream.ask()?.server == "web-1", "not the only server");
        all.push(Held { family, target, stream });
    }
    lab.put(&lab.with_pods(service.clone(), &["web-2"]))?;
    for Held { family, target, .. } in &all {
        await_active(lab, service, Vip::Cluster, *family, &["web-2"])?;
        expect_drain(lab, *family, *target)?;
    }
    Ok(all)
}

/// `web-1` exists and gets no new connections.
fn expect_drain(lab: &Lab, family: Family, target: SocketAddr) -> Result<()> {
    let drained = (lab.endpoint("web-1", family), 0);
    let real_servers = lab.daemon()?.real_servers(Protocol::Tcp, target)?;
    ensure!(real_servers.contains(&drained), "{drained:?} is not among {real_servers:?}");
    let tally = lab.ask_often("app", Protocol::Tcp, target, 4)?;
    ensure!(tally.answers.keys().eq(["web-2"]), "new connections: {tally:?}");
    Ok(())
}

/// Both endpoints get new connections, and the held one never ended.
fn expect_both(lab: &Lab, service: &Service, held: &mut Held) -> Result<()> {
    await_active(lab, service, Vip::Cluster, held.family, &["web-1", "web-2"])?;
    let tally = lab.ask_often("app", Protocol::Tcp, held.target, 6)?;
    ensure!(tally.answers.len() == 2, "new connections: {tally:?}");
    ensure!(held.stream.ask().context("the stream")?.server == "web-1", "the stream changed its server");
    Ok(())
}

/// Only kube-proxy's process knew what was draining: after a restart the endpoint was ready but had weight 0 for
/// ever.
fn kk92019_an_endpoint_that_returns_while_the_proxy_is_away_is_used(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(80, &["web-1"]);
    let mut all = held(lab, &service)?;
    lab.kill()?;
    lab.put(&lab.with_pods(service.clone(), &["web-1", "web-2"]))?;
    lab.restart()?;
    all.iter_mut().try_for_each(|held| expect_both(lab, &service, held))
}

/// The same if it returns after the restart.
fn kk108319_a_restart_in_the_midst_of_a_drain_does_not_make_it_last_for_ever(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(78, &["web-1"]);
    let mut all = held(lab, &service)?;
    lab.restart_while_draining()?;
    for Held { family, target, stream } in &mut all {
        expect_drain(lab, *family, *target)?;
        ensure!(stream.ask().context("the stream")?.server == "web-1", "the stream changed its server");
    }
    lab.put(&lab.with_pods(service.clone(), &["web-1", "web-2"]))?;
    all.iter_mut().try_for_each(|held| expect_both(lab, &service, held))
}

/// And if it does not return: it is removed after its last connection, whichever process started to drain it.
fn kk108319_what_an_earlier_process_drains_goes_after_its_last_connection(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(81, &["web-1"]);
    let all = held(lab, &service)?;
    lab.restart_while_draining()?;
    for Held { family, target, .. } in &all {
        expect_drain(lab, *family, *target)?;
    }
    for Held { family, target, stream } in all {
        stream.abort()?;
        await_end(lab, family, target, || Ok(()))?;
    }
    Ok(())
}

/// With `conn_reuse_mode` 0, the kernel kept sending a reused client port to the draining endpoint, which therefore
/// was never removed, although its pod was gone.
fn kk81775_a_client_that_reuses_its_port_does_not_keep_an_endpoint(lab: &mut Lab) -> Result<()> {
    const PORT: u16 = 21_775;
    let service = lab.internal(79, &["web-1"]);
    lab.serve(&[&service])?;
    for family in Family::BOTH {
        let target = lab.target(&service, Vip::Cluster, family);
        let ask = |lab: &Lab| lab.host("app").request_from(PORT, Protocol::Tcp, target);
        ensure!(ask(lab)?.server == "web-1", "not the only server");
    }
    lab.put(&lab.with_pods(service.clone(), &["web-2"]))?;
    for family in Family::BOTH {
        await_active(lab, &service, Vip::Cluster, family, &["web-2"])?;
        let target = lab.target(&service, Vip::Cluster, family);
        await_end(lab, family, target, || {
            let answer = lab.host("app").request_from(PORT, Protocol::Tcp, target)?;
            ensure!(answer.server == "web-2", "{answer:?}");
            // Well within the 10 seconds for which the kernel remembers a reset connection.
            sleep(Duration::from_secs(1));
            Ok(())
        })?;
    }
    Ok(())
}

/// Waits until `web-1` is gone; the action in between must never fail.
fn await_end(
    lab: &Lab,
    family: Family,
    target: SocketAddr,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<()> {
    let removed = lab.endpoint("web-1", family);
    let mut outcome = Ok(());
    patience::until(DRAINED, || {
        if outcome.is_ok() {
            outcome = meanwhile();
        }
        let real_servers = lab.daemon()?.real_servers(Protocol::Tcp, target)?;
        let is_there = real_servers.iter().any(|(address, _)| *address == removed);
        ensure!(!is_there || outcome.is_err(), "{removed} is among {real_servers:?}");
        Ok(())
    })?;
    outcome
}
