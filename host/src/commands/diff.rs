//! `weir diff`: compares this node's kernel with the plan.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use weir_core::kernel::whole;
use weir_core::state::Sign;
use weir_kernel::{Linux, capabilities};

use crate::cli::{DiffArguments, InterfaceArguments, Output};
use crate::output::{complain, say};
use crate::{inputs, json, style};

/// Prints the differences and changes nothing.
pub(crate) fn run(arguments: &DiffArguments) -> anyhow::Result<ExitCode> {
    let settings = inputs::settings(&arguments.input.node)?;
    let addresses = inputs::host_addresses(&InterfaceArguments { interfaces: None })?;
    let mut probe = capabilities::probe();
    capabilities::try_extensions(&mut probe);
    let mut kernel = Linux::new(&probe.capabilities.families);
    let plugins = inputs::policy(&arguments.input.policy, &settings.node_name)?;
    let (manifests, chain) = (&arguments.input.manifests, plugins.chain);
    let mut planner = inputs::planner(manifests, &settings, chain, addresses, probe.capabilities)?;
    let plan = planner.plan_at(inputs::now());
    let mut actual = whole(&mut kernel)
        .context("cannot compare this node's kernel with the plan (run `weir doctor` for details)")?;
    actual.forget_excluded(&planner.node().config.exclude_cidrs, &plan.state);
    let differences = actual.differences(&plan.state);
    match arguments.output {
        Output::Text => {
            for (sign, line) in &differences {
                say!("{}", painted(*sign, &format!("{sign} {line}")));
            }
            let verdict = match differences.len() {
                0 => style::good("the kernel matches the plan"),
                1 => "1 difference".to_owned(),
                n => format!("{n} differences"),
            };
            complain!("{verdict}");
        }
        Output::Json => {
            let lines: Vec<_> = differences
                .iter()
                .map(|(sign, line)| json!({"sign": sign.to_string(), "line": line}))
                .collect();
            let document = json!({
                "node": settings.node_name,
                "differences": lines,
                "reports": json::reports(&plan.reports),
            });
            say!("{document:#}");
        }
    }
    Ok(if differences.is_empty() {
        inputs::policy_status(&plugins.refused, &plan.reports)
    } else {
        ExitCode::FAILURE
    })
}

/// A line in the colour of its sign.
pub(crate) fn painted(sign: Sign, line: &str) -> String {
    match sign {
        Sign::Missing => style::good(line),
        Sign::Extra => style::bad(line),
        Sign::Different => style::doubtful(line),
    }
}
