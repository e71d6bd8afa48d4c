//! What users request by annotations.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use weir_core::net::{Family, Protocol};
use weir_harness::cluster::{Conversation, Failure, Place, Service};
use weir_harness::lab::{Lab, Test, Vip, paths};
use weir_harness::patience;
use weir_harness::policy::Plugin;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("annotations::weights_spread_connections_three_to_one", weights_spread_connections),
    ("annotations::a_scheduler_that_hashes_sources_keeps_a_client_where_it_is", a_scheduler_is_used),
    ("annotations::hashing_refuses_no_client_while_an_endpoint_drains", hashing_refuses_no_client),
    ("annotations::denied_sources_get_no_answer_and_others_do", denied_sources_get_no_answer),
    ("annotations::connections_to_an_endpoint_that_goes_end_as_told", connections_end_as_told),
    ("annotations::kinds_of_vips_that_are_not_named_are_not_served", other_kinds_are_not_served),
];

/// The services of all tests, so that one weir serves them.
struct Services {
    weighted: Service,
    hashed: Service,
    guarded: Service,
    narrow: Service,
}

fn serve(lab: &mut Lab) -> Result<Services> {
    let near = ["web-1", "web-2"];
    let [v4, v6] = Family::BOTH.map(|family| lab.host("outside").address(family));
    let denied = format!("{v4}/32, {v6}/128");
    let services = Services {
        weighted: lab
            .exposed(20, &[])
            .with_group("stable", [lab.cluster.endpoint("web-1")])
            .with_group("canary", [lab.cluster.endpoint("web-2")])
            .with_annotation("policy.weir/weights", "stable=75, canary=25"),
        hashed: lab.internal(21, &near).with_annotation("policy.weir/scheduler", "sh"),
        guarded: lab.exposed(22, &near).with_annotation("policy.weir/deny-sources", &denied),
        narrow: lab.exposed(23, &near).with_annotation("policy.weir/vip-kinds", "cluster, load-balancer"),
    };
    let Services { weighted, hashed, guarded, narrow } = &services;
    serve_annotated(lab, &[weighted, hashed, guarded, narrow])?;
    Ok(services)
}

/// Starts weir with the plugin, which reads the annotations of these services.
fn serve_annotated(lab: &mut Lab, services: &[&Service]) -> Result<()> {
    let plugin = Plugin::new("annotations", "weir-plugin-annotations", Value::Null);
    lab.serve_by(&[plugin], &[lab.node(Place::Local)], services)
}

/// Exactly, because `wrr` is exact over multiples of its cycle of four.
fn weights_spread_connections(lab: &mut Lab) -> Result<()> {
    let service = serve(lab)?.weighted;
    for (family, protocol) in paths() {
        for vip in [Vip::Cluster, Vip::LoadBalancer, Vip::NodePort] {
            let target = lab.target(&service, vip, family);
            lab.expect_spread("app", protocol, target, &[("web-1", 12), ("web-2", 4)])?;
        }
    }
    Ok(())
}

/// Round robin would use another server for each connection.
fn a_scheduler_is_used(lab: &mut Lab) -> Result<()> {
    let service = serve(lab)?.hashed;
    for (family, protocol) in paths() {
        let target = lab.target(&service, Vip::Cluster, family);
        for client in ["app", "far-app", "outside"] {
            let tally = lab.ask_often(client, protocol, target, 6)?;
            ensure!(tally.answers.len() == 1, "{client} asks {protocol} {target}: {tally:?}");
        }
    }
    Ok(())
}

/// The kernel keeps the slots of a draining endpoint.
fn hashing_refuses_no_client(lab: &mut Lab) -> Result<()> {
    let pods = ["web-1", "web-2"];
    let hashed =
        |number, scheduler| lab.internal(number, &pods).with_annotation("policy.weir/scheduler", scheduler);
    let (sh, mh) = (hashed(26, "sh"), hashed(27, "mh"));
    serve_annotated(lab, &[&sh, &mh])?;
    for service in [sh, mh] {
        let target = lab.target(&service, Vip::Cluster, Family::V4);
        let mut open = lab.host("app").converse(Protocol::Tcp, target)?;
        let going = open.ask()?.server;
        let [first, second] = pods;
        let staying = if going == first { second } else { first };
        lab.put(&lab.with_pods(service, &[staying]))?;
        lab.await_weights(target, &[(staying, 1)])?;
        lab.expect_spread("app", Protocol::Tcp, target, &[(staying, 12)])?;
        ensure!(open.ask()?.server == going);
    }
    Ok(())
}

fn denied_sources_get_no_answer(lab: &mut Lab) -> Result<()> {
    let service = serve(lab)?.guarded;
    let mut silent = Vec::new();
    for (family, protocol) in paths() {
        for vip in Vip::PUBLIC {
            let target = lab.target(&service, vip, family);
            lab.ask("app", protocol, target)?;
            silent.push(("outside", protocol, target));
        }
    }
    lab.expect_silence(&silent)
}

fn other_kinds_are_not_served(lab: &mut Lab) -> Result<()> {
    let service = serve(lab)?.narrow;
    for (family, protocol) in paths() {
        for vip in [Vip::Cluster, Vip::LoadBalancer] {
            lab.ask("outside", protocol, lab.target(&service, vip, family))?;
        }
        let target = lab.target(&service, Vip::NodePort, family);
        let result = lab.host("outside").request(protocol, target);
        ensure!(result == Err(Failure::Refused), "{protocol} {target}: {result:?}");
        lab.expect_unreachable("outside", protocol, lab.target(&service, Vip::External, family))?;
    }
    Ok(())
}

/// By default they would stay until they are idle, which these never are.
fn connections_end_as_told(lab: &mut Lab) -> Result<()> {
    let at_once = lab.exposed(24, &["web-1", "web-2"]).with_annotation("policy.weir/drain", "at-once");
    let later = lab.exposed(25, &["web-1", "web-2"]).with_annotation("policy.weir/drain", "10s");
    serve_annotated(lab, &[&at_once, &later])?;
    for (service, deadline) in [(at_once, false), (later, true)] {
        let target = lab.target(&service, Vip::Cluster, Family::V4);
        let mut going = connection_to(lab, "web-1", target)?;
        let mut staying = connection_to(lab, "web-2", target)?;
        lab.put(&lab.with_pods(service, &["web-2"]))?;
        lab.await_weights(target, &[("web-2", 1)])?;
        if deadline {
            let answer = going.ask().context("before the deadline")?;
            ensure!(answer.server == "web-1", "{answer:?}");
        }
        let mut going = going.with_patience(Duration::from_secs(1))?;
        patience::until(patience::GENEROUS, || {
            ensure!(going.ask().is_err(), "{target} is still answered by web-1");
            Ok(())
        })?;
        ensure!(staying.ask()?.server == "web-2");
        let left = lab.daemon()?.real_servers(Protocol::Tcp, target)?;
        ensure!(left.len() == 1, "{target} has {left:?}");
    }
    Ok(())
}

/// An open connection to this endpoint.
fn connection_to(lab: &Lab, pod: &str, target: SocketAddr) -> Result<Conversation> {
    for _ in 0..8 {
        let mut conversation = lab.host("app").converse(Protocol::Tcp, target)?;
        if conversation.ask()?.server == pod {
            return Ok(conversation);
        }
    }
    bail!("{target} never leads to {pod}")
}
