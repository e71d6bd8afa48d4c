//! `weir replay`: repeats recorded questions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;
use weir_policy::configuration::{self, Interface, PolicyConfiguration};
use weir_policy::{Artifact, Compiler, Loader, Record, ReplayError, Runtime};

use super::plugin;
use crate::cli::{Output, PluginFileArguments, ReplayArguments};
use crate::output::{complain, say};
use crate::{inputs, logging, style};

/// Replays the records and prints what differs. Exit status 1 if anything does.
pub(crate) fn run(arguments: &ReplayArguments) -> anyhow::Result<ExitCode> {
    let mut plugins = Plugins::new(arguments)?;
    let (mut same, mut other) = (0_usize, 0_usize);
    let mut strangers = BTreeSet::new();
    for (place, record) in read(&arguments.records)? {
        let place = || place.clone();
        let artifact = plugins.of(&record).with_context(place)?;
        let digest = artifact.facts().digest.to_string();
        if digest != record.digest
            && !record.digest.is_empty()
            && strangers.insert((record.plugin.clone(), record.digest.clone()))
        {
            inputs::warn(&format!(
                "records of plugin {} were made with component {}; this replay uses another \
                 component: {} {}, {digest}",
                record.plugin,
                record.digest,
                artifact.facts().name,
                artifact.facts().version,
            ));
        }
        let service = format!("{}/{}", record.service.namespace, record.service.name);
        let (plugin, interface) = (record.plugin.clone(), record.interface.clone());
        let before = record.answer.clone();
        let answer = ask(&artifact, record).with_context(place)?;
        let is_same = answer == before;
        *(if is_same { &mut same } else { &mut other }) += 1;
        if arguments.output == Output::Json {
            let told = json!({
                "service": service, "plugin": plugin, "interface": interface,
                "same": is_same, "before": before, "answer": answer,
            });
            say!("{told}");
        } else if !is_same {
            say!("{} {service} {plugin} {interface}", style::heading("differs"));
            say!("{}", style::bad(&format!("- {before}")));
            say!("{}", style::good(&format!("+ {answer}")));
        }
    }
    complain!("{}", verdict(same, other));
    Ok(if other == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the records of a file, each with its place in it.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<(String, Record)>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let records = lines.map(|(number, line)| {
        let place = format!("{}, line {}", file.display(), number + 1);
        let record = record(line).with_context(|| place.clone())?;
        Ok((place, record))
    });
    let records: Vec<_> = records.collect::<anyhow::Result<_>>()?;
    ensure!(!records.is_empty(), "{}: contains no records", file.display());
    Ok(records)
}

fn verdict(same: usize, other: usize) -> String {
    let same =
        if same == 1 { "1 answer is the same".to_owned() } else { format!("{same} answers are the same") };
    let other = format!("{other} changed");
    format!("{same}, {other}")
}

/// Parses a line as a record. Errors give only the column: the caller knows the line.
fn record(line: &str) -> anyhow::Result<Record> {
    serde_json::from_str(line).map_err(|error| {
        let words = error.to_string();
        let why = words.split(" at line ").next().unwrap_or_default();
        anyhow!(
            "column {}: {why}; this line is not a record (`weir record` writes one record per line)",
            error.column()
        )
    })
}

/// The plugins to replay against.
enum Plugins<'a> {
    /// One component, with the recorded configurations.
    Component { with: &'a ReplayArguments, last: Option<(Value, Arc<Artifact>)> },
    /// The plugins of a policy file, by name, with the file's configuration.
    Policy { file: PolicyConfiguration, loader: Loader, loaded: BTreeMap<String, Arc<Artifact>> },
}

impl Plugins<'_> {
    fn new(arguments: &ReplayArguments) -> anyhow::Result<Plugins<'_>> {
        let Some(file) = &arguments.asked.policy else {
            return Ok(Plugins::Component { with: arguments, last: None });
        };
        let file = configuration::load(file).with_context(|| format!("--policy {}", file.display()))?;
        logging::show_plugins(LevelFilter::WARN);
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
                let artifact = plugin::taken(&arguments, LevelFilter::WARN)?;
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
                let Ok(plugin) = &entry.plugin else {
                    bail!("plugin {}: {}", entry.name, entry.refusal().unwrap_or_default());
                };
                let artifact = loader
                    .load_one(plugin)
                    .map_err(|error| anyhow!("plugin {}: {}", entry.name, error.with_causes()))?;
                loaded.insert(record.plugin.clone(), Arc::clone(&artifact));
                Ok(artifact)
            }
        }
    }
}

/// The interface through which it was called.
pub(super) fn interface(record: &Record) -> anyhow::Result<Interface> {
    let known = Interface::ALL.into_iter().find(|interface| interface.to_string() == record.interface);
    known.with_context(|| {
        format!("the record's interface is `{}`: must be filter, scheduler or masquerade", record.interface)
    })
}

/// The answer to the recorded question, or `{"failure": "…"}`.
pub(super) fn ask(artifact: &Artifact, record: Record) -> anyhow::Result<Value> {
    match artifact.replay(interface(&record)?, record.context, vec![record.service], &[record.prior]) {
        Ok(mut answers) => Ok(answers.pop().unwrap_or_default()),
        Err(ReplayError::Call(failure)) => Ok(json!({"failure": failure.to_string()})),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_reported_as_one() {
        assert_eq!(verdict(1, 1), "1 answer is the same, 1 changed");
        assert_eq!(verdict(2, 0), "2 answers are the same, 0 changed");
    }

    #[test]
    fn a_line_that_is_no_record_is_reported_with_its_column_alone() {
        let said = record("{\"plugin\": 1}").unwrap_err().to_string();
        assert!(said.starts_with("column 12: invalid type") && said.contains("weir record"), "{said}");
        assert!(!said.contains("line 1"), "{said}");
    }
}
