//! `weir plan`: what the kernel should contain.

use std::process::ExitCode;

use serde_json::json;
use weir_core::node::Capabilities;
use weir_core::planner::Plan;
use weir_core::witness;

use crate::cli::{PlanArguments, PlanOutput};
use crate::output::{self, say};
use crate::{inputs, json, style};

/// Prints the plan. Exit status 1 if a plugin was refused or failed.
pub(crate) fn run(arguments: &PlanArguments) -> anyhow::Result<ExitCode> {
    let settings = inputs::settings(&arguments.input.node)?;
    let addresses = inputs::host_addresses(&arguments.interfaces)?;
    let plugins = inputs::policy(&arguments.input.policy, &settings.node_name)?;
    let (manifests, capabilities) = (&arguments.input.manifests, Capabilities::assumed());
    let mut planner = inputs::planner(manifests, &settings, plugins.chain, addresses, capabilities)?;
    let plan = planner.plan_at(inputs::now());
    match arguments.output {
        PlanOutput::Text => print_text(&plan),
        PlanOutput::Json => {
            let document = json!({
                "node": settings.node_name,
                "state": json::state(&plan.state),
                "reports": json::reports(&plan.reports),
            });
            say!("{document:#}");
        }
        PlanOutput::Kernel => output::out(format_args!("{}", witness::render(&plan.state))),
    }
    if arguments.output != PlanOutput::Json {
        for report in &plan.reports {
            inputs::warn(&report.to_string());
        }
    }
    Ok(inputs::policy_status(&plugins.refused, &plan.reports))
}

fn print_text(plan: &Plan) {
    for line in plan.state.lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or((&line, ""));
        say!("{} {rest}", style::heading(kind));
    }
}
