//! weir: a kube-proxy for IPVS nodes, with pluggable policy.
//!
//! ```text
//! cli ─▶ commands::{run, plan, …} ─▶ weir-k8s (objects) ─▶ weir-policy (plugins) ─▶ weir-core (plan) ─▶ weir-kernel
//! ```
//!
//! This crate only connects the other crates: arguments, configuration, the main loop with its clocks, and output.
//!
//! Out of scope: rules about Services (weir-core), kernel interfaces (weir-kernel), Kubernetes fields (weir-k8s).

mod cli;
mod commands;
mod inputs;
mod json;
mod logging;
mod output;
mod source;
mod status;
mod style;
mod top;

use std::process::ExitCode;

use clap::FromArgMatches;
use weir_core::causes::with_causes;

use crate::cli::{Cli, Command, Invocation, SpecialRuns};
use crate::output::{complain, say};

fn main() -> ExitCode {
    let invocation = Invocation::of(std::env::args_os());
    // kube-proxy exits with 1 on every error; other commands use 1 as an answer.
    let failed = ExitCode::from(if invocation.is_daemon() { 1 } else { 2 });
    let matches = cli::command().try_get_matches_from(invocation.0);
    let cli = match matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
        Ok((cli, matches)) => {
            if let Some(special) = SpecialRuns::of_another(&matches) {
                if special.version() {
                    say!("weir {}", cli::version());
                    return ExitCode::SUCCESS;
                }
                for name in special.names() {
                    inputs::warn(&format!("--{name} only affects the daemon and is ignored here"));
                }
            }
            cli
        }
        Err(error) => {
            // If this fails, there is nowhere left to report it.
            let _ = error.print();
            return if error.use_stderr() { failed } else { ExitCode::SUCCESS };
        }
    };
    let result = match &cli.command {
        Command::Run(arguments) => commands::run::run(arguments),
        Command::Plan(arguments) => commands::plan::run(arguments),
        Command::Diff(arguments) => commands::diff::run(arguments),
        Command::Trace(arguments) => commands::trace::run(arguments),
        Command::Explain(arguments) => commands::explain::run(arguments),
        Command::Lab(arguments) => commands::lab::run(arguments),
        Command::Record(arguments) => commands::record::run(arguments),
        Command::Replay(arguments) => commands::replay::run(arguments),
        Command::Plugin(command) => commands::plugin::run(command),
        Command::CompilePlugin => commands::plugin::compile(),
        Command::Status(arguments) => commands::status::run(arguments),
        Command::Top(arguments) => commands::top::run(arguments),
        Command::Doctor(arguments) => commands::doctor::run(arguments),
        Command::Cleanup(arguments) => commands::cleanup::run(arguments),
    };
    match result {
        Ok(status) => status,
        Err(error) => {
            // Keep the log in one format.
            if logging::is_started() {
                tracing::error!("{}", with_causes(error.as_ref()));
            } else {
                // The error may quote user input.
                let text = with_causes(error.as_ref());
                let lines: Vec<_> = text.lines().map(weir_core::text::printable).collect();
                complain!("{} {}", style::error("error:"), lines.join("\n"));
            }
            failed
        }
    }
}
