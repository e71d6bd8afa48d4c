//! Endpoints that are added and removed during traffic.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Failure, PATIENCE, Service};
use weir_harness::patience;

use weir_harness::lab::{Lab, Test, Vip};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("change::no_request_fails_while_endpoints_change", no_request_fails_while_endpoints_change),
    ("change::an_open_stream_outlives_its_endpoint", an_open_stream_outlives_its_endpoint),
    (
        "change::a_removed_endpoint_goes_after_its_last_connection",
        a_removed_endpoint_goes_after_its_last_connection,
    ),
    ("change::a_udp_client_is_answered_by_the_new_endpoint", a_udp_client_is_answered_by_the_new_endpoint),
    ("change::a_udp_client_finds_the_first_endpoint", a_udp_client_finds_the_first_endpoint),
    (
        "change::a_udp_client_that_was_there_before_the_service",
        a_udp_client_that_was_there_before_the_service,
    ),
    ("change::a_killed_and_restarted_weir_disturbs_no_one", a_killed_and_restarted_weir_disturbs_no_one),
    ("change::a_new_node_address_gets_node_ports", a_new_node_address_gets_node_ports),
];

/// A quiesced real server is removed at weir's next check after the kernel has forgotten its connections: 10 seconds
/// after a reset (`include/net/ip_vs.h`, IP_VS_TCP_S_CLOSE in `ip_vs_proto_tcp.c`).
pub(crate) const DRAINED: Duration = Duration::from_secs(60);

fn no_request_fails_while_endpoints_change(lab: &mut Lab) -> Result<()> {
    const STEPS: [&[&str]; 6] = [
        &["web-2", "far-1"],
        &["far-1"],
        &["web-1", "web-2"],
        &["web-1"],
        &["web-1", "web-2", "far-1"],
        &["web-2"],
    ];
    let service = lab.exposed(70, &["web-1", "web-2"]);
    lab.serve(&[&service])?;
    let families = Family::BOTH.into_iter();
    let loads: Vec<_> = families
        .flat_map(|family| {
            [
                lab.host("app").load(Protocol::Tcp, lab.target(&service, Vip::Cluster, family)),
                lab.host("outside").load(Protocol::Tcp, lab.target(&service, Vip::LoadBalancer, family)),
            ]
        })
        .collect();
    for pods in STEPS {
        lab.put(&lab.with_pods(service.clone(), pods))?;
        for family in Family::BOTH {
            await_active(lab, &service, Vip::LoadBalancer, family, pods)?;
        }
    }
    for load in loads {
        let tally = load.stop();
        ensure!(tally.failures.is_empty() && tally.answers.len() == 3, "{tally:?}");
    }
    Ok(())
}

fn an_open_stream_outlives_its_endpoint(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(71, &["web-1", "web-2"]);
    lab.serve(&[&service])?;
    let families = Family::BOTH;
    let mut streams = Vec::new();
    for family in families {
        let target = lab.target(&service, Vip::Cluster, family);
        let mut stream = lab.host("app").converse(Protocol::Tcp, target)?;
        let server = stream.ask()?.server;
        streams.push((family, target, stream, server));
    }
    for (family, target, stream, server) in &mut streams {
        let other = if server == "web-1" { "web-2" } else { "web-1" };
        lab.put(&lab.with_pods(service.clone(), &[other]))?;
        await_active(lab, &service, Vip::Cluster, *family, &[other])?;
        let quiesced = (lab.endpoint(server, *family), 0);
        let real_servers = lab.daemon()?.real_servers(Protocol::Tcp, *target)?;
        ensure!(real_servers.contains(&quiesced), "{quiesced:?} is not among {real_servers:?}");
        for _ in 0..5 {
            ensure!(stream.ask()?.server == *server, "the stream changed its server");
        }
        let tally = lab.ask_often("app", Protocol::Tcp, *target, 6)?;
        ensure!(tally.answers.keys().eq([other]), "new connections: {tally:?}");
        // As for the other family's stream.
        lab.put(&service)?;
        await_active(lab, &service, Vip::Cluster, *family, &["web-1", "web-2"])?;
        ensure!(stream.ask()?.server == *server, "the stream changed its server");
    }
    Ok(())
}

