//! `weir explain`: how a service was planned.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use weir_core::decision::Treatment;
use weir_core::node::Capabilities;
use weir_core::objects::ObjectName;
use weir_core::planner::Explanation;
use weir_core::text::{counted, printable};
use weir_kernel::Linux;
use weir_policy::{Record, Refused};

use crate::cli::{ExplainArguments, Output};
use crate::inputs::Plugins;
use crate::output::say;
use crate::{inputs, json, style};

mod sampled;

use sampled::Sampled;

/// Prints the explanation. Exit status 1 if a plugin was refused or failed to answer for the service.
pub(crate) fn run(arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    let (namespace, name) = arguments.service.split_once('/').with_context(|| {
        format!("service `{}`: must be written as NAMESPACE/NAME", printable(&arguments.service))
    })?;
    let settings = inputs::settings(&arguments.input.node)?;
    let addresses = inputs::host_addresses(&arguments.interfaces)?;
    let Plugins { mut chain, refused } = inputs::policy(&arguments.input.policy, &settings.node_name)?;
    chain.start_recording();
    let (manifests, capabilities) = (&arguments.input.manifests, Capabilities::assumed());
    let mut planner = inputs::planner(manifests, &settings, chain, addresses, capabilities)?;
    let name = ObjectName::new(namespace, name);
    if let Some(time) = arguments.sample {
        let mut kernel = Linux::new(&[]);
        sampled::sample(&mut planner, &name, time, |server| kernel.sample(server))?;
    }
    let explanation = planner
        .explain(&name, inputs::now())
        .with_context(|| format!("service {name} not found in --manifests, or not handled by this node"))?;
    let records = last_of(&name, weir_policy::take_records(&mut planner));
    let sampled = sampled::counted(&planner, &explanation);
    match arguments.output {
        Output::Text => print_text(&name, &explanation, &refused, &sampled),
        Output::Json => say!("{:#}", to_json(&explanation, &records, &refused, &sampled)),
    }
    Ok(inputs::policy_status(&refused, &explanation.decided.reports))
}

/// The last question to each plugin about a service, in order; while sampling, plugins are called repeatedly, and for
/// other services too.
fn last_of(name: &ObjectName, mut records: Vec<Record>) -> Vec<Record> {
    let mut seen = BTreeSet::new();
    records.reverse();
    records.retain(|record| {
        let about = (&record.service.namespace, &record.service.name) == (&name.namespace, &name.name);
        about && seen.insert((record.plugin.clone(), record.interface.clone()))
    });
    records.reverse();
    records
}

fn print_text(name: &ObjectName, explanation: &Explanation, refused: &[Refused], sampled: &[Sampled]) {
    say!("{} {name}", style::heading("service"));
    for port in &explanation.view.ports {
        say!(
            "  {} {} {}: {}, {} behind the cluster IP, {} behind other VIPs",
            port.family,
            port.port.protocol,
            port.port.port,
            counted(port.endpoints.len(), "endpoint"),
            port.selection.internal.len(),
            port.selection.external.len()
        );
    }
    if !sampled.is_empty() {
        say!("{}", style::heading("counted"));
    }
    sampled.iter().for_each(|endpoint| say!("  {}", endpoint.line()));
    say!("{}", style::heading("plugins"));
    let decided = &explanation.decided;
    for Refused { name, why } in refused {
        say!("  {}", style::bad(&format!("{name} is not used: {why}")));
    }
    if decided.notes.is_empty() && decided.reports.is_empty() {
        let none = if refused.is_empty() { "no plugin" } else { "no other plugin" };
        say!("  {none} decided anything, so the service is handled as in kube-proxy");
    }
    for note in &decided.notes {
        let answer = if note.answer.is_empty() { "no change" } else { &note.answer };
        say!("  {} {}: {answer}", note.plugin, note.hook);
        if !note.reason.is_empty() {
            say!("    reason: {}", note.reason);
        }
    }
    for report in &decided.reports {
        say!("  {}", style::bad(&format!("{}: {}", report.reason, report.message)));
    }
    say!("{}", style::heading("guard and planner"));
    if explanation.reports.is_empty() {
        say!("  no change");
    }
    for report in &explanation.reports {
        say!("  {}", style::doubtful(&format!("{}: {}", report.reason, report.message)));
    }
    say!("{}", style::heading("kernel"));
    for line in explanation.wants.state().lines() {
        say!("  {line}");
    }
    for (server, want) in &explanation.wants.servers {
        if let Treatment::Address(address) = want.treatment {
            say!("  source address of connections to {server} becomes {address}");
        }
    }
}

fn to_json(
    explanation: &Explanation,
    records: &[Record],
    refused: &[Refused],
    sampled: &[Sampled],
) -> serde_json::Value {
    let refusal = |refused: &Refused| json!({"plugin": refused.name, "why": refused.why});
    let note = |note: &weir_core::policy::Note| json!({"plugin": note.plugin, "interface": note.hook, "answer": note.answer, "reason": note.reason});
    let decided = &explanation.decided;
    json!({
        "counted": sampled.iter().map(Sampled::json).collect::<Vec<_>>(),
        "asked": records,
        "answers": decided.notes.iter().map(note).collect::<Vec<_>>(),
        "refused": refused.iter().map(refusal).collect::<Vec<_>>(),
        "failures": json::reports(&decided.reports),
        "reports": json::reports(&explanation.reports),
        "state": json::state(&explanation.wants.state()),
        "ask-again-at": decided.expires,
    })
}
