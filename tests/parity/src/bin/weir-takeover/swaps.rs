//! kube-proxy to weir, weir to weir, weir to kube-proxy, under load.

use anyhow::{Result, ensure};
use weir_harness::witness::Dump;

use crate::Report;
use crate::node::{Node, config};
use crate::traffic::Traffic;

pub(crate) fn run(node: &mut Node<'_>, report: &mut Report) -> Result<()> {
    node.start_kube_proxy(&config())?;
    let left = node.dump()?;
    let mut traffic = Traffic::start(&node.cluster);
    let quiet = traffic.window()?.expect_no_loss();
    report.step("traffic_before_any_swap", quiet);

    node.kill();
    node.start_weir(&config())?;
    report.step("weir_on_what_kube_proxy_left", unchanged(node, &left));
    report.step("traffic_from_kube_proxy_to_weir", traffic.window()?.expect_no_loss());

    node.terminate()?;
    node.start_weir(&config())?;
    report.step("weir_restarted", unchanged(node, &left));
    report.step("traffic_while_weir_restarts", traffic.window()?.expect_no_loss());

    node.kill();
    node.start_weir(&config())?;
    report.step("weir_killed_and_started", unchanged(node, &left));
    report.step("traffic_while_weir_is_killed", traffic.window()?.expect_no_loss());

    node.terminate()?;
    report.step("traffic_without_either", traffic.window()?.expect_no_loss());
    node.start_kube_proxy(&config())?;
    let same = node.settle(&left).map(|()| "the kernel is as it was, line by line".to_owned());
    report.step("kube_proxy_on_what_weir_left", same);
    report.step("traffic_from_weir_to_kube_proxy", traffic.window()?.expect_no_loss());

    let ended = traffic.stop().map(|answered| format!("{answered} requests, each stream at one server"));
    report.step("streams_kept_their_servers", ended);
    Ok(())
}

/// Nothing was changed, says weir, and so do the kernel's other readers.
fn unchanged(node: &mut Node<'_>, left: &Dump) -> Result<String> {
    node.settle(left)?;
    let changes = node.changes()?;
    ensure!(changes.is_empty(), "{} changes: {changes:#?}", changes.len());
    Ok("0 changes, the kernel is as it was, line by line".to_owned())
}
