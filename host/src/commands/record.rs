//! `weir record`: what the plugins of a policy file are asked about the services of a folder, and what they answer.

use std::process::ExitCode;

use anyhow::bail;
use weir_core::node::Capabilities;

use crate::cli::RecordArguments;
use crate::inputs;
use crate::output::say;

/// Prints one record a line. Exit status 1 if a plugin had no answer about some service.
pub(crate) fn run(arguments: &RecordArguments) -> anyhow::Result<ExitCode> {
    if arguments.input.policy.policy.is_none() {
        bail!("give --policy FILE: without plugins nobody is asked anything");
    }
    let settings = inputs::settings(&arguments.input.node)?;
    let addresses = inputs::host_addresses(&arguments.interfaces)?;
    let policy = inputs::policy(&arguments.input.policy, &settings.node_name)?;
    policy.chain.chain().start_recording();
    let (manifests, capabilities) = (&arguments.input.manifests, Capabilities::assumed());
    let mut planner = inputs::planner(manifests, &settings, policy.chain.clone(), addresses, capabilities)?;
    let reports = planner.plan_at(inputs::now()).reports;
    for record in policy.chain.chain().take_records() {
        say!("{}", serde_json::to_string(&record)?);
    }
    reports.iter().for_each(|report| inputs::warn(&report.to_string()));
    let failed = reports.iter().any(|report| report.reason == weir_core::report::Reason::PolicyFailed);
    Ok(if failed { ExitCode::FAILURE } else { policy.status() })
}