fn a_removed_endpoint_goes_after_its_last_connection(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(75, &["web-1"]);
    lab.serve(&[&service])?;
    let mut streams = Vec::new();
    for family in Family::BOTH {
        let target = lab.target(&service, Vip::Cluster, family);
        let mut stream = lab.host("app").converse(Protocol::Tcp, target)?;
        stream.ask()?;
        streams.push((family, target, stream));
    }
    lab.put(&lab.with_pods(service.clone(), &["web-2"]))?;
    let mut gone = Vec::new();
    for (family, target, mut stream) in streams {
        await_active(lab, &service, Vip::Cluster, family, &["web-2"])?;
        let removed = lab.endpoint("web-1", family);
        let quiesced = (removed.clone(), 0);
        ensure!(lab.daemon()?.real_servers(Protocol::Tcp, target)?.contains(&quiesced), "{removed} is gone");
        stream.ask().context("the stream before its end")?;
        stream.abort()?;
        gone.push((target, removed));
    }
    for (target, removed) in gone {
        patience::until(DRAINED, || {
            let real_servers = lab.daemon()?.real_servers(Protocol::Tcp, target)?;
            ensure!(!real_servers.iter().any(|(address, _)| *address == removed), "{real_servers:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn a_udp_client_is_answered_by_the_new_endpoint(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(72, &["web-1"]);
    lab.serve(&[&service])?;
    let clients = [("app", Vip::Cluster), ("app", Vip::LoadBalancer), ("outside", Vip::NodePort)];
    let mut open = Vec::new();
    for (client, vip) in clients {
        for family in Family::BOTH {
            let target = lab.target(&service, vip, family);
            let mut conversation = lab.host(client).converse(Protocol::Udp, target)?;
            let answer = conversation.ask()?;
            ensure!(answer.server == "web-1", "{answer:?}");
            open.push((client, vip, family, conversation));
        }
    }
    lab.serve(&[&lab.with_pods(service, &["web-2"])])?;
    for (client, vip, family, mut conversation) in open {
        let answer = conversation.ask().with_context(|| format!("{client} asks {vip:?} {family}"))?;
        ensure!(answer.server == "web-2", "{client} asks {vip:?} {family}: {answer:?}");
    }
    Ok(())
}

fn a_udp_client_finds_the_first_endpoint(lab: &mut Lab) -> Result<()> {
    let service = lab.internal(73, &[]);
    lab.serve(&[&service])?;
    let mut open = Vec::new();
    for family in Family::BOTH {
        let target = lab.target(&service, Vip::Cluster, family);
        let mut conversation = lab.host("app").converse(Protocol::Udp, target)?;
        let nobody = conversation.ask();
        ensure!(nobody == Err(Failure::Refused), "{family}: {nobody:?}");
        open.push((family, conversation));
    }
    lab.serve(&[&lab.with_pods(service, &["web-1"])])?;
    for (family, mut conversation) in open {
        let answer = conversation.ask().with_context(|| format!("after the first endpoint of {family}"))?;
        ensure!(answer.server == "web-1", "{family}: {answer:?}");
    }
    Ok(())
}

/// Its first datagrams went nowhere, but connection tracking remembers that they were not to be masqueraded.
fn a_udp_client_that_was_there_before_the_service(lab: &mut Lab) -> Result<()> {
    const NOBODY: &str = "default via 10.0.2.2 dev eth0";
    let service = lab.exposed(77, &["far-1"]);
    lab.serve(&[])?;
    let node = lab.cluster.node().namespace();
    node.ip(&format!("neigh add 10.0.2.2 lladdr 02:00:00:00:00:02 dev eth0\nroute add {NOBODY}\n"))?;
    let target = lab.target(&service, Vip::LoadBalancer, Family::V4);
    let client = lab.host("outside").converse(Protocol::Udp, target)?;
    let mut client = client.with_patience(Duration::from_millis(200))?;
    let early = client.ask();
    ensure!(early == Err(Failure::Unanswered), "before the service: {early:?}");
    lab.serve(&[&service])?;
    let answer = client.with_patience(PATIENCE)?.ask();
    let node = lab.cluster.node().namespace();
    node.ip(&format!("route del {NOBODY}\nneigh del 10.0.2.2 dev eth0\n"))?;
    ensure!(answer.as_ref().is_ok_and(|answer| answer.server == "far-1"), "{answer:?}");
    // When a real server is removed, the kernel may forget first; here only weir can have done it.
    let series = "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv4\"}";
    patience::until(patience::GENEROUS, || {
        let flows = lab.daemon()?.metric(series)?;
        ensure!(flows >= Some(1.0), "{series} is {flows:?}");
        Ok(())
    })
}

fn a_killed_and_restarted_weir_disturbs_no_one(lab: &mut Lab) -> Result<()> {
    let service = lab.exposed(76, &["web-1", "web-2", "far-1"]);
    lab.serve(&[&service])?;
    let mut streams = Vec::new();
    let mut loads = Vec::new();
    for family in Family::BOTH {
        let (inside, outside) =
            (lab.target(&service, Vip::Cluster, family), lab.target(&service, Vip::NodePort, family));
        let mut stream = lab.host("outside").converse(Protocol::Tcp, outside)?;
        streams.push((stream.ask()?, stream));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            loads.push(lab.host("app").load(protocol, inside));
        }
        loads.push(lab.host("outside").load(Protocol::Tcp, outside));
    }
    lab.restart()?;
    for load in loads {
        let tally = load.stop();
        ensure!(tally.failures.is_empty() && tally.answers.len() == 3, "{tally:?}");
    }
    for (before, mut stream) in streams {
        let after = stream.ask()?;
        ensure!(after == before, "{after:?}, not {before:?}");
    }
    Ok(())
}

fn a_new_node_address_gets_node_ports(lab: &mut Lab) -> Result<()> {
    const ADDED: &str = "10.0.2.55";
    let service = lab.exposed(74, &["web-1"]);
    lab.serve(&[&service])?;
    let node = lab.cluster.node().namespace();
    node.ip(&format!("addr add {ADDED}/32 dev eth0\n"))?;
    let port = lab.target(&service, Vip::NodePort, Family::V4).port();
    let target = SocketAddr::new(ADDED.parse().context("an address")?, port);
    let reached = patience::until(patience::GENEROUS, || lab.ask("outside", Protocol::Tcp, target));
    node.ip(&format!("addr del {ADDED}/32 dev eth0\n"))?;
    reached.map(drop)
}

/// Waits until exactly these pods get new connections.
pub(crate) fn await_active(
    lab: &Lab,
    service: &Service,
    vip: Vip,
    family: Family,
    pods: &[&str],
) -> Result<()> {
    let target = lab.target(service, vip, family);
    let mut wanted: Vec<String> = pods.iter().map(|pod| lab.endpoint(pod, family)).collect();
    wanted.sort();
    patience::until(patience::GENEROUS, || {
        let real_servers = lab.daemon()?.real_servers(Protocol::Tcp, target)?;
        let mut active: Vec<&String> =
            real_servers.iter().filter(|(_, weight)| *weight > 0).map(|(address, _)| address).collect();
        active.sort();
        ensure!(active.iter().copied().eq(&wanted), "{real_servers:?}, not {pods:?}");
        Ok(())
    })
}
