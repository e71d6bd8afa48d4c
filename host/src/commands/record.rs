//! `weir record`: the questions to the plugins of a policy file about the services in a folder, and their answers.

use std::process::ExitCode;

use weir_core::node::Capabilities;

use crate::cli::RecordArguments;
use crate::inputs::{self, Plugins};
use crate::output::say;

/// Prints one record per line. Exit status 1 if a plugin was refused or failed to answer for a service.
pub(crate) fn run(arguments: &RecordArguments) -> anyhow::Result<ExitCode> {
    let settings = inputs::settings(&arguments.input.node)?;
    let addresses = inputs::host_addresses(&arguments.interfaces)?;
    let Plugins { mut chain, refused } = inputs::policy(&arguments.input.policy, &settings.node_name)?;
    chain.start_recording();
    let (manifests, capabilities) = (&arguments.input.manifests, Capabilities::assumed());
    let mut planner = inputs::planner(manifests, &settings, chain, addresses, capabilities)?;
    let reports = planner.plan_at(inputs::now()).reports;
    for record in weir_policy::take_records(&mut planner) {
        say!("{}", serde_json::to_string(&record)?);
    }
    reports.iter().for_each(|report| inputs::warn(&report.to_string()));
    Ok(inputs::policy_status(&refused, &reports))
}
