//! Which client address a server sees: the client's own or, if masqueraded, the node's.

use anyhow::{Result, ensure};
use serde_json::json;
use weir_core::net::{Family, Protocol};

use weir_harness::lab::{Lab, Test, Vip, paths};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("source::a_cluster_ip_keeps_pods_and_outside", a_cluster_ip_keeps_pods_and_outside),
    ("source::masquerade_all_hides_everyone_at_a_cluster_ip", masquerade_all),
    ("source::a_cluster_cidr_hides_who_is_outside_of_it", cluster_cidr),
    ("source::a_node_cidr_hides_who_is_outside_of_it", node_cidr),
    ("source::a_pod_bridge_hides_who_does_not_come_from_it", pod_bridge),
    ("source::an_interface_prefix_hides_who_does_not_come_from_it", interface_prefix),
    ("source::an_external_ip_hides_everyone", |lab| hidden_from_everyone(lab, Vip::External)),
    ("source::a_load_balancer_ip_hides_everyone", |lab| hidden_from_everyone(lab, Vip::LoadBalancer)),
    ("source::a_node_port_hides_everyone", |lab| hidden_from_everyone(lab, Vip::NodePort)),
    ("source::local_policy_keeps_everyone", local_policy_keeps_everyone),
    ("source::a_pod_that_reaches_itself_is_hidden", a_pod_that_reaches_itself_is_hidden),
];

/// Endpoints whose answers always return through this node.
const NEAR: [&str; 2] = ["web-1", "web-2"];

const EVERYWHERE: [&str; 3] = ["web-1", "web-2", "far-1"];

fn a_cluster_ip_keeps_pods_and_outside(lab: &mut Lab) -> Result<()> {
    expect_at_cluster_ip(lab, &[], &["app", "far-app", "outside"], &["node"])
}

fn masquerade_all(lab: &mut Lab) -> Result<()> {
    expect_at_cluster_ip(lab, &["--masquerade-all"], &[], &["app", "far-app", "outside", "node"])
}

fn cluster_cidr(lab: &mut Lab) -> Result<()> {
    let flags = ["--cluster-cidr", "10.244.0.0/16,fd00:10:244::/48"];
    expect_at_cluster_ip(lab, &flags, &["app", "far-app"], &["outside", "node"])
}

fn node_cidr(lab: &mut Lab) -> Result<()> {
    let flags = ["--detect-local-mode", "NodeCIDR"];
    expect_at_cluster_ip(lab, &flags, &["app"], &["far-app", "outside", "node"])
}

fn pod_bridge(lab: &mut Lab) -> Result<()> {
    let flags = ["--detect-local-mode", "BridgeInterface", "--pod-bridge-interface", "cbr0"];
    expect_at_cluster_ip(lab, &flags, &["app"], &["far-app", "outside", "node"])
}

fn interface_prefix(lab: &mut Lab) -> Result<()> {
    let flags = ["--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "cbr"];
    expect_at_cluster_ip(lab, &flags, &["app"], &["far-app", "outside", "node"])
}

fn expect_at_cluster_ip(lab: &mut Lab, flags: &[&str], kept: &[&str], masqueraded: &[&str]) -> Result<()> {
    let service = lab.internal(20, &NEAR);
    lab.serve_with(flags, &[&service])?;
    for (family, protocol) in paths() {
        let target = lab.target(&service, Vip::Cluster, family);
        kept.iter().try_for_each(|client| lab.expect_kept(client, protocol, target))?;
        masqueraded.iter().try_for_each(|client| lab.expect_masqueraded(client, protocol, target))?;
    }
    Ok(())
}

fn hidden_from_everyone(lab: &mut Lab, vip: Vip) -> Result<()> {
    let service = lab.exposed(21, &EVERYWHERE);
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        let target = lab.target(&service, vip, family);
        for client in ["app", "far-app", "outside", "node"] {
            lab.expect_masqueraded(client, protocol, target)?;
        }
    }
    Ok(())
}

fn local_policy_keeps_everyone(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(22, &EVERYWHERE).with("externalTrafficPolicy", json!("Local"));
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        for vip in Vip::PUBLIC {
            let target = lab.target(&service, vip, family);
            for client in ["app", "far-app", "outside"] {
                lab.expect_kept(client, protocol, target)?;
            }
            // The VIP is an address of the node, so the node itself chooses it for packets to it.
            let answer = lab.ask("node", protocol, target)?;
            ensure!(answer.source.ip() == target.ip(), "{vip:?}: {answer:?}");
        }
    }
    Ok(())
}

fn a_pod_that_reaches_itself_is_hidden(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(23, &["web-1"]).with_port(Protocol::Sctp, 80);
    let local = lab.exposed(24, &["web-1"]).with("externalTrafficPolicy", json!("Local"));
    lab.serve(&[&service, &local])?;
    for family in Family::BOTH {
        for protocol in weir_harness::cluster::PROTOCOLS {
            lab.expect_masqueraded("web-1", protocol, lab.target(&service, Vip::Cluster, family))?;
        }
        for vip in Vip::ALL {
            lab.expect_masqueraded("web-1", Protocol::Tcp, lab.target(&local, vip, family))?;
        }
    }
    Ok(())
}
