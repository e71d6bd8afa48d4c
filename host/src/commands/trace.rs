//! `weir trace`: shows where a packet would go.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use weir_core::kernel::whole;
use weir_core::net::{Family, PerFamily};
use weir_core::node::{Capabilities, HostAddress};
use weir_core::state::KernelState;
use weir_core::trace::{Delivery, Origin, Packet, Source, Trace, Verdict, trace};
use weir_kernel::{Linux, capabilities};

use crate::cli::{Output, Sender, TraceArguments};
use crate::output::say;
use crate::{inputs, style};

/// The source port of a traced packet; none of weir's rules matches on it.
const SOURCE_PORT: u16 = 40_000;

/// The kernel state to trace through, and its host.
struct Asked {
    state: KernelState,
    host: Vec<HostAddress>,
    node_ips: PerFamily<Option<IpAddr>>,
    status: ExitCode,
}

/// Shows where a packet would go. Exit status 1 if a plugin was refused or failed.
pub(crate) fn run(arguments: &TraceArguments) -> anyhow::Result<ExitCode> {
    let asked = match &arguments.manifests {
        Some(manifests) => ask_plan(arguments, manifests)?,
        None => ask_kernel(arguments)?,
    };
    let source = source(arguments, &asked);
    let origin = match (arguments.from, arguments.bridged) {
        (Sender::Host, _) => Origin::Host,
        (Sender::Address(_), false) => Origin::Interface(arguments.interface.clone()),
        (Sender::Address(_), true) => Origin::Bridge(arguments.interface.clone()),
    };
    let source = SocketAddr::new(source, SOURCE_PORT);
    let packet = Packet::new(arguments.protocol, source, arguments.to, origin).context("--from and --to")?;
    let traced = trace(&asked.state, &asked.host, &packet);
    match arguments.output {
        Output::Text => print_text(arguments, source, &traced),
        Output::Json => say!("{:#}", to_json(&traced)),
    }
    Ok(asked.status)
}

fn ask_plan(arguments: &TraceArguments, manifests: &std::path::Path) -> anyhow::Result<Asked> {
    let settings = inputs::settings(&arguments.node)?;
    let host = inputs::host_addresses(&arguments.interfaces)?;
    let plugins = inputs::policy(&arguments.policy, &settings.node_name)?;
    let (chain, capabilities) = (plugins.chain, Capabilities::assumed());
    let mut planner = inputs::planner(manifests, &settings, chain, host.clone(), capabilities)?;
    let plan = planner.plan_at(inputs::now());
    plan.reports.iter().for_each(|report| inputs::warn(&report.to_string()));
    let PerFamily { v4, v6 } = planner.node().node_ips;
    let status = inputs::policy_status(&plugins.refused, &plan.reports);
    Ok(Asked { state: plan.state, host, node_ips: PerFamily { v4: Some(v4), v6: Some(v6) }, status })
}

fn ask_kernel(arguments: &TraceArguments) -> anyhow::Result<Asked> {
    let host = inputs::host_addresses(&arguments.interfaces)?;
    let families = capabilities::probe().capabilities.families;
    let state = whole(&mut Linux::new(&families))
        .context("cannot trace through this node's kernel (run `weir doctor` for details)")?;
    Ok(Asked { state, host, node_ips: PerFamily::default(), status: ExitCode::SUCCESS })
}

/// A process of the node that does not choose a source address uses the destination's if that is local, otherwise one
/// of the node's.
fn source(arguments: &TraceArguments, asked: &Asked) -> IpAddr {
    let to = arguments.to.ip();
    match arguments.from {
        Sender::Address(ip) => ip,
        Sender::Host => {
            let is_local =
                asked.state.addresses.contains_key(&to) || asked.host.iter().any(|host| host.address == to);
            let own = asked.host.iter().map(|host| host.address).find(|ip| {
                Family::of(*ip) == Family::of(to) && !weir_core::net::is_loopback_or_link_local(*ip)
            });
            let node_ip = asked.node_ips.get(Family::of(to)).filter(|ip| !ip.is_loopback());
            if is_local { to } else { node_ip.or(own).unwrap_or(to) }
        }
    }
}

fn print_text(arguments: &TraceArguments, source: SocketAddr, traced: &Trace) {
    let sender = match arguments.from {
        Sender::Host => format!("host ({source})"),
        Sender::Address(_) => source.to_string(),
    };
    say!("{}", style::heading(&format!("{} {sender} -> {}", arguments.protocol, arguments.to)));
    traced.steps.iter().for_each(|step| say!("{} {step}", style::faint("·")));
    let verdict = traced.verdict.to_string();
    say!(
        "{}",
        match traced.verdict {
            Verdict::Delivered(..) => style::good(&verdict),
            Verdict::ToHost | Verdict::Onward(_) => style::doubtful(&verdict),
            Verdict::NoRealServer(_) | Verdict::Refused(..) | Verdict::Dropped(_) => style::bad(&verdict),
        }
    );
}

fn to_json(traced: &Trace) -> Value {
    let steps: Vec<String> = traced.steps.iter().map(ToString::to_string).collect();
    let (verdict, server, ways) = match &traced.verdict {
        Verdict::Delivered(server, ways) => ("delivered", Some(server), ways.iter().map(way).collect()),
        Verdict::NoRealServer(server) => ("noRealServer", Some(server), Vec::new()),
        Verdict::Refused(..) => ("refused", None, Vec::new()),
        Verdict::Dropped(_) => ("dropped", None, Vec::new()),
        Verdict::ToHost => ("toHost", None, Vec::new()),
        Verdict::Onward(_) => ("onward", None, Vec::new()),
    };
    json!({
        "steps": steps,
        "verdict": verdict,
        "why": traced.verdict.to_string(),
        "virtualServer": server.map(ToString::to_string),
        "realServers": ways,
    })
}

fn way(delivery: &Delivery) -> Value {
    json!({
        "address": delivery.real.to_string(),
        "weight": delivery.weight.0,
        "sourceKept": delivery.source == Source::Kept,
    })
}
