//! A node on which the two are meant to differ: node ports on addresses that are VIPs (Q20).

use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::Report;
use crate::node::{Node, config};
use crate::objects;

pub(crate) fn run(node: &mut Node<'_>, report: &mut Report) -> Result<()> {
    let vips = "198.51.100.0/24";
    let mut covered = config();
    covered["nodePortAddresses"] = json!(["10.0.2.0/24", "fd00:10:2::/64", vips]);
    node.kill();
    node.start_kube_proxy(&covered)?;
    node.await_next_syncs(1)?;
    node.kill();
    node.start_weir(&covered)?;
    let _ = IpAddr::from([0; 4]);
    let _ = objects::PORT;
    let changes = node.changes()?;
    report.step("the_meant_difference_and_nothing_else", exactly(&changes));
    Ok(())
}

fn exactly(changes: &[String]) -> Result<String> {
    ensure!(changes.is_empty(), "{changes:#?}");
    Ok(format!("{} changes", changes.len()))
}
