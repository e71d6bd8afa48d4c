//! Which source address servers see, by kind of VIP.

use anyhow::{Result, ensure};
use serde_json::json;
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Place, Service};
use weir_harness::lab::{Lab, Test, Vip, paths};
use weir_harness::policy::Plugin;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("masquerade_by_vip::always_hides_everyone_but_excepted_sources", always_hides_everyone),
    ("masquerade_by_vip::never_keeps_everyone", never_keeps_everyone),
    ("masquerade_by_vip::remote_endpoints_hides_who_comes_to_another_node", remote_endpoints),
    ("masquerade_by_vip::off_cluster_hides_who_is_no_pod", off_cluster_hides_who_is_no_pod),
    ("masquerade_by_vip::an_address_is_what_servers_see", an_address_is_what_servers_see),
];

/// An address of the node other than those that masquerading would choose.
const GIVEN: &str = "10.0.2.77";

/// A different treatment for each kind of VIP, and two services: one with endpoints here, and one with an endpoint on
/// each node.
fn serve(lab: &mut Lab) -> Result<[Service; 2]> {
    let services = [lab.exposed(40, &["web-1", "web-2"]), lab.exposed(41, &["web-1", "far-1"])];
    let excepted = [Family::V4, Family::V6].map(|family| {
        let length = if family == Family::V4 { 32 } else { 128 };
        format!("{}/{length}", lab.host("far-app").address(family))
    });
    let configuration = json!({
        "except-sources": excepted,
        "rules": [
            {"kinds": ["cluster"], "treatment": "always"},
            {"kinds": ["load-balancer"], "treatment": "never"},
            {"kinds": ["node-port"], "treatment": "remote-endpoints"},
            {"kinds": ["external"], "treatment": "address", "source": GIVEN},
        ],
    });
    let plugin = Plugin::new("masquerade-by-vip", "weir-plugin-masquerade-by-vip", configuration);
    let node = lab.cluster.node().namespace();
    node.ip(&format!("addr replace {GIVEN}/32 dev eth0\n"))?;
    lab.serve_by(&[plugin], &[lab.node(Place::Local)], &[&services[0], &services[1]])?;
    Ok(services)
}

fn always_hides_everyone(lab: &mut Lab) -> Result<()> {
    let [service, _] = serve(lab)?;
    for (family, protocol) in paths() {
        let target = lab.target(&service, Vip::Cluster, family);
        lab.expect_masqueraded("app", protocol, target)?;
        lab.expect_masqueraded("outside", protocol, target)?;
        lab.expect_kept("far-app", protocol, target)?;
    }
    Ok(())
}

/// Without the policy, all clients of a load balancer's VIP would be masqueraded.
fn off_cluster_hides_who_is_no_pod(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(42, &["web-1", "web-2"]);
    let configuration = json!({"rules": [{"kinds": ["load-balancer"], "treatment": "off-cluster"}]});
    let plugin = Plugin::new("masquerade-by-vip", "weir-plugin-masquerade-by-vip", configuration);
    let flags = ["--cluster-cidr", "10.244.0.0/16,fd00:10:244::/48"];
    lab.serve_by_with(&flags, &[plugin], &[lab.node(Place::Local)], &[&service])?;
    for (family, protocol) in paths() {
        let target = lab.target(&service, Vip::LoadBalancer, family);
        lab.expect_kept("app", protocol, target)?;
        lab.expect_kept("far-app", protocol, target)?;
        lab.expect_masqueraded("outside", protocol, target)?;
        let node_port = lab.target(&service, Vip::NodePort, family);
        lab.expect_masqueraded("app", protocol, node_port)?;
    }
    Ok(())
}

fn never_keeps_everyone(lab: &mut Lab) -> Result<()> {
    let [service, _] = serve(lab)?;
    for (family, protocol) in paths() {
        for client in ["app", "far-app", "outside"] {
            lab.expect_kept(client, protocol, lab.target(&service, Vip::LoadBalancer, family))?;
        }
    }
    Ok(())
}

fn remote_endpoints(lab: &mut Lab) -> Result<()> {
    let [_, service] = serve(lab)?;
    for (family, protocol) in paths() {
        let target = lab.target(&service, Vip::NodePort, family);
        let (own, node) = (lab.host("outside").address(family), lab.cluster.node().address(family));
        for _ in 0..2 {
            for _ in 0..2 {
                let answer = lab.ask("outside", protocol, target)?;
                let wanted = if answer.server == "far-1" { node } else { own };
                ensure!(answer.source.ip() == wanted, "{protocol} {target}: {answer:?}, not {wanted}");
            }
            lab.expect_spread("outside", protocol, target, &[("web-1", 1), ("far-1", 1)])?;
        }
    }
    Ok(())
}

/// In its own family; in the other one masquerading is as usual.
fn an_address_is_what_servers_see(lab: &mut Lab) -> Result<()> {
    let [_, service] = serve(lab)?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let target = lab.target(&service, Vip::External, Family::V4);
        for client in ["app", "outside", "node"] {
            let tally = lab.ask_often(client, protocol, target, 4)?;
            let sources: Vec<String> = tally.sources.iter().map(ToString::to_string).collect();
            ensure!(sources == [GIVEN] && tally.answers.len() == 2, "{client} asks {protocol}: {tally:?}");
        }
        lab.expect_masqueraded("outside", protocol, lab.target(&service, Vip::External, Family::V6))?;
    }
    Ok(())
}
