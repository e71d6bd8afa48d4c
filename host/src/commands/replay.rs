//! `weir replay`: recorded questions, asked again.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use weir_k8s::policy_config::{self, Interface, PolicyConfiguration};
use weir_policy::{Artifact, Compiler, Loader, Record, ReplayError, Runtime};

use super::plugin;
use crate::cli::{Output, PluginFileArguments, ReplayArguments};
use crate::output::{complain, say};
use crate::style;

/// Asks again and prints what differs. Exit status 1 if anything does.
pub(crate) fn run(arguments: &ReplayArguments) -> anyhow::Result<ExitCode> {
    let file = &arguments.records;
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(!text.trim().is_empty(), "{} has no records", file.display());
    let mut plugins = Plugins::new(arguments)?;
    let (mut same, mut other) = (0, 0);
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{}, line {}", file.display(), number + 1);
        if line.trim().is_empty() {
            continue;
        }
        let record: Record = serde_json::from_str(line).with_context(|| {
            format!("{}: not a record, as `weir record` writes one on each line", place())
        })?;
        let artifact = plugins.of(&record).with_context(place)?;
        let service = format!("{}/{}", record.service.namespace, record.service.name);
        let (plugin, interface) = (record.plugin.clone(), record.interface.clone());
        let before = record.answer.clone();
        let answer = ask(&artifact, record).with_context(place)?;
        if answer == before {
            same += 1;
        } else {
            other += 1;
            say!("{} {service} {plugin} {interface}", style::heading("differs"));
            say!("{}", style::bad(&format!("- {before}")));
            say!("{}", style::good(&format!("+ {answer}")));
        }
    }
    complain!("{same} answers are the same, {other} are others");
    Ok(if other == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who is asked.
enum Plugins<'a> {
    /// One component, with the configurations that were recorded.
    Component { with: &'a ReplayArguments, last: Option<(Value, Arc<Artifact>)> },
    /// Those of a policy file by their names, with what it configures.
    Policy { file: PolicyConfiguration, loader: Loader, loaded: BTreeMap<String, Arc<Artifact>> },
}

impl Plugins<'_> {
    fn new(arguments: &ReplayArguments) -> anyhow::Result<Plugins<'_>> {
        let Some(file) = &arguments.asked.policy else {
            return Ok(Plugins::Component { with: arguments, last: None });
        };
        let file = policy_config::load(file).with_context(|| format!("--policy {}", file.display()))?;
        let loader = Loader::new(Runtime::new()?, Compiler::InProcess, "");
        Ok(Plugins::Policy { file, loader, loaded: BTreeMap::new() })
    }

    fn of(&mut self, record: &Record) -> anyhow::Result<Arc<Artifact>> {
        match self {
            Plugins::Component { with, last } => {
                if let Some((configuration, artifact)) = last
                    && *configuration == record.configuration
                {
                    return Ok(Arc::clone(artifact));
                }
                let file = with.asked.component.clone().context("give --component or --policy")?;
                let arguments = PluginFileArguments {
                    file,
                    configuration: Some(record.configuration.to_string()),
                    memory: with.memory.clone(),
                    output: Output::Text,
                };
                let artifact = plugin::load(&arguments)??;
                *last = Some((record.configuration.clone(), Arc::clone(&artifact)));
                Ok(artifact)
            }
            Plugins::Policy { file, loader, loaded } => {
                if let Some(artifact) = loaded.get(&record.plugin) {
                    return Ok(Arc::clone(artifact));
                }
                let Some(entry) = file.plugins.iter().find(|entry| entry.name == record.plugin) else {
                    bail!("the policy file has no plugin `{}`", record.plugin);
                };
                let Ok(plugin) = &entry.plugin else { bail!("{}", entry.refusal().unwrap_or_default()) };
                let artifact = loader.load_one(plugin)?;
                loaded.insert(record.plugin.clone(), Arc::clone(&artifact));
                Ok(artifact)
            }
        }
    }
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
