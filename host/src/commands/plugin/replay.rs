//! `weir plugin run --replay`: recorded questions, asked again.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};
use weir_k8s::policy_config::Interface;
use weir_policy::{Artifact, Record, ReplayError};

use crate::cli::PluginFileArguments;
use crate::output::{complain, say};
use crate::style;

/// Asks again and prints what differs. Exit status 1 if anything does.
pub(super) fn replay(arguments: &PluginFileArguments, file: &Path) -> anyhow::Result<ExitCode> {
    let text = fs::read_to_string(file).with_context(|| format!("--replay {}", file.display()))?;
    let mut loaded: Option<(Value, Arc<Artifact>)> = None;
    let (mut same, mut other) = (0, 0);
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{}, line {}", file.display(), number + 1);
        let record: Record = serde_json::from_str(line).with_context(place)?;
        if loaded.as_ref().is_none_or(|(configuration, _)| *configuration != record.configuration) {
            let with = PluginFileArguments {
                configuration: Some(record.configuration.to_string()),
                file: arguments.file.clone(),
                memory: arguments.memory.clone(),
                output: arguments.output,
            };
            loaded = Some((record.configuration.clone(), super::load(&with)?.with_context(place)?));
        }
        let Some((_, artifact)) = &loaded else { continue };
        let service = format!("{}/{}", record.service.namespace, record.service.name);
        let (interface, before) = (record.interface.clone(), record.answer.clone());
        let answer = ask(artifact, record).with_context(place)?;
        if answer == before {
            same += 1;
        } else {
            other += 1;
            say!("{} {service} {interface}", style::heading("differs"));
            say!("{}", style::bad(&format!("- {before}")));
            say!("{}", style::good(&format!("+ {answer}")));
        }
    }
    complain!("{same} answers are the same, {other} are others");
    Ok(if other == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(artifact: &Artifact, record: Record) -> anyhow::Result<Value> {
    let interface = Interface::ALL
        .into_iter()
        .find(|interface| interface.to_string() == record.interface)
        .with_context(|| format!("`{}` is no interface", record.interface))?;
    match artifact.replay(interface, record.context, vec![record.service], &[record.prior]) {
        Ok(mut answers) => Ok(answers.pop().unwrap_or_default()),
        Err(ReplayError::Call(failure)) => Ok(json!({"failure": failure.to_string()})),
        Err(error) => Err(error.into()),
    }
}
