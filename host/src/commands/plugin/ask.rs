//! `weir plugin run --manifests`: what a plugin says of the services of a folder.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use weir_core::node::Capabilities;
use weir_core::policy::{Decided, Policy};
use weir_core::view::ServiceView;
use weir_policy::{Chain, Record, SharedChain};

use crate::cli::{Output, PluginRunArguments};
use crate::output::say;
use crate::{inputs, style};

/// Asks, prints, and records if that is wanted. Exit status 1 if there was no answer about some service.
pub(super) fn ask(arguments: &PluginRunArguments, manifests: &Path) -> anyhow::Result<ExitCode> {
    let settings = inputs::settings(&arguments.node)?;
    let addresses = inputs::host_addresses(&arguments.interfaces)?;
    let artifact = super::load(&arguments.plugin)??;
    let policy = SharedChain::new(Chain::new(vec![artifact], &settings.node_name));
    policy.chain().start_recording();
    let mut planner =
        inputs::planner(manifests, &settings, policy.clone(), addresses, Capabilities::assumed())?;
    let now = inputs::now();
    let views = planner.views();
    let decided = policy.chain().decide(&views, &planner.surroundings(now));
    let records = policy.chain().take_records();
    if let Some(file) = &arguments.record {
        write_records(file, &records)?;
    }
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
    for note in &decided.notes {
        let answer = if note.answer.is_empty() { "nothing" } else { &note.answer };
        let because = if note.reason.is_empty() { String::new() } else { format!(" ({})", note.reason) };
        say!("  {}: {answer}{because}", note.hook);
    }
}

/// Appends records to a file, one a line.
fn write_records(file: &Path, records: &[Record]) -> anyhow::Result<()> {
    let writing = || format!("cannot write records to {}", file.display());
    let mut lines = String::new();
    for record in records {
        lines.push_str(&serde_json::to_string(record).with_context(writing)?);
        lines.push('\n');
    }
    let mut output = fs::OpenOptions::new().create(true).append(true).open(file).with_context(writing)?;
    output.write_all(lines.as_bytes()).with_context(writing)
}
