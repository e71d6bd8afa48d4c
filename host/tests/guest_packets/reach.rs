//! Which clients reach a service through which address, and how requests spread over endpoints.

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::Tally;

use weir_harness::lab::{Lab, Test, Vip, at, paths};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("reach::pods_and_the_node_reach_a_cluster_ip", pods_and_the_node_reach_a_cluster_ip),
    ("reach::remote_clients_reach_local_endpoints_of_a_cluster_ip", remote_clients_reach_a_cluster_ip),
    ("reach::everyone_reaches_an_external_ip", |lab| everyone_reaches(lab, Vip::External)),
    ("reach::everyone_reaches_a_load_balancer_ip", |lab| everyone_reaches(lab, Vip::LoadBalancer)),
    ("reach::everyone_reaches_a_node_port", |lab| everyone_reaches(lab, Vip::NodePort)),
    ("reach::a_node_port_answers_on_every_address_of_the_node", a_node_port_answers_on_every_address),
    ("reach::sctp_through_all_vips", sctp_through_all_vips),
];

const ENDPOINTS: [&str; 3] = ["web-1", "web-2", "far-1"];

const REQUESTS: usize = 30;

fn pods_and_the_node_reach_a_cluster_ip(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(10, &ENDPOINTS);
    lab.serve(&[&service])?;
    for client in ["app", "node"] {
        for (family, protocol) in paths() {
            let target = lab.target(&service, Vip::Cluster, family);
            expect_even(&lab.ask_often(client, protocol, target, REQUESTS)?, &ENDPOINTS).context(target)?;
        }
    }
    Ok(())
}

/// Their addresses are kept, so an endpoint on another node would answer them directly, past this node.
fn remote_clients_reach_a_cluster_ip(lab: &mut Lab) -> Result<()> {
    let endpoints = ["web-1", "web-2"];
    let service = lab.internal(11, &endpoints);
    lab.serve(&[&service])?;
    for client in ["far-app", "outside"] {
        for (family, protocol) in paths() {
            let target = lab.target(&service, Vip::Cluster, family);
            expect_even(&lab.ask_often(client, protocol, target, REQUESTS)?, &endpoints).context(target)?;
        }
    }
    Ok(())
}

fn everyone_reaches(lab: &mut Lab, vip: Vip) -> Result<()> {
    let service = lab.exposed(12, &ENDPOINTS);
    lab.serve(&[&service])?;
    for client in ["app", "far-app", "node", "outside"] {
        for (family, protocol) in paths() {
            let target = lab.target(&service, vip, family);
            expect_even(&lab.ask_often(client, protocol, target, REQUESTS)?, &ENDPOINTS).context(target)?;
        }
    }
    Ok(())
}

fn a_node_port_answers_on_every_address(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(13, &ENDPOINTS);
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        let bridge = lab.cluster.masquerade(lab.cluster.pod("app"), family);
        let port = lab.target(&service, Vip::NodePort, family).port();
        lab.ask("app", protocol, at(bridge, port))?;
    }
    Ok(())
}

fn sctp_through_all_vips(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(14, &ENDPOINTS).with_node_port(Protocol::Sctp, 80, 30014);
    lab.serve(&[&service])?;
    for vip in Vip::ALL {
        for family in Family::BOTH {
            let target = lab.target(&service, vip, family);
            let tally = lab.ask_often("app", Protocol::Sctp, target, 9)?;
            expect_even(&tally, &ENDPOINTS).with_context(|| format!("{vip:?}"))?;
            if vip != Vip::Cluster {
                lab.ask("outside", Protocol::Sctp, target)?;
            }
        }
    }
    Ok(())
}

/// Round robin, with a tolerance of one.
fn expect_even(tally: &Tally, servers: &[&str]) -> Result<()> {
    let share = tally.answered() / servers.len();
    let even = tally.answers.values().all(|count| count.abs_diff(share) <= 1);
    ensure!(even && tally.answers.keys().eq(&sorted(servers)), "{tally:?}");
    Ok(())
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    names.sort();
    names
}
