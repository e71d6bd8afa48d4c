//! `weir plugin run --manifests`: what a plugin says of the services of a folder.

use std::process::ExitCode;

use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use weir_core::node::Capabilities;
use weir_core::policy::{Decided, Policy};
use weir_core::view::ServiceView;
use weir_policy::{Chain, SharedChain};

use crate::cli::{Output, PluginRunArguments};
use crate::output::{complain, say};
use crate::{inputs, style};

/// Asks and prints. Exit status 1 if there are no services, or no answer about some.
pub(super) fn ask(arguments: &PluginRunArguments) -> anyhow::Result<ExitCode> {
    let settings = inputs::settings(&arguments.node)?;
    let addresses = inputs::host_addresses(&arguments.interfaces)?;
    let artifact = super::taken(&arguments.plugin, LevelFilter::INFO)?;
    let policy = SharedChain::new(Chain::new(vec![artifact], &settings.node_name));
    policy.chain().start_recording();
    let mut planner =
        inputs::planner(&arguments.manifests, &settings, policy.clone(), addresses, Capabilities::assumed())?;
    let now = inputs::now();
    let views = planner.views();
    if views.is_empty() {
        complain!("there are no services that this node handles in {}", arguments.manifests.display());
        return Ok(ExitCode::FAILURE);
    }
    let decided = policy.chain().decide(&views, &planner.surroundings(now));
    let records = policy.chain().take_records();
    match arguments.plugin.output {
        Output::Json => say!("{:#}", json!(records)),
        Output::Text => views.iter().zip(&decided).for_each(|(view, decided)| print_text(view, decided)),
    }
    // What the guard makes of it is asked from memory.
    planner.plan_at(now).reports.iter().for_each(|report| inputs::warn(&report.to_string()));
    let failed = decided.iter().any(|decided| !decided.reports.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print_text(view: &ServiceView, decided: &Decided) {
    say!("{}", style::heading(&view.service.name.to_string()));
    if decided.notes.is_empty() && decided.reports.is_empty() {
        say!("  keeps everything");
    }
    for report in &decided.reports {
        say!("  {}", style::bad(&format!("{}: {}", report.reason, report.message)));
    }
    for note in &decided.notes {
        let answer = if note.answer.is_empty() { "keeps everything" } else { &note.answer };
        let because = if note.reason.is_empty() { String::new() } else { format!(" ({})", note.reason) };
        say!("  {}: {answer}{because}", note.hook);
    }
}
