//! What a VIP does not answer.

use std::io::ErrorKind::PermissionDenied;

use anyhow::{Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::Failure;

use weir_harness::lab::{Lab, Test, Vip, at, paths};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("refusal::a_port_of_the_node_is_not_open_on_vips", a_port_of_the_node_is_not_open_on_vips),
    ("refusal::a_vip_answers_no_ping", a_vip_answers_no_ping),
    ("refusal::a_service_without_endpoints_refuses", a_service_without_endpoints_refuses),
    ("refusal::a_deleted_service_is_gone", a_deleted_service_is_gone),
];

const BOUND: [Vip; 3] = [Vip::Cluster, Vip::External, Vip::LoadBalancer];

/// Within one kernel, a refusal may arrive while the client's TCP still holds its socket, and then only takes effect
/// a second later, with the first retransmission. For the node itself it always does, so only one kind of VIP is
/// tried.
fn clients_of(vip: Vip) -> &'static [&'static str] {
    if vip == Vip::Cluster { &["app", "outside", "node"] } else { &["app", "outside"] }
}

fn a_port_of_the_node_is_not_open_on_vips(lab: &mut Lab) -> Result<()> {
    const NODE_ONLY: u16 = 2222;
    let service = lab.exposed(60, &["web-1"]);
    lab.serve(&[&service])?;
    let _server = lab.cluster.node().serve(&[Protocol::Tcp, Protocol::Udp], NODE_ONLY)?;
    for (family, protocol) in paths() {
        lab.ask("outside", protocol, at(lab.cluster.node().address(family), NODE_ONLY))?;
        for vip in BOUND {
            for client in clients_of(vip) {
                let target = at(lab.target(&service, vip, family).ip(), NODE_ONLY);
                let result = lab.host(client).request(protocol, target);
                ensure!(result == Err(Failure::Refused), "{client} asks {protocol} {target}: {result:?}");
            }
        }
    }
    Ok(())
}

fn a_vip_answers_no_ping(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(61, &["web-1"]);
    lab.serve(&[&service])?;
    for family in Family::BOTH {
        let program = if family == Family::V4 { "ping" } else { "ping6" };
        let ping = |target: std::net::IpAddr| {
            let namespace = lab.cluster.outside().namespace();
            namespace.output(program, &["-c", "1", "-W", "1", &target.to_string()])
        };
        ping(lab.cluster.node().address(family))?;
        for vip in [Vip::Cluster, Vip::LoadBalancer] {
            let target = lab.target(&service, vip, family).ip();
            ensure!(ping(target).is_err(), "{target} answers");
        }
    }
    Ok(())
}

fn a_service_without_endpoints_refuses(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(62, &[]);
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        for vip in Vip::ALL {
            for client in clients_of(vip) {
                let result = lab.host(client).request(protocol, lab.target(&service, vip, family));
                // The kernel answers the node itself without a message on the wire.
                let denied = *client == "node" && result == Err(Failure::Other(PermissionDenied));
                let place = format!("{client} asks {vip:?} {protocol} {family}");
                ensure!(result == Err(Failure::Refused) || denied, "{place}: {result:?}");
            }
        }
    }
    Ok(())
}

/// Its node port is closed, and its other VIPs no longer exist.
fn a_deleted_service_is_gone(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(63, &["web-1"]);
    lab.serve(&[&service])?;
    for (family, protocol) in paths() {
        lab.ask("app", protocol, lab.target(&service, Vip::NodePort, family))?;
    }
    lab.serve(&[])?;
    for (family, protocol) in paths() {
        let result = lab.host("app").request(protocol, lab.target(&service, Vip::NodePort, family));
        ensure!(result == Err(Failure::Refused), "{protocol} {family}: {result:?}");
    }
    let device = lab.cluster.node().namespace().output("ip", &["-o", "addr", "show", "kube-ipvs0"])?;
    let left: Vec<&str> = device.lines().filter(|line| !line.contains("fe80::")).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
