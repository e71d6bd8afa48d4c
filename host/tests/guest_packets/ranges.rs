//! Source ranges of load balancers.

use anyhow::Result;
use serde_json::json;

use weir_harness::lab::{Lab, Test, Vip, paths};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("ranges::admit_one_outside_client_and_no_one_else", admit_one_outside_client_and_no_one_else),
    ("ranges::refuse_an_outside_client", refuse_an_outside_client),
    ("ranges::around_the_node_admit_the_node", around_the_node_admit_the_node),
    ("ranges::leave_other_vips_open", leave_other_vips_open),
    ("ranges::can_be_lifted", can_be_lifted),
];

const OUTSIDE: [&str; 2] = ["10.0.2.100/32", "fd00:10:2::100/128"];
const PODS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];
const NODES: [&str; 2] = ["10.0.2.0/24", "fd00:10:2::/64"];

/// Checks which clients are let in at the load balancer's IP. Packets of others are dropped.
fn expect(lab: &mut Lab, ranges: &[&str], admitted: &[&str], refused: &[&str]) -> Result<()> {
    let service = lab.exposed(50, &["web-1", "far-1"]).with("loadBalancerSourceRanges", json!(ranges));
    lab.serve(&[&service])?;
    let mut silent = Vec::new();
    for (family, protocol) in paths() {
        let target = lab.target(&service, Vip::LoadBalancer, family);
        for client in admitted {
            lab.ask_often(client, protocol, target, 2)?;
        }
        silent.extend(refused.iter().map(|&client| (client, protocol, target)));
    }
    lab.expect_silence(&silent)
}

fn admit_one_outside_client_and_no_one_else(lab: &mut Lab) -> Result<()> {
    expect(lab, &OUTSIDE, &["outside"], &["app", "far-app", "node"])
}

fn refuse_an_outside_client(lab: &mut Lab) -> Result<()> {
    expect(lab, &PODS, &["app", "far-app"], &["outside", "node"])
}

fn around_the_node_admit_the_node(lab: &mut Lab) -> Result<()> {
    expect(lab, &NODES, &["outside", "node"], &["app", "far-app"])
}

fn leave_other_vips_open(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(51, &["web-1"]).with("loadBalancerSourceRanges", json!(PODS));
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        for vip in [Vip::Cluster, Vip::External, Vip::NodePort] {
            lab.ask("outside", protocol, lab.target(&service, vip, family))?;
        }
    }
    Ok(())
}

fn can_be_lifted(lab: &mut Lab) -> Result<()> {
    expect(lab, &PODS, &[], &["outside", "node"])?;
    expect(lab, &[], &["app", "far-app", "outside", "node"], &[])
}
