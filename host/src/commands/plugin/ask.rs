//! `weir plugin run`: a plugin's answers about the services in a folder, or to recorded questions.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use weir_core::node::Capabilities;
use weir_core::policy::Decided;
use weir_core::view::ServiceView;
use weir_policy::{Chain, Status};

use crate::cli::{Output, PluginRunArguments};
use crate::commands::replay;
use crate::output::{complain, say};
use crate::{inputs, style};

/// Asks and prints. Exit status 1 if there are no services, or if an answer is missing.
pub(super) fn ask(arguments: &PluginRunArguments) -> anyhow::Result<ExitCode> {
    if let Some(file) = &arguments.records {
        return ask_recorded(arguments, file);
    }
    let manifests = arguments.manifests.as_deref().context("give --manifests or --records")?;
    let settings = inputs::settings(&arguments.node)?;
    let addresses = inputs::host_addresses(&arguments.interfaces)?;
    let artifact = super::taken(&arguments.plugin, LevelFilter::INFO)?;
    let mut chain = Chain::new(vec![artifact], &settings.node_name);
    chain.start_recording();
    let mut planner = inputs::planner(manifests, &settings, chain, addresses, Capabilities::assumed())?;
    let now = inputs::now();
    let views = planner.views();
    if views.is_empty() {
        complain!("--manifests {}: contains no service that this node handles", manifests.display());
        return Ok(ExitCode::FAILURE);
    }
    let decided = planner.decide(&views, now);
    let records = weir_policy::take_records(&mut planner);
    match arguments.plugin.output {
        Output::Json => say!("{:#}", json!(records)),
        Output::Text => {
            views.iter().zip(&decided).for_each(|(view, decided)| print_text(view, decided));
            weir_policy::status(&planner, now).iter().for_each(print_metrics);
        }
    }
    // The plan uses the cached answers; this shows what the guard makes of them.
    planner.plan_at(now).reports.iter().for_each(|report| inputs::warn(&report.to_string()));
    let failed = decided.iter().any(|decided| !decided.reports.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Repeats the recorded questions to any plugin, through the interfaces that this plugin has.
fn ask_recorded(arguments: &PluginRunArguments, file: &Path) -> anyhow::Result<ExitCode> {
    let artifact = super::taken(&arguments.plugin, LevelFilter::INFO)?;
    let (mut asked, mut failed) = (0_usize, 0_usize);
    for (place, record) in replay::read(file)? {
        if !artifact.facts().interfaces.contains(&replay::interface(&record).with_context(|| place.clone())?)
        {
            continue;
        }
        let service = format!("{}/{}", record.service.namespace, record.service.name);
        let interface = record.interface.clone();
        let answer = replay::ask(&artifact, record).with_context(|| place)?;
        asked += 1;
        failed += usize::from(answer["failure"].is_string());
        match arguments.plugin.output {
            Output::Json => say!("{}", json!({"service": service, "interface": interface, "answer": answer})),
            Output::Text => say!("{} {interface}: {answer}", style::heading(&service)),
        }
    }
    if asked == 0 {
        complain!("{}: no record matches an interface of this plugin", file.display());
    }
    Ok(if asked == 0 || failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The plugin's metrics, totalled over all services.
fn print_metrics(status: &Status) {
    if !status.totals.is_empty() {
        say!("{}", style::heading("metrics"));
    }
    for (metric, total) in status.facts.metrics.iter().zip(&status.totals) {
        say!("  {} {total} ({}: {})", metric.name, metric.kind.name(), metric.help);
    }
}

fn print_text(view: &ServiceView, decided: &Decided) {
    say!("{}", style::heading(&view.service.name.to_string()));
    if decided.notes.is_empty() && decided.reports.is_empty() {
        say!("  no change");
    }
    for report in &decided.reports {
        say!("  {}", style::bad(&format!("{}: {}", report.reason, report.message)));
    }
    for note in &decided.notes {
        let answer = if note.answer.is_empty() { "no change" } else { &note.answer };
        let because = if note.reason.is_empty() { String::new() } else { format!(" ({})", note.reason) };
        say!("  {}: {answer}{because}", note.hook);
    }
}
